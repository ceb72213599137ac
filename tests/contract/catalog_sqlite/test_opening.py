import asyncio
import errno
import os
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
from blake3 import blake3

from collective.catalog.interface import Catalog
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.store.opening import lock_data_dir
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.clock import ManualClock
from collective.core.errors import CorruptionError, DataDirError, NoSpaceError
from collective.core.randomness import SeededRandomness
from tests.contract.catalog.engines import SqliteEngines
from tests.contract.catalog.world import OPERATOR, enrol, names, p, write
from tests.faults.disk import FaultDisk, Loss
from tests.worlds import world_of


async def fill(engines: SqliteEngines) -> str:
    catalog = await engines.open()
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    for number in range(40):
        await write(catalog, f"/d/{number}", f"c{number}")
    await engines.close()
    return os.path.join(engines.data_dir, "catalog.db")


def test_a_new_data_dir_is_there_after_power_loss() -> None:
    disk = FaultDisk()
    disk.make_dir("/srv")
    lock_data_dir("/srv/collective/data/catalog", disk)
    disk.restart(Loss.DROP)
    assert disk.exists("/srv/collective/data/catalog")


async def test_two_coordinators_on_one_data_dir_are_refused(engines: SqliteEngines) -> None:
    await engines.open()
    with pytest.raises(DataDirError, match="Another process"):
        await engines.open()


async def test_a_newer_schema_is_refused(engines: SqliteEngines) -> None:
    path = await fill(engines)
    db = apsw.Connection(path)
    db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(DataDirError, match="newer version"):
        await engines.open()


async def test_a_truncated_catalogue_is_refused(engines: SqliteEngines) -> None:
    path = await fill(engines)
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(CorruptionError, match="snapshots"):
        await engines.open()


async def test_a_file_that_is_no_catalogue_is_refused(engines: SqliteEngines) -> None:
    path = await fill(engines)
    with open(path, "r+b") as file:
        file.write(b"x" * 4096)
    with pytest.raises(CorruptionError):
        await engines.open()


async def make_one_after_the_other(catalog: Catalog, made: list[str]) -> None:
    for number in range(1000):
        name = f"/{number:03d}{'x' * 200}"
        await catalog.names.make_directory(OPERATOR, p(name), parents=False)
        made.append(name)


async def test_a_full_disk_changes_nothing_and_the_engine_goes_on(engines: SqliteEngines) -> None:
    catalog = await engines.open()
    await enrol(catalog)
    db = catalog._engine.writer._db
    pages: Any = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages[0]}")
    made: list[str] = []
    before = await catalog.restores.position()
    with pytest.raises(NoSpaceError):  # one at a time: each change is a commit of its own
        await make_one_after_the_other(catalog, made)
    assert await names(catalog, "/") == made
    assert (await catalog.restores.position()).sequence == before.sequence + len(made)
    db.execute("PRAGMA max_page_count = 1000000")
    await catalog.names.make_directory(OPERATOR, p("/later"), parents=False)
    assert await names(catalog, "/") == [*made, "/later"]


async def test_a_snapshot_is_a_whole_catalogue_with_its_checksum(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    catalog = await engines.open()
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    first = await catalog.upkeep.snapshot()
    await catalog.names.make_directory(OPERATOR, p("/e"), parents=False)
    second = await catalog.upkeep.snapshot()
    pairs = [os.path.basename(path) for path in (first, second)]
    assert sorted(os.listdir(os.path.dirname(second))) == sorted(
        [*pairs, *(f"{name}.b3" for name in pairs), "kept.json"]
    )
    with open(second, "rb") as data, open(second + ".b3", encoding="ascii") as checksum:
        raw = data.read()
        assert checksum.read().split()[0] == blake3(raw).hexdigest()
    other = tmp_path / "other"
    other.mkdir()
    (other / "catalog.db").write_bytes(raw)
    copy = await SqliteCatalog.open(str(other), world_of(ManualClock(), SeededRandomness(3)))
    assert await names(copy, "/") == ["/d", "/e"]
    await copy.close()


async def test_a_batch_of_changes_closes_after_25_ms_of_work(engines: SqliteEngines) -> None:
    catalog = await engines.open()
    works: list[float] = []
    catalog.upkeep.watch_writer(
        lambda phase, s: works.append(round(s, 3)) if phase == "work" else None
    )
    order: list[int] = []

    def change(number: int, _: Transaction) -> None:
        order.append(number)
        engines.clock.advance(0.010)

    await asyncio.gather(*(catalog._engine.change(partial(change, n)) for n in range(10)))
    assert order == list(range(10))
    assert sum(works) == pytest.approx(0.1)
    assert max(works) == pytest.approx(0.03)


async def test_what_undoes_a_savepoint_is_no_list_in_memory(engines: SqliteEngines) -> None:
    catalog = await engines.open()
    assert catalog._engine._db.execute("PRAGMA temp_store").fetchall() == [(1,)]


async def test_a_look_that_fails_after_a_commit_is_not_the_commits_failure(
    engines: SqliteEngines,
) -> None:
    """An exception in what is hooked into a COMMIT would end the writer, and everybody waits for ever."""
    catalog = await engines.open()
    engine = catalog._engine

    def fail() -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.custody, "is_ours", fail)
        assert engine._checkpoints._move(engine._db) is None
