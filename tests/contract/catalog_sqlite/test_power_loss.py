"""Power goes after each write in turn; what was acknowledged is there and nothing is half made."""

import os
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.interface.values import IssuedCertificate
from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.disk_errors import DiskFailedError, DiskFullError
from collective.core.errors import CollectiveError, NoSpaceError
from collective.core.ids import Domain, NodeId, SpiffeId
from collective.core.randomness import SeededRandomness
from collective.model.people import Invite, InviteKind
from tests.contract.catalog.world import ANY, OPERATOR, enrol, names, p, write
from tests.faults.sqlite_vfs import RecordingVfs
from tests.worlds import world_of

SETTINGS = CatalogSettings(copies=3, readers=1)


async def workload(vfs: RecordingVfs, folder: str) -> list[tuple[int, set[str], int]]:
    """Run it; return (journal position, names that exist, sequence) after each acknowledgement."""
    catalog = await SqliteCatalog.open(
        folder, world_of(ManualClock(), SeededRandomness(1), vfs=vfs.vfs_name), SETTINGS
    )
    acknowledged = []
    exists: set[str] = set()

    async def note() -> None:
        acknowledged.append(
            (vfs.position(), set(exists), (await catalog.restores.position()).sequence)
        )

    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    exists.add("/d")
    await note()
    for number in range(6):
        await write(catalog, f"/d/f{number}", f"c{number}")
        exists.add(f"/d/f{number}")
        await note()
        if number == 3:
            catalog._engine.writer._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            await note()
    await catalog.names.move(OPERATOR, p("/d/f0"), p("/d/moved"), condition=ANY)
    exists = exists - {"/d/f0"} | {"/d/moved"}
    await note()
    await catalog.names.remove(OPERATOR, p("/d/f1"), recursive=False, condition=ANY)
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
    catalog = await SqliteCatalog.open(
        folder, world_of(ManualClock(), SeededRandomness(2)), SETTINGS
    )
    try:
        database = catalog._engine.writer._db
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        found = set(await names(catalog, "/", deep=True))
        totals = await catalog.figures.totals(None, frozenset())
        assert totals.files == len([name for name in found if name != "/d"])
        return found, (await catalog.restores.position()).sequence
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


@pytest.mark.parametrize("failing", [1, 2])
async def test_a_change_whose_flush_failed_does_not_come_back_unless_it_was_told_so(
    tmp_path: Path, failing: int
) -> None:
    vfs = RecordingVfs("fails-while-saving")
    catalog = await SqliteCatalog.open(
        str(tmp_path / "live"), world_of(ManualClock(), SeededRandomness(1), vfs=vfs.vfs_name)
    )
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    vfs.failing_syncs = failing
    with pytest.raises(DiskFailedError) as failed:
        await catalog.names.make_directory(OPERATOR, p("/lost"), parents=False)
    is_undone = "nothing was changed" in failed.value.message
    assert is_undone == (failing == 1)
    assert is_undone or "may be there or not" in failed.value.message
    found, _ = await crash(vfs, vfs.position(), str(tmp_path / "after"), 0, 1.0)
    assert found in ({"/d"}, {"/d", "/lost"})
    assert not is_undone or found == {"/d"}
    await catalog.names.make_directory(OPERATOR, p("/e"), parents=False)  # and it goes on
    await catalog.close()


@pytest.mark.parametrize("room", [0, 4000, 4120, 9000, 40_000, 90_000])
async def test_a_change_for_which_the_disk_has_no_room_is_undone_and_counted_as_such(
    tmp_path: Path, room: int
) -> None:
    vfs = RecordingVfs("no-room")
    catalog = await SqliteCatalog.open(
        str(tmp_path / "live"), world_of(ManualClock(), SeededRandomness(1), vfs=vfs.vfs_name)
    )
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    vfs.room = room
    exists = {"/d"}

    async def fill() -> None:
        for number in range(40):
            await write(catalog, f"/d/f{number}", f"c{number}")
            exists.add(f"/d/f{number}")

    with pytest.raises(DiskFullError, match="nothing was changed"):
        await fill()
    found, _ = await crash(vfs, vfs.position(), str(tmp_path / "after"), 0, 1.0)
    assert found == exists
    vfs.room = None
    await write(catalog, "/d/last", "last")
    totals = await catalog.figures.totals(None, frozenset())
    assert totals.files == len(exists)
    await catalog.close()


async def test_no_point_of_power_loss_loses_or_halves_anything(tmp_path: Path) -> None:
    tried, broken = await losses(RecordingVfs("recording"), str(tmp_path), 5)
    assert tried > 40
    assert broken == 0


async def test_without_the_flush_power_loss_does_lose(tmp_path: Path) -> None:
    vfs = RecordingVfs("forgetful", ignore_sync=True)
    _, broken = await losses(vfs, str(tmp_path), 40)
    assert broken > 0


async def test_no_power_loss_in_a_redemption_burns_a_use_without_a_certificate(
    tmp_path: Path,
) -> None:
    """Use, certificate, key and a node's record are there together, or none of them is."""
    vfs = RecordingVfs("redeeming")
    live, after = str(tmp_path / "live"), str(tmp_path / "after")
    catalog = await SqliteCatalog.open(
        live, world_of(ManualClock(), SeededRandomness(1), vfs=vfs.vfs_name), SETTINGS
    )
    end_s = ManualClock().wall_s() + 600
    code = Invite("c1", InviteKind.NODE, b"v" * 32, 9, 9, end_s, OPERATOR.principal)
    await catalog.codes.add(OPERATOR, code)
    began = vfs.position()
    answered = []
    for number in range(3):
        await catalog.codes.redeem("c1", key_of(number), issue_to(number))
        answered.append(vfs.position())
    await catalog.close()
    for at in range(began, vfs.position() + 1):
        shutil.rmtree(after, ignore_errors=True)
        os.makedirs(after)
        vfs.lost_power(at, after, at, 0.5)
        catalog = await SqliteCatalog.open(
            after, world_of(ManualClock(), SeededRandomness(2)), SETTINGS
        )
        done = 9 - (await catalog.codes.get("c1")).uses_left
        assert done >= sum(position <= at for position in answered)
        assert len(await catalog.nodes.list()) == done
        for number in range(3):
            repeated = await catalog.codes.redeem("c1", key_of(number), issue_to(number, repeat=1))
            assert repeated.certificate_der == b"der %d %d" % (number, number >= done)
        assert (await catalog.codes.get("c1")).uses_left == 6
        await catalog.close()


def key_of(number: int) -> bytes:
    return bytes([number]) * 32


def issue_to(number: int, repeat: int = 0) -> IssuedCertificate:
    node = SpiffeId.node(Domain("home.alice"), NodeId(f"n{number}"))
    return IssuedCertificate(node, f"{repeat + 1}{number}", 10**15, b"der %d %d" % (number, repeat))


@pytest.mark.parametrize("limit_pages", [0, 1])
async def test_a_full_disk_in_a_redemption_burns_no_use(tmp_path: Path, limit_pages: int) -> None:
    catalog = await SqliteCatalog.open(
        str(tmp_path), world_of(ManualClock(), SeededRandomness(1)), SETTINGS
    )
    try:
        end_s = ManualClock().wall_s() + 600
        code = Invite("c1", InviteKind.NODE, b"v" * 32, 999, 999, end_s, OPERATOR.principal)
        await catalog.codes.add(OPERATOR, code)
        database: Any = catalog._engine.writer._db
        pages = database.execute("PRAGMA page_count").fetchall()[0][0]
        database.execute(f"PRAGMA max_page_count = {pages + limit_pages}")
        done, is_full = 0, False
        while done < 999 and not is_full:
            try:
                await catalog.codes.redeem(
                    "c1", bytes([done % 256, done // 256]) * 16, issue_to(done)
                )
                done += 1
            except NoSpaceError:
                is_full = True
        assert is_full
        assert (await catalog.codes.get("c1")).uses_left == 999 - done
        assert len(await catalog.nodes.list()) == done
        database.execute("PRAGMA max_page_count = 100000")
        for _ in range(2):
            await catalog.codes.redeem("c1", bytes([done % 256, done // 256]) * 16, issue_to(done))
        assert (await catalog.codes.get("c1")).uses_left == 999 - done - 1
    finally:
        await catalog.close()


@pytest.mark.slow
async def test_every_single_point_of_power_loss(tmp_path: Path) -> None:
    _, broken = await losses(RecordingVfs("recording-all"), str(tmp_path), 1)
    assert broken == 0
