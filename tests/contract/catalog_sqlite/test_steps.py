"""Work on many items holds the writer for a bounded time, and comes to its end nevertheless.

Each act is done twice: with steps that are never spent, and with steps that are spent after their first
item.  Rows that a transaction changes are counted; no clock is involved.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.audit.trimming import Cut, drop
from collective.catalog.sqlite.collection import due_deletes, unreferenced
from collective.catalog.sqlite.names import name_removal
from collective.catalog.sqlite.store.writer import STEP_MAX_S, Transaction, Writer
from collective.core.clock import ManualClock
from collective.core.errors import NotEnoughCopiesError
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.audit import Refusal
from collective.model.copies import CopyKey, Judged, Verdict
from collective.model.writing import Removed
from tests.contract.catalog.engines import SqliteEngines
from tests.contract.catalog.world import (
    ANY,
    NODES,
    OPERATOR,
    begin,
    chunk,
    claim,
    confirm,
    enrol,
    extent,
    health,
    p,
    place_on,
    receipts,
    write,
)

MANY: Final = 40
"""Items of each act."""
ROWS_MAX: Final = 30
"""Rows that a step changes at most that ends after one item."""
WEEK_S: Final = 7 * 24 * 3600 + 1


@dataclass(slots=True)
class Steps:
    """What transactions changed since :meth:`reset`."""

    rows: list[int] = field(default_factory=list)

    def reset(self) -> None:
        self.rows.clear()


@dataclass(frozen=True, slots=True)
class Scene:
    """What an act is given; what it does before :meth:`Steps.reset` is preparation."""

    catalog: SqliteCatalog
    clock: ManualClock
    steps: Steps


Act = Callable[[Scene], Awaitable[None]]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps = Steps()
    attempt = Writer._attempt

    def counted(writer: Any, job: Any, book: Any) -> Any:
        before = writer._db.total_changes()
        try:
            return attempt(writer, job, book)
        finally:
            steps.rows.append(writer._db.total_changes() - before)

    monkeypatch.setattr(Writer, "_attempt", counted)
    return steps


@pytest.fixture
async def ready(catalog: SqliteCatalog) -> SqliteCatalog:
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    for number in range(MANY):
        await write(catalog, f"/d/{number:02}", f"{number}")
    return catalog


# --- the acts ------------------------------------------------------------------------------------


async def removes_a_tree(scene: Scene) -> None:
    catalog = scene.catalog
    gone = await catalog.names.remove(OPERATOR, p("/d"), recursive=True, condition=ANY)
    assert gone == Removed(MANY + 1, is_all=True)
    assert (await catalog.figures.totals(None, frozenset(NODES))).files == 0


async def collects(scene: Scene) -> None:
    """Ended uploads, old versions, chunks, deletes."""
    catalog = scene.catalog
    for number in range(MANY):
        upload, _ = await begin(catalog, f"/d/open{number}", f"open {number}")
        await catalog.uploads.abort(OPERATOR, upload.id)
        await catalog.names.remove(OPERATOR, p(f"/d/{number:02}"), recursive=False, condition=ANY)
    scene.clock.advance(1)
    gone: set[tuple[NodeId, ChunkId]] = set()
    for _ in range(12):
        claimed = await catalog.collection.claim(1000, 0)
        gone |= {(node, key.chunk) for node, key in claimed}
        for node in NODES:
            await catalog.collection.finish(node, [key for one, key in claimed if one == node])
        scene.clock.advance(1)
    assert not claimed.is_more
    assert len(gone) == 2 * 3 * MANY
    assert (await health(catalog)).chunks == 0


async def gives_up(scene: Scene) -> None:
    """Copies that a new policy makes superfluous, until they may be deleted."""
    catalog = scene.catalog
    await catalog.datastores.set(OPERATOR, p("/d"), copies=2)
    while await catalog.datastores.settle_copies():
        pass
    all_nodes = frozenset(NODES)
    await claim(catalog, 0, place_on(), all_nodes, frozenset())
    assert await catalog.figures.copies_in_doubt() == (0, MANY)
    scene.clock.advance(4000)
    assert len(await confirm(catalog)) == MANY


async def notes_verdicts(scene: Scene) -> None:
    catalog = scene.catalog
    verdicts = [
        Judged(chunk(f"{number}"), node, generation, Verdict.LIED)
        for number in range(MANY)
        for node, generation in await _copies(catalog, number)
        if node == NODES[0]
    ]
    assert await catalog.copies.note_verdicts(verdicts) == [NODES[0]]
    assert await catalog.figures.copies_in_doubt() == (MANY, 0)


async def marks_copies(scene: Scene) -> None:
    catalog = scene.catalog
    copies = [
        (chunk(f"{number}"), generation)
        for number in range(MANY)
        for node, generation in await _copies(catalog, number)
        if node == NODES[0]
    ]
    await catalog.copies.mark(NODES[0], copies, lost=True)
    for number in range(MANY):
        assert NODES[0] not in dict(await _copies(catalog, number))


async def settles(scene: Scene) -> None:
    catalog = scene.catalog
    await catalog.datastores.set(OPERATOR, p("/d"), copies=4)
    while await catalog.datastores.settle_copies():
        pass
    assert await catalog.figures.repair_backlog(frozenset(NODES), frozenset()) == MANY


async def discards(scene: Scene) -> None:
    catalog = scene.catalog
    foreign = sorted(
        (CopyKey(chunk(f"foreign {number}"), Generation(5), 26) for number in range(MANY)),
        key=lambda key: key.chunk,
    )
    await catalog.copies.compare_inventory(NODES[3], foreign, after=b"", last=True)
    scene.clock.advance(WEEK_S)
    scene.steps.reset()
    await catalog.quarantine.discard(OPERATOR, None)
    while await catalog.quarantine.discard_step():
        pass
    assert [record.quarantined_bytes for record in await catalog.nodes.list()] == [0, 0, 0, 0]


async def checks_again(scene: Scene) -> None:
    """What an upload had stored, after its nodes went."""
    catalog = scene.catalog
    texts = [f"new {number}" for number in range(MANY)]
    upload, wanted = await begin(catalog, "/d/large", *texts)
    await catalog.uploads.record_extents(
        OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload)
    )
    scene.steps.reset()
    await catalog.nodes.set_refused({NODES[0]: "a test says so", NODES[1]: "a test says so"})
    with pytest.raises(NotEnoughCopiesError):
        await catalog.uploads.commit(OPERATOR, upload.id, [], [], 10 * MANY)
    _, recorded, _ = await catalog.uploads.get(OPERATOR, upload.id, from_offset=0, limit=0)
    assert not recorded


async def writes_refusals(scene: Scene) -> None:
    catalog = scene.catalog
    for number in range(2 * MANY):
        catalog.audit.note_denial(Refusal("somebody", "read", f"/{number}"))
    rows = await catalog.audit.list(since_ms=0, limit=1000)
    assert sum(row.actor == "somebody" for row in rows) == 2 * MANY


async def drops_audit(scene: Scene) -> None:
    """The oldest rows of many who have few each."""
    catalog = scene.catalog

    def fill(tx: Transaction) -> None:
        for number in range(2 * MANY):
            tx.audit_of(f"user{number % MANY}", "write", "/x", "")

    where = (
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE actor = ? ORDER BY id LIMIT ?)"
    )
    await catalog._engine.change(fill)
    scene.steps.reset()
    cuts: Sequence[Cut] = [Cut("files", where, f"user{one}", 1) for one in range(MANY)]
    while cuts:
        cuts = await catalog._engine.change(partial(drop, cuts=cuts))
    rows = await catalog.audit.list(since_ms=0, limit=1000)
    assert sum(row.action == "audit-drop" for row in rows) == MANY


async def _copies(catalog: SqliteCatalog, number: int) -> Sequence[tuple[NodeId, Generation]]:
    return [(one.node, one.generation) for one in await catalog.copies.stored(chunk(f"{number}"))]


# --- what holds of each --------------------------------------------------------------------------

ACTS: Final[Sequence[Act]] = (
    removes_a_tree,
    collects,
    gives_up,
    notes_verdicts,
    marks_copies,
    settles,
    discards,
    checks_again,
    writes_refusals,
    drops_audit,
)


@pytest.fixture(params=[True, False], ids=["spent at once", "never spent"])
def is_spent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(name_removal, "PORTION_NAMES", 5)
    monkeypatch.setattr(due_deletes, "PORTION_COPIES", 5)
    monkeypatch.setattr(unreferenced, "VERSIONS_CONDEMNED", 8)
    monkeypatch.setattr(Transaction, "is_spent", property(lambda _: request.param))
    return bool(request.param)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
async def test_a_step_that_is_spent_ends_and_the_work_goes_on(
    ready: SqliteCatalog, clock: ManualClock, steps: Steps, act: Act, *, is_spent: bool
) -> None:
    steps.reset()
    await act(Scene(ready, clock, steps))
    assert (max(steps.rows) <= ROWS_MAX) == is_spent


async def test_a_transaction_is_spent_after_its_time(
    engines: SqliteEngines, clock: ManualClock
) -> None:
    catalog = await engines.open()

    def work(tx: Transaction) -> list[int]:
        done = []
        for item in tx.unspent(range(9)):
            assert not tx.is_spent
            clock.advance(0.3 * STEP_MAX_S)
            done.append(item)
        return done

    assert await catalog._engine.change(work) == [0, 1, 2, 3]


async def test_a_step_does_one_item_however_long_that_takes(
    engines: SqliteEngines, clock: ManualClock
) -> None:
    catalog = await engines.open()

    def step(tx: Transaction, items: Sequence[int]) -> Sequence[int]:
        done = []
        for item in tx.unspent(items):
            clock.advance(10 * STEP_MAX_S)
            done.append(item)
        return done

    assert await catalog._engine.change_each(range(5), step, 3) == [0, 1, 2, 3, 4]


async def test_a_step_that_does_nothing_ends_the_work(engines: SqliteEngines) -> None:
    catalog = await engines.open()
    seen: list[Sequence[int]] = []

    def step(tx: Transaction, items: Sequence[int]) -> Sequence[int]:
        del tx
        seen.append(items)
        return items if len(seen) < 3 else ()

    assert await catalog._engine.change_each(range(10), step, 3) == [0, 1, 2, 3, 4, 5]
    assert seen == [range(3), range(3, 6), range(6, 9)]
