"""What a catalogue does at once, keeps and forgets of futures that it lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import apsw
import pytest

from collective.catalog.interface.values import Settled
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.nodes.restores import SqliteRestores
from collective.core.clock import ManualClock
from collective.core.errors import ConflictError
from tests.contract.catalog.engines import Bound, SqliteEngines
from tests.contract.catalog.test_giving_up import deletes, empty
from tests.contract.catalog.test_lives import restored_times
from tests.contract.catalog.world import (
    NODES,
    OPERATOR,
    confirm,
    write,
)


@pytest.fixture
async def ready(ready: SqliteCatalog) -> SqliteCatalog:
    await write(ready, "/d/f", "a")
    return ready


async def test_a_future_that_is_shown_while_another_catalogue_is_adopted_is_not_confirmed(
    ready: SqliteCatalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty(ready)
    clock.advance(4000)
    assert Settled.DELETED in await confirm(ready)
    position = await ready.restores.position()
    await ready.restores.observe(dataclasses.replace(position, catalog_id="f" * 32))
    later = dataclasses.replace(position, sequence=position.sequence + 1_000_000)

    async def under_way(self: SqliteRestores) -> None:
        del self

    with monkeypatch.context() as observing:  # shown after adoption had looked, and guarded by half
        observing.setattr(SqliteRestores, "_guard_again", under_way)
        await ready.restores.observe(later)
        ready._engine.restored = False
        with pytest.raises(ConflictError, match="just shown"):
            await ready.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    ready._engine.restored = True
    assert await deletes(ready) == []
    await ready.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    assert await deletes(ready) == []


async def test_what_was_confirmed_before_a_node_was_brought_back_is_confirmed_anew(
    ready: SqliteCatalog, clock: ManualClock
) -> None:
    """What a catalogue was about to delete may be needed, if it is old as the node says."""
    await empty(ready)
    clock.advance(4000)
    assert Settled.DELETED in await confirm(ready)
    position = await ready.restores.position()
    held = {NODES[1]: dataclasses.replace(position, epoch=position.epoch + 1)}
    await ready.restores.adopt(OPERATOR, frozenset({NODES[1]}), obeyed=held, claims=())
    assert await deletes(ready) == []


async def test_a_fallback_keeps_it_too(
    ready: SqliteCatalog, engines: SqliteEngines, tmp_path: Path, clock: ManualClock
) -> None:
    await empty(ready)
    clock.advance(4000)
    assert await confirm(ready) == [Settled.DELETED]
    await ready.upkeep.snapshot()
    await engines.close()
    (tmp_path / "catalog.db").write_bytes(b"torn")
    old = await engines.open()
    assert await old.restores.is_restored()
    await old.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    clock.advance(100_000)
    assert await old.figures.copies_in_doubt() == (0, 1)
    assert await deletes(old) == []


async def test_a_start_that_uses_a_snapshot_is_restored_for_what_its_nodes_saw_besides(
    ready: SqliteCatalog, engines: SqliteEngines, tmp_path: Path
) -> None:
    await ready.upkeep.snapshot()
    await write(ready, "/d/lost", "lost")
    seen = [await ready.restores.position()]
    second = await restart(engines)
    await write(second, "/d/lost", "lost")
    seen.append(await second.restores.position())
    await engines.close()
    (tmp_path / "catalog.db").write_bytes(b"damaged" * 1000)
    old = await engines.open()
    assert await old.restores.is_restored()
    began = await old.restores.position()
    assert began.epoch == seen[0].epoch + 1
    for one in seen:
        assert not await old.restores.has_been_at(one)
        assert not await old.restores.observe(one)
        assert await old.restores.has_been_at(one)
    assert (await old.restores.position()).epoch == began.epoch
    old = await restart(engines)
    assert not any([await old.restores.observe(one) for one in seen])
    assert await restored_times(old) == 1


async def test_the_rows_of_lives_are_bounded(
    ready: SqliteCatalog, engines: SqliteEngines, tmp_path: Path
) -> None:
    engines.bound(Bound.LIVES, 2)
    for _ in range(5):
        catalog = await restart(engines)
    assert await kept(tmp_path, "former_lives") == 2
    for number in range(4):
        now = await catalog.restores.position()
        await catalog.restores.observe(dataclasses.replace(now, life=f"{number:032x}"))
    assert await kept(tmp_path, "lost_lives") == 2


async def restart(engines: SqliteEngines) -> SqliteCatalog:
    await engines.close()
    return await engines.open()


async def kept(data_dir: Path, table: str) -> int:
    db = apsw.Connection(str(data_dir / "catalog.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[misc]
        return int(count)
    finally:
        db.close()
