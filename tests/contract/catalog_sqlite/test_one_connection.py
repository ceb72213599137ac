"""A world with one thread and one connection: the simulator's."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.store.checkpoints import LOG_PAGES
from collective.core.clock import ManualClock
from collective.core.errors import NotFoundError
from collective.core.randomness import SeededRandomness
from collective.core.world import InlineThreads, World
from tests.contract.catalog.world import ANY, OPERATOR, enrol, names, p, write
from tests.faults.sqlite_vfs import RecordingVfs
from tests.worlds import world_of


def one_thread(vfs: str | None = None, seed: int = 7) -> World:
    return world_of(
        ManualClock(), SeededRandomness(seed), threads=InlineThreads(), vfs=vfs, exclusive=True
    )


async def test_everything_happens_on_one_connection_in_one_thread(tmp_path: Path) -> None:
    threads = threading.active_count()
    catalog = await SqliteCatalog.open(str(tmp_path), one_thread())
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "content")
    await catalog.names.move(OPERATOR, p("/d/f"), p("/d/g"), condition=ANY)
    assert await names(catalog, "/", deep=True) == ["/d", "/d/g"]
    assert catalog._engine._all_readers == []
    assert threading.active_count() == threads
    assert "catalog.db-shm" not in os.listdir(tmp_path), "WAL needs no shared memory"
    await catalog.close()
    again = await SqliteCatalog.open(str(tmp_path), one_thread())
    assert await names(again, "/", deep=True) == ["/d", "/d/g"]
    await again.close()


async def test_what_queues_meanwhile_shares_one_commit(tmp_path: Path) -> None:
    catalog = await SqliteCatalog.open(str(tmp_path), one_thread())
    before = (await catalog.restores.position()).sequence
    made = await asyncio.gather(
        *(catalog.names.make_directory(OPERATOR, p(f"/d{n}"), parents=False) for n in range(40)),
        catalog.names.move(OPERATOR, p("/absent"), p("/d0/x"), condition=ANY),
        return_exceptions=True,
    )
    assert isinstance(made[-1], NotFoundError)
    assert (await catalog.restores.position()).sequence == before + 1
    assert len(await names(catalog, "/")) == 40
    await catalog.close()


async def test_a_snapshot_goes_through_the_same_vfs(tmp_path: Path) -> None:
    vfs = RecordingVfs("one-connection")
    catalog = await SqliteCatalog.open(str(tmp_path), one_thread(vfs.vfs_name))
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    began = vfs.position()
    path = await catalog.upkeep.snapshot()
    written = {event.name for event in vfs.journal[began:]}
    assert "draft.tmp" in written
    assert written <= {"draft.tmp", "draft.tmp-journal"}
    await catalog.names.make_directory(OPERATOR, p("/e"), parents=False)
    await catalog.close()
    (tmp_path / "other").mkdir()
    os.rename(path, tmp_path / "other" / "catalog.db")
    copy = await SqliteCatalog.open(str(tmp_path / "other"), one_thread())
    assert await names(copy, "/") == ["/d"]
    await copy.close()


async def test_a_change_is_acknowledged_though_the_log_cannot_be_moved_for_want_of_room(
    tmp_path: Path,
) -> None:
    """The change is durable by then: the engine drops that failure, and so must what is hooked into it."""
    vfs = RecordingVfs("no-room-for-a-checkpoint")
    catalog = await SqliteCatalog.open(str(tmp_path), one_thread(vfs.vfs_name))
    log, database = tmp_path / "catalog.db-wal", tmp_path / "catalog.db"
    before = database.stat().st_size
    made = 0
    while log.stat().st_size < 4120 * (LOG_PAGES + 20):
        vfs.room = 64 << 10  # for the change, and not for all that the database is behind
        await catalog.names.make_directory(OPERATOR, p(f"/{made}{'x' * 200}"), parents=False)
        made += 1
    assert len(await names(catalog, "/")) == made
    vfs.room = None
    await catalog.names.make_directory(OPERATOR, p("/last"), parents=False)
    assert database.stat().st_size > before + (64 << 10), "with room again the log is moved"
    await catalog.close()


@pytest.mark.parametrize("readers", [1, 3])
async def test_a_closing_catalogue_finishes_what_it_accepted(tmp_path: Path, readers: int) -> None:
    for number, world in enumerate((one_thread(), world_of(ManualClock(), SeededRandomness(1)))):
        folder = str(tmp_path / str(number))
        catalog = await SqliteCatalog.open(folder, world, CatalogSettings(readers=readers))
        making = [
            asyncio.ensure_future(
                catalog.names.make_directory(OPERATOR, p(f"/d{n}"), parents=False)
            )
            for n in range(300)
        ]
        await asyncio.sleep(0)
        await catalog.close()
        await asyncio.gather(*making)
        again = await SqliteCatalog.open(folder, world)
        assert len(await names(again, "/")) == 300
        await again.close()


async def test_a_run_can_be_repeated(tmp_path: Path) -> None:
    digests = []
    for number in range(2):
        folder = tmp_path / str(number)
        catalog = await SqliteCatalog.open(str(folder), one_thread())
        await enrol(catalog)
        await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
        await asyncio.gather(*(write(catalog, f"/d/f{n}", f"c{n}") for n in range(20)))
        await catalog.close()
        digests.append(hashlib.sha256((folder / "catalog.db").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
