"""What the catalogue tells of itself: what waits, what the disk refused, a full disk at start."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import apsw
import pytest

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.interface.values import Health
from collective.catalog.sqlite.store.emergency_reserve import (
    RESERVE,
    RESERVE_BYTES,
    EmergencyReserve,
)
from collective.core.clock import ManualClock
from collective.core.disk_errors import DiskState, state_behind
from collective.core.errors import BusyError, DataDirError, NoSpaceError
from collective.core.randomness import SeededRandomness
from tests.contract.catalog.engines import SqliteEngines
from tests.faults.disk import FaultDisk


async def test_a_change_that_does_not_end_shows_how_long_it_waits(
    engines: SqliteEngines, clock: ManualClock
) -> None:
    catalog = await engines.open()
    assert catalog.upkeep.health() == Health()
    begun, release = threading.Event(), threading.Event()

    def slow(tx: Any) -> None:
        begun.set()
        assert release.wait(60)

    waiting = asyncio.create_task(catalog._engine.change(slow))
    await asyncio.to_thread(begun.wait, 60)
    clock.advance(7.0)
    assert catalog.upkeep.health().waiting_s == 7.0
    release.set()
    await waiting
    await catalog.upkeep.prove()
    assert catalog.upkeep.health() == Health()


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (apsw.FullError, DiskState.FULL),
        (apsw.ReadOnlyError, DiskState.READ_ONLY),
        (apsw.IOError, DiskState.FAILING),
    ],
)
async def test_a_disk_that_refused_a_change_is_told_until_one_is_durable(
    engines: SqliteEngines, error: type[apsw.Error], state: DiskState
) -> None:
    catalog = await engines.open()

    def refused(tx: Any) -> None:
        raise error("the disk")

    with pytest.raises(Exception, match="nothing was changed"):
        await catalog._engine.change(refused)
    trouble = catalog.upkeep.health().trouble
    assert trouble is not None
    assert state_behind(trouble) is state
    await catalog._engine.change(lambda tx: tx.one("SELECT 1"))
    assert catalog.upkeep.health().trouble is trouble, "what changes nothing proves nothing"
    await catalog.upkeep.prove()
    assert catalog.upkeep.health().trouble is None


def full_disk() -> tuple[FaultDisk, EmergencyReserve]:
    disk = FaultDisk()
    disk.make_dir("/data")
    return disk, EmergencyReserve("/data", disk, SeededRandomness(1))


def test_the_reserve_is_given_up_where_the_catalogue_does_not_open_and_made_again() -> None:
    disk, reserve = full_disk()
    assert reserve.opened(lambda: "open") == "open"
    assert len(disk.content(f"/data/{RESERVE}")) == RESERVE_BYTES

    def opening() -> str:
        if disk.paths():
            raise DataDirError("disk I/O error")
        return "open"

    assert reserve.opened(opening) == "open"
    assert disk.paths() == []
    disk.free_bytes = RESERVE_BYTES
    reserve.keep()
    assert disk.paths() == [], "there is no ample room"
    disk.free_bytes = 100 * RESERVE_BYTES
    reserve.keep()
    assert disk.paths() == [f"/data/{RESERVE}"]


@pytest.mark.parametrize("error", [DataDirError("foreign"), NoSpaceError("full")])
def test_a_catalogue_that_never_opens_says_why(error: Exception) -> None:
    _, reserve = full_disk()
    reserve.keep()
    tries = 0

    def opening() -> None:
        nonlocal tries
        tries += 1
        raise error

    for expected in (2, 3):
        with pytest.raises(type(error), match=str(error)):
            reserve.opened(opening)
        assert tries == expected


async def test_the_reserve_lies_beside_the_catalogue(engines: SqliteEngines) -> None:
    await engines.open()
    assert os.path.getsize(os.path.join(engines.data_dir, RESERVE)) == RESERVE_BYTES


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


async def test_what_runs_and_what_waits_is_given_up_when_the_process_ends(
    engines: SqliteEngines,
) -> None:
    catalog = await engines.open()
    await catalog._engine.change(lambda tx: tx.audit_of("somebody", "kept", "", ""))
    begun = threading.Event()

    def endless(tx: Any) -> None:
        tx.audit_of("somebody", "lost", "", "")
        begun.set()
        tx.value(ENDLESS)

    running = asyncio.create_task(catalog._engine.change(endless))
    await asyncio.to_thread(begun.wait, 60)
    behind = asyncio.create_task(
        catalog._engine.change(lambda tx: tx.audit_of("somebody", "lost", "", ""))
    )
    reading = asyncio.create_task(catalog._engine.read(lambda db: db.execute(ENDLESS).fetchone()))
    await asyncio.sleep(0)
    catalog.interrupt()
    await engines.close()
    for waiting in (running, behind, reading):
        with pytest.raises(BusyError, match="stopping"):
            await waiting
    again = await engines.open()
    actions = await again._engine.read(
        lambda db: db.execute("SELECT action FROM audit WHERE actor = 'somebody'").fetchall()
    )
    assert actions == [("kept",)]


async def test_a_reading_that_nobody_waits_for_any_more_ends(engines: SqliteEngines) -> None:
    """One reader alone: what comes behind it is answered."""
    engines.settings = CatalogSettings(readers=1)
    catalog = await engines.open()
    begun = threading.Event()

    def endless(db: apsw.Connection) -> Any:
        begun.set()
        return db.execute(ENDLESS).fetchone()

    reading = asyncio.create_task(catalog._engine.read(endless))
    await asyncio.to_thread(begun.wait, 60)
    behind = asyncio.create_task(catalog._engine.read(lambda db: db.execute(ENDLESS).fetchone()))
    await asyncio.sleep(0)
    for task in (behind, reading):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    found = await catalog._engine.read(lambda db: db.execute("SELECT 7").fetchone())
    assert found == (7,)
