"""What rows keep of other rows is what these say, whatever is done: by Hypothesis, over the interface."""

from __future__ import annotations

import ast
import asyncio
import re
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import collective.catalog.sqlite
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.copies import chunk_health
from collective.catalog.sqlite.names import policies
from collective.catalog.sqlite.store.counting import disagreements
from collective.catalog.sqlite.store.references import TRUSTED
from collective.core.clock import ManualClock
from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, Generation, NodeId
from collective.core.paths import FilePath
from collective.core.randomness import SeededRandomness
from collective.model.copies import CopyKey, VerifiedReceipt
from collective.model.nodes import Standing
from collective.placement.quorum import count, quorum_of
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
    intent,
    p,
    place_on,
    receipts,
    write,
)
from tests.worlds import world_of

ALL: Final = frozenset(NODES)
AT_ONCE, BATCH = policies.AT_ONCE_ROWS, policies.BATCH_ROWS
PATHS: Final = st.sampled_from(["/d/f", "/d/g", "/e/f", "/e/s/f"])
FOLDERS: Final = st.sampled_from(["/d", "/e", "/e/s", "/t"])
TEXTS: Final = st.lists(st.sampled_from("abcde"), min_size=1, max_size=4)
NODE: Final = st.sampled_from(NODES)
THREE: Final = st.permutations(NODES).map(lambda nodes: nodes[:3])


class Counting(RuleBasedStateMachine):
    """One catalogue; what is refused is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.randomness = SeededRandomness(3)
        self.uploads: list[Any] = []
        self.tasks: list[Any] = []
        self._open()
        self.runner.run(enrol(self.catalog, len(NODES)))
        for folder in ("/d", "/e/s"):
            self.do(self.catalog.names.make_directory(OPERATOR, p(folder), parents=True))

    @initialize(rows=st.sampled_from([1, 2, 64]))
    def cut_steps(self, rows: int) -> None:
        """Homes and policies are settled at once, or a row or two at a time."""
        policies.AT_ONCE_ROWS, policies.BATCH_ROWS = rows, rows

    def _open(self) -> None:
        self.catalog = self.runner.run(
            SqliteCatalog.open(
                self.folder.name, world_of(self.clock, self.randomness), CatalogSettings()
            )
        )
        self.clock.advance(121)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        with suppress(CollectiveError):
            return self.runner.run(work)

    def look(self, read: Callable[[apsw.Connection], Any]) -> Any:
        return self.runner.run(self.catalog._engine.read(read))

    # --- files and uploads -------------------------------------------------------------------------

    @rule(path=PATHS, texts=TEXTS, nodes=THREE, copies=st.integers(2, 3))
    def write(self, path: str, texts: list[str], nodes: list[NodeId], copies: int) -> None:
        self.do(write(self.catalog, path, *texts, nodes=nodes, copies=copies))

    @rule(path=PATHS, texts=TEXTS, nodes=THREE)
    def open(self, path: str, texts: list[str], nodes: list[NodeId]) -> None:
        found = self.do(begin(self.catalog, path, *texts, nodes=nodes))
        if found is not None:
            self.uploads.append(found[0])

    @rule(number=st.integers(0, 9), copies=st.integers(1, 3), text=st.sampled_from("abcdef"))
    def record(self, number: int, copies: int, text: str) -> None:
        """Receipts in parts, and extents that take the place of others."""
        if self.uploads:
            upload = self.uploads[number % len(self.uploads)]
            wanted = [intent(text, 0)]
            allocated = self.do(
                self.catalog.uploads.allocate(OPERATOR, upload.id, wanted, place_on(*NODES[:3]))
            )
            proof = receipts(upload, allocated or upload.allocations, count=copies)
            extents = [extent(want) for want in wanted]
            self.do(self.catalog.uploads.record_extents(OPERATOR, upload.id, extents, proof))

    @rule(number=st.integers(0, 9), text=st.sampled_from("abcdef"))
    def commit(self, number: int, text: str) -> None:
        if self.uploads:
            upload = self.uploads.pop(number % len(self.uploads))
            proof = receipts(upload)
            one = [extent(intent(text, 0))]
            self.do(self.catalog.uploads.commit(OPERATOR, upload.id, one, proof, one[0].length))

    @rule(number=st.integers(0, 9))
    def abort(self, number: int) -> None:
        if self.uploads:
            upload = self.uploads.pop(number % len(self.uploads))
            self.do(self.catalog.uploads.abort(OPERATOR, upload.id))

    @rule(path=PATHS | FOLDERS)
    def remove(self, path: str) -> None:
        self.do(self.catalog.names.remove(OPERATOR, p(path), recursive=True, condition=ANY))

    @rule(path=FOLDERS)
    def make(self, path: str) -> None:
        self.do(self.catalog.names.make_directory(OPERATOR, p(path), parents=True))

    @rule(source=PATHS | FOLDERS, to=PATHS | FOLDERS)
    def move(self, source: str, to: str) -> None:
        self.do(self.catalog.names.move(OPERATOR, p(source), p(to), condition=ANY))

    @rule(path=st.sampled_from(["/d", "/e"]), copies=st.integers(0, 4))
    def set_policy(self, path: str, copies: int) -> None:
        self.do(self.catalog.datastores.set(OPERATOR, FilePath.parse(path), copies=copies))

    @rule()
    def settle(self) -> None:
        self.do(self.catalog.datastores.settle_copies())

    # --- nodes and copies --------------------------------------------------------------------------

    @rule(node=NODE, keep=st.integers(0, 31), length=st.sampled_from([26, 7]))
    def inventory(self, node: NodeId, keep: int, length: int) -> None:
        """A node tells of a part of its copies, of other lengths, and of what nobody gave it."""
        held = self.look(
            lambda db: db.execute(
                "SELECT k.hash, c.generation FROM copies c JOIN chunks k ON k.id = c.chunk"
                " JOIN nodes n ON n.id = c.node WHERE n.name = ? AND c.state > 0 ORDER BY k.hash",
                (node,),
            ).fetchall()
        )
        page = [
            CopyKey(ChunkId(known), Generation(generation), length)
            for place, (known, generation) in enumerate(held)
            if keep >> place & 1
        ]
        if page and keep > 15:
            page.append(CopyKey(page[-1].chunk, Generation(page[-1].generation + 500), 26))
        self.do(self.catalog.copies.compare_inventory(node, page, after=b"", last=True))

    @rule(node=NODE, place=st.integers(0, 9), lost=st.booleans())
    def mark(self, node: NodeId, place: int, lost: bool) -> None:
        held = self.look(
            lambda db: db.execute(
                "SELECT k.hash, c.generation FROM copies c JOIN chunks k ON k.id = c.chunk"
                " JOIN nodes n ON n.id = c.node WHERE n.name = ? ORDER BY k.hash",
                (node,),
            ).fetchall()
        )
        if held:
            known, generation = held[place % len(held)]
            self.do(self.catalog.copies.mark(node, [(known, generation)], lost=lost))

    @rule(node=NODE, draining=st.booleans())
    def drain(self, node: NodeId, draining: bool) -> None:
        self.do(self.catalog.nodes.drain(OPERATOR, node, draining=draining))

    @rule(node=NODE)
    def doubt(self, node: NodeId) -> None:
        self.do(self.catalog.nodes.doubt(node, "drawn"))

    @rule(node=NODE)
    def clear(self, node: NodeId) -> None:
        self.do(self.catalog.nodes.clear_doubt(node))

    @rule(node=NODE, why=st.sampled_from(["", "drawn"]))
    def refuse(self, node: NodeId, why: str) -> None:
        self.do(self.catalog.nodes.set_refused({node: why}))

    @rule(lost=st.frozensets(NODE, max_size=1))
    def repair(self, lost: frozenset[NodeId]) -> None:
        self.tasks += self.do(claim(self.catalog, 3, place_on(*NODES), ALL - lost, lost)) or ()

    @rule(is_done=st.booleans())
    def finish(self, is_done: bool) -> None:
        if self.tasks:
            task = self.tasks.pop()
            proof = None
            if is_done:
                proof = VerifiedReceipt(
                    task.chunk,
                    task.target.node,
                    task.target.generation,
                    task.stored_length,
                    task.repair_id,
                )
            self.do(self.catalog.repair.finish(task, proof))

    @rule(liars=st.frozensets(NODE, max_size=1))
    def confirm(self, liars: frozenset[NodeId]) -> None:
        self.do(confirm(self.catalog, liars=liars))

    @rule(grace_s=st.sampled_from([0, 0, 3600]))
    def collect(self, grace_s: float) -> None:
        self.clock.advance(1)
        by_node: dict[NodeId, list[CopyKey]] = {}
        for node, copy in self.do(self.catalog.collection.claim(5, grace_s)) or ():
            by_node.setdefault(node, []).append(copy)
        for node, copies in by_node.items():
            self.do(self.catalog.collection.finish(node, copies))

    # --- time --------------------------------------------------------------------------------------

    @rule(days=st.sampled_from([0.004, 8]))
    def pass_time(self, days: float) -> None:
        self.clock.advance(days * 86400)
        self.do(self.catalog.upkeep.expire())

    @rule()
    def restart(self) -> None:
        self.runner.run(self.catalog.close())
        self._open()

    # --- what must hold ----------------------------------------------------------------------------

    @invariant()
    def rows_and_figures_agree(self) -> None:
        assert self.look(disagreements) == []

    @invariant()
    def what_is_counted_in_groups_is_what_each_chunk_says(self) -> None:
        left, short = self.look(one_by_one)
        assert self.runner.run(self.catalog.figures.copies_left()) == left
        if not self.look(lambda db: db.execute("SELECT 1 FROM pins LIMIT 1").fetchone()):
            assert self.runner.run(self.catalog.figures.repair_backlog(ALL, frozenset())) == short

    @invariant()
    def what_is_settled_counts_where_it_lies(self) -> None:
        if self.look(lambda db: db.execute("SELECT 1 FROM unsettled LIMIT 1").fetchone()) is None:
            assert self.look(strays) == []

    def teardown(self) -> None:
        policies.AT_ONCE_ROWS, policies.BATCH_ROWS = AT_ONCE, BATCH
        self.runner.run(self.catalog.close())
        self.runner.close()
        self.folder.cleanup()


def one_by_one(db: apsw.Connection) -> tuple[dict[NodeId, int], int]:
    """Count what keeps nodes, and what is short, chunk by chunk."""
    nodes: dict[Any, Any] = {
        number: (NodeId(name), Standing(standing), bool(is_trusted), bool(draining))
        for number, name, standing, is_trusted, draining in db.execute(
            f"SELECT n.id, n.name, n.standing, {TRUSTED}, n.draining FROM nodes n"
        )
    }
    left: dict[NodeId, int] = {}
    short = 0
    chunks: Any = db.execute("SELECT id, wanted FROM chunks WHERE use > 0").fetchall()
    for number, wanted in chunks:
        copies: Any = db.execute(
            "SELECT node, state FROM copies WHERE chunk = ? AND state > 0", (number,)
        ).fetchall()
        good = [node for node, state in copies if state == 1 and nodes[node][2]]
        short += count(nodes[node][1] for node in good if not nodes[node][3]) < wanted
        for node, state in copies:
            others = count(nodes[other][1] for other in good if other != node)
            if state == 1 or others < quorum_of(wanted):
                left[nodes[node][0]] = left.get(nodes[node][0], 0) + 1
    return left, short


def strays(db: apsw.Connection) -> list[Any]:
    """Return the current versions whose home is not the datastore in which their name lies."""
    return db.execute(
        "WITH RECURSIVE tree(top, id, version) AS (SELECT id, id, version FROM entries WHERE kind = 2"
        " UNION ALL SELECT tree.top, e.id, e.version FROM tree JOIN entries e ON e.parent = tree.id)"
        " SELECT tree.top, v.home, v.next_home FROM tree JOIN versions v ON v.id = tree.version"
        " WHERE v.home <> tree.top OR v.next_home <> 0"
    ).fetchall()


def run_machine(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Counting,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_figures_agree_with_their_rows_whatever_is_done() -> None:
    run_machine(15, 30)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_figures_agree_at_length_hostile() -> None:
    run_machine(1000, 60)


# --- what is shared by files and uploads -----------------------------------------------------------


async def test_what_an_upload_sends_is_not_short_and_what_a_file_has_is(
    catalog: SqliteCatalog,
) -> None:
    """A chunk in extents and pinned is looked at by itself: it may be either."""
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    upload, wanted = await begin(catalog, "/d/g", "sent")
    proof = receipts(upload, count=2)
    await catalog.uploads.record_extents(
        OPERATOR, upload.id, [extent(one) for one in wanted], proof
    )
    assert await catalog.figures.repair_backlog(ALL, frozenset()) == 0
    await write(catalog, "/d/f", "filed")
    again, _ = await begin(catalog, "/d/h", "filed")
    assert again.allocations[0].stored
    usable = ALL - set(NODES[:3])
    totals = await health(catalog, usable)
    assert (totals.under_replicated, totals.unavailable) == (1, 1)


async def test_beyond_a_bound_what_is_pinned_counts_as_short(
    catalog: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    upload, wanted = await begin(catalog, "/d/g", "a", "b", "c")
    proof = receipts(upload, count=2)
    await catalog.uploads.record_extents(
        OPERATOR, upload.id, [extent(one) for one in wanted], proof
    )
    monkeypatch.setattr(chunk_health, "LOOKED_AT", 1)
    assert await catalog.figures.repair_backlog(ALL, frozenset()) == 2


async def test_an_extent_that_is_recorded_anew_with_another_chunk_moves_its_count(
    catalog: SqliteCatalog,
) -> None:
    await enrol(catalog, 3)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    upload, _ = await begin(catalog, "/d/f")
    for text in ("before", "after"):
        wanted = [intent(text)]
        allocated = await catalog.uploads.allocate(
            OPERATOR, upload.id, wanted, place_on(*NODES[:3])
        )
        proof = receipts(upload, allocated)
        await catalog.uploads.record_extents(OPERATOR, upload.id, [extent(wanted[0])], proof)
    found = await catalog._engine.read(
        lambda db: db.execute("SELECT hash, in_extents FROM chunks ORDER BY id").fetchall()
    )
    assert found == [(chunk("before"), 0), (chunk("after"), 1)]
    assert await catalog._engine.read(disagreements) == []


# --- statements ------------------------------------------------------------------------------------

_CONFLICTING: Final = re.compile(
    r"\b(INSERT|UPDATE)\s+OR\s+\w+\s+(INTO\s+)?(chunks|copies|extents|pins)\b"
    r"|\bREPLACE\s+INTO\s+(chunks|copies|extents|pins)\b",
    re.IGNORECASE,
)


def test_no_statement_overrides_the_conflicts_of_counting_triggers() -> None:
    """The conflict clause of a statement goes for the triggers that it sets off."""
    assert _CONFLICTING.search("INSERT OR IGNORE INTO copies VALUES (1)")
    package = Path(collective.catalog.sqlite.__file__).parent
    found = [
        f"{module.name}: {node.value}"
        for module in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _CONFLICTING.search(node.value)
    ]
    assert found == []
