"""Rows of what is gone go in steps that do not hold the writer, and none stays."""

from typing import Any

import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.store.writer import Transaction, Writer
from collective.core.clock import ManualClock
from collective.core.ids import ChunkId, Generation, SpiffeId
from collective.model.copies import CopyKey
from collective.model.extents import Hole
from collective.model.rights import Right
from tests.contract.catalog.engines import Bound, SqliteEngines
from tests.contract.catalog.test_fair_collection import EXTENT, fill
from tests.contract.catalog.test_giving_up import C, D
from tests.contract.catalog.world import (
    ANY,
    DOMAIN,
    NODES,
    OPERATOR,
    SMALL,
    begin,
    enrol,
    grant,
    health,
    p,
    place_on,
    user,
)

BOB = user("bob")
ROWS_MAX = 2400
STATEMENTS_MAX = 600
"""Of one transaction where no clock ends it; the rows include those of triggers."""


async def test_no_step_of_collection_holds_the_writer(
    ready: SqliteCatalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in rows and statements, with every kind of work at hand at once."""
    upload = await fill(ready, "/d/huge", 2000)
    await ready.uploads.commit(OPERATOR, upload.id, [], [], EXTENT * 2000)
    await ready.names.remove(OPERATOR, p("/d/huge"), recursive=False, condition=ANY)
    ended = await fill(ready, "/d/ended", 2000)
    await ready.uploads.abort(OPERATOR, ended.id)
    clock.advance(1)
    costs: list[tuple[int, int]] = []
    statements = 0
    attempt, execute = Writer._attempt, Transaction.run

    def counted(writer: Any, job: Any, book: Any) -> Any:
        nonlocal statements
        statements, before = 0, writer._db.total_changes()
        answer = attempt(writer, job, book)
        costs.append((writer._db.total_changes() - before, statements))
        return answer

    def run(tx: Transaction, sql: str, *params: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(tx, sql, *params)

    monkeypatch.setattr(Writer, "_attempt", counted)
    monkeypatch.setattr(Transaction, "run", run)
    for name, cursor in (("one", "fetchone"), ("all", "fetchall")):

        def fetch(tx: Transaction, sql: str, *params: Any, cursor: str = cursor) -> Any:
            return getattr(run(tx, sql, *params), cursor)()

        monkeypatch.setattr(Transaction, name, fetch)
    for _ in range(150):
        await ready.collection.claim(1000, 0)
        clock.advance(1)
    assert (await health(ready)).chunks == 0
    assert max(rows for rows, _ in costs) <= ROWS_MAX
    assert max(count for _, count in costs) <= STATEMENTS_MAX
    assert max(count for _, count in costs) > 100  # something was counted


async def test_a_version_with_many_holes_is_collected(engines: SqliteEngines) -> None:
    catalog = await engines.open()
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    upload, _ = await begin(catalog, "/d/f")
    for number in range(900):
        await catalog.uploads.allocate(
            OPERATOR, upload.id, [], place_on(*NODES), holes=[Hole(number * SMALL, SMALL)]
        )
    await catalog.uploads.commit(OPERATOR, upload.id, [], [], 900 * SMALL)
    await catalog.names.remove(OPERATOR, p("/d/f"), recursive=False, condition=ANY)
    for _ in range(12):
        engines.clock.advance(3600)
        claimed = await catalog.collection.claim(100, 1.0)
    assert not claimed.is_more
    left = await catalog._engine.read(
        lambda db: db.execute("SELECT count(*) FROM holes").fetchall()
    )
    assert left == [(0,)]


async def test_what_is_quarantined_on_a_removed_node_is_forgotten(
    ready: SqliteCatalog, engines: SqliteEngines
) -> None:
    engines.bound(Bound.CLEARED_ROWS, 2)
    page = [CopyKey(ChunkId(bytes([number]) * 32), Generation(7), 26) for number in range(5)]
    for node in (C, D):
        await ready.copies.compare_inventory(node, page, after=b"", last=True)
    await ready.nodes.remove(OPERATOR, D, SpiffeId.node(DOMAIN, D), force=True)
    for _ in range(3):
        await ready.collection.claim(9, 0)
    quarantined = {record.node: record.quarantined_bytes for record in await ready.nodes.list()}
    assert quarantined[C] == 5 * 26

    def rest(tx: Any) -> Any:
        return tx.one(
            "SELECT (SELECT count(*) FROM quarantine), sum(quarantined_copies) FROM nodes"
        )

    assert tuple(await ready._engine.change(rest)) == (5, 5)


async def test_rows_of_grants_that_ended_with_their_source_are_deleted_in_steps(
    engines: SqliteEngines,
) -> None:
    engines.bound(Bound.DROPPED_GRANTS, 2)
    catalog = await engines.open()
    given = await grant(catalog, BOB, "/d", Right.READ | Right.SHARE)
    for number in range(5):
        taker = user(f"u{number}").principal
        await catalog.grants.add(BOB, p("/d"), Right.READ, taker, None)

    async def rows() -> int:
        return await catalog._engine.read(
            lambda db: len(db.execute("SELECT id FROM grants").fetchall())
        )

    await catalog.grants.remove(OPERATOR, given)
    for _ in range(2):
        assert await rows() == 3
        await catalog.close()
        catalog = await engines.open()
    await catalog.upkeep.expire()
    assert await rows() == 0
