"""Power goes after each write in turn; what was acknowledged is there and nothing is half made."""

import os
import shutil
from pathlib import Path

import apsw
import pytest

from collective.catalog.sqlite import CatalogSettings, SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.errors import CollectiveError
from collective.core.randomness import SeededRandomness
from tests.contract.catalog.world import ANY, OPERATOR, enrol, names, p, write
from tests.faults.sqlite_vfs import RecordingVfs

SETTINGS = CatalogSettings(copies=3, readers=1)


async def workload(vfs: RecordingVfs, folder: str) -> list[tuple[int, set[str], int]]:
    """Run it; return (journal position, names that exist, sequence) after each acknowledgement."""
    catalog = await SqliteCatalog.open(
        folder, ManualClock(), SeededRandomness(1), SETTINGS, vfs=vfs.vfs_name
    )
    acknowledged = []
    exists: set[str] = set()

    async def note() -> None:
        acknowledged.append((vfs.position(), set(exists), (await catalog.position()).sequence))

    await enrol(catalog)
    await catalog.make_directory(OPERATOR, p("/d"), parents=False)
    exists.add("/d")
    await note()
    for number in range(6):
        await write(catalog, f"/d/f{number}", f"c{number}")
        exists.add(f"/d/f{number}")
        await note()
        if number == 3:
            catalog._engine.writer._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            await note()
    await catalog.move(OPERATOR, p("/d/f0"), p("/d/moved"), condition=ANY)
    exists = exists - {"/d/f0"} | {"/d/moved"}
    await note()
    await catalog.remove(OPERATOR, p("/d/f1"), recursive=False, condition=ANY)
    exists.discard("/d/f1")
    await note()
    await catalog.close()
    return acknowledged


async def crash(
    vfs: RecordingVfs, at: int, folder: str, seed: int, keep: float
) -> tuple[set[str], int]:
    """Return the names and the sequence that a start after the loss finds."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    vfs.lost_power(at, folder, seed, keep)
    catalog = await SqliteCatalog.open(folder, ManualClock(), SeededRandomness(2), SETTINGS)
    try:
        database = catalog._engine.writer._db
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        found = set(await names(catalog, "/", deep=True))
        totals = await catalog.totals(None, frozenset())
        assert totals.files == len([name for name in found if name != "/d"])
        return found, (await catalog.position()).sequence
    finally:
        await catalog.close()


async def losses(vfs: RecordingVfs, folder: str, stride: int) -> tuple[int, int]:
    """Try points of power loss; return how many were tried and how many lost something."""
    acknowledged = await workload(vfs, f"{folder}/live")
    states = [state for _, state, _ in acknowledged]
    tried = broken = 0
    for at in range(1, vfs.position() + 1, stride):
        must = [entry for entry in acknowledged if entry[0] <= at]
        for seed, keep in ((0, 0.0), (at, 0.5)):
            tried += 1
            try:
                found, sequence = await crash(vfs, at, f"{folder}/after", seed, keep)
            except (CollectiveError, apsw.Error, AssertionError):
                broken += 1
                continue
            if (must and sequence < must[-1][2]) or (found and found not in states):
                broken += 1
    return tried, broken


async def test_no_point_of_power_loss_loses_or_halves_anything(tmp_path: Path) -> None:
    tried, broken = await losses(RecordingVfs("recording"), str(tmp_path), 5)
    assert tried > 40
    assert broken == 0


async def test_without_the_flush_power_loss_does_lose(tmp_path: Path) -> None:
    vfs = RecordingVfs("forgetful", ignore_sync=True)
    _, broken = await losses(vfs, str(tmp_path), 40)
    assert broken > 0


@pytest.mark.slow
async def test_every_single_point_of_power_loss(tmp_path: Path) -> None:
    _, broken = await losses(RecordingVfs("recording-all"), str(tmp_path), 1)
    assert broken == 0
