"""The writer answers everybody, whatever the disk does, and lets nobody hold it for long."""

import asyncio
from functools import partial

import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.store.writer import BATCH_MAX_S, Transaction
from collective.core.clock import ManualClock
from collective.core.disk_errors import DiskFailedError
from tests.contract.catalog.engines import SqliteEngines
from tests.contract.catalog.world import OPERATOR, names, p


async def test_a_disk_that_fails_where_its_files_are_looked_at_hangs_no_change(
    engines: SqliteEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = await engines.open()

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(catalog._engine.writer._custody, "require", fails)
        for name in ("/a", "/b"):
            with pytest.raises(DiskFailedError, match="nothing was changed"):
                await catalog.names.make_directory(OPERATOR, p(name), parents=False)
        assert "disk failed" in str(catalog._engine.writer.trouble)
    await catalog.names.make_directory(OPERATOR, p("/c"), parents=False)
    assert not catalog._engine.writer.trouble
    assert await names(catalog, "/") == ["/c"]


async def sequences_of_slow_changes(
    catalog: SqliteCatalog, clock: ManualClock, count: int
) -> list[int]:
    """Let ``count`` changes wait, each of which takes the whole time of a batch."""
    order: list[int] = []

    def slow(tx: Transaction, number: int) -> int:
        clock.advance(BATCH_MAX_S)
        order.append(number)
        tx.run("UPDATE state SET next_node = next_node + 1")
        return tx._counters.sequence

    changes = [catalog._engine.change(partial(slow, number=number)) for number in range(count)]
    found = await asyncio.gather(*changes)
    assert order == list(range(count))
    return found


async def test_a_batch_closes_after_its_time_and_the_rest_keeps_its_turn(
    engines: SqliteEngines, clock: ManualClock
) -> None:
    catalog = await engines.open()
    sequences = await sequences_of_slow_changes(catalog, clock, 8)
    assert len(set(sequences)) == 8
    assert sequences == sorted(sequences)
