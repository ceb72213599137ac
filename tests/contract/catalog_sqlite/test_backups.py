"""Backups: what is copied while the catalogue is in use can be restored, and nothing harms it there."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.store import checkpoints, online_backup, opening
from collective.catalog.sqlite.store.custody import Origin, judge
from collective.catalog.sqlite.store.opening import AT_REST, _deep_objection
from collective.catalog.sqlite.store.snapshot import GRACE_S, find_pairs, is_verified
from collective.core.clock import ManualClock
from collective.core.disk import OsDisk
from collective.core.errors import CollectiveError, CorruptionError, DataDirError
from collective.core.randomness import SeededRandomness
from collective.core.world import InlineThreads
from tests.contract.catalog.world import ANY, OPERATOR, enrol, names, p, write
from tests.contract.catalog_sqlite.slow_tar import Member, Order, opened, slow_tar, unpack
from tests.worlds import world_of

ORDERS: dict[str, Callable[[random.Random], Order]] = {
    "by-name": lambda _: list,
    "reversed": lambda _: lambda found: found[::-1],
    "random": lambda chance: lambda found: chance.sample(found, len(found)),
}


@pytest.fixture
async def closing() -> AsyncIterator[list[SqliteCatalog]]:
    """Catalogues that are closed at the end, whatever happened to their files."""
    found: list[SqliteCatalog] = []
    yield found
    for catalog in found:
        if not catalog._engine.writer._closed:
            await catalog.close()


async def check(catalog: SqliteCatalog) -> frozenset[str]:
    """Return the directories of a catalogue that shows no fault."""
    db = catalog._engine._db
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert _deep_objection(db) is None
    found = await names(catalog, "/", deep=True)
    return frozenset(name for name in found if "/f" not in name)


async def backed_up(member: Member, live: Path, backup: Path, order: Order) -> int:
    """Copy the data dir while it changes; return the number of the state that must be in it."""
    must = member.snapshot_of
    running: set[asyncio.Task[None]] = set()

    began_s = member.clock.wall_s()

    async def pause() -> None:
        left_s = began_s + GRACE_S - 10 - member.clock.wall_s()  # no slower than what is promised
        member.clock.advance(min(member.chance.uniform(0, 2), max(0.0, left_s)))
        await member.change(member.chance.randrange(1, 12))
        if not running and member.chance.random() < 0.1:
            task = asyncio.create_task(member.snapshot())
            running.add(task)
            task.add_done_callback(running.discard)

    await slow_tar(live, backup, order, pause)
    while running:
        await asyncio.gather(*running)
    return must


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("order", ORDERS)
async def test_a_tar_of_a_serving_catalogue_can_be_restored(
    tmp_path: Path, order: str, seed: int, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path / "live", seed)
    closing.append(member.catalog)
    arrange = ORDERS[order](random.Random(seed))
    must = await backed_up(member, tmp_path / "live", tmp_path / "backup", arrange)
    restored = await opened(tmp_path / "backup", seed + 1)
    closing.append(restored)
    found = await check(restored)
    assert found in member.states[must:], "a state that was, with all that the newest snapshot had"
    assert await restored.restores.is_restored()
    assert await restored.upkeep.notices()
    assert (await restored.restores.position()).epoch > (
        await member.catalog.restores.position()
    ).epoch
    await restored.names.make_directory(OPERATOR, p("/later"), parents=False)
    await restored.upkeep.snapshot()
    await restored.close()
    again = await opened(tmp_path / "backup", seed + 2)
    closing.append(again)
    assert await check(again) == found | {"/later"}
    assert await again.restores.is_restored()


@pytest.mark.parametrize("in_place", [False, True], ids=["by-tar", "by-cp"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_backup_unpacked_over_a_running_catalogue_is_what_the_next_start_finds(
    tmp_path: Path, seed: int, in_place: bool, closing: list[SqliteCatalog]
) -> None:
    live = tmp_path / "live"
    member = await Member.start(live, seed)
    closing.append(member.catalog)
    must = await backed_up(member, live, tmp_path / "backup", list)
    at_most = len(member.states)
    for _ in range(3):
        await member.change(50)
        member.clock.advance(300)
        await member.snapshot()
    pairs = {
        pair: is_verified(str(live), pair, OsDisk()) for pair in find_pairs(str(live), OsDisk())
    }
    assert all(pairs.values())
    unpack(tmp_path / "backup", live, in_place=in_place)
    with pytest.raises(DataDirError, match="replaced"):
        await member.catalog.names.make_directory(OPERATOR, p("/lost"), parents=False)
    with pytest.raises(DataDirError, match="replaced"):
        await member.catalog.upkeep.snapshot()
    assert "restart" in (await member.catalog.upkeep.notices())[0]
    trouble = member.catalog.upkeep.health().trouble
    assert trouble is not None, "/readyz would say that it takes writes"
    assert "replaced" in trouble.message
    before = content(live)
    with pytest.raises(CollectiveError):
        await member.catalog.upkeep.expire()
    await member.catalog.close()
    assert content(live) == before, "the old process's ending changed something"
    restored = await opened(live, seed + 1, member.clock)
    closing.append(restored)
    found = await check(restored)
    assert found in member.states[must:at_most]
    assert await restored.restores.is_restored()


def content(folder: Path) -> dict[str, bytes]:
    """Return all files but the index of the log, which is memory rather than data."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")
    }


async def test_two_verified_pairs_stay_and_older_ones_wait_for_slow_readers(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path, 1)
    closing.append(member.catalog)
    for _ in range(20):
        before = find_pairs(str(tmp_path), OsDisk())
        await member.change(1)
        member.clock.advance(GRACE_S / 4)
        await member.snapshot()
        after = find_pairs(str(tmp_path), OsDisk())
        assert before[0] in after
        assert before[1] in after
        assert len(after) <= 8
    kept = find_pairs(str(tmp_path), OsDisk())
    assert all(is_verified(str(tmp_path), pair, OsDisk()) for pair in kept)
    newest = tmp_path / "snapshots" / kept[0].name
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    assert not is_verified(str(tmp_path), kept[0], OsDisk())


async def test_a_damaged_pair_does_not_count_as_a_newer_one(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path, 1)
    good = find_pairs(str(tmp_path), OsDisk())[0]
    await member.catalog.close()
    for number in range(2):
        clock = member.clock
        member.catalog = await opened(tmp_path, number + 2, clock)
        await member.change(1)
        clock.advance(GRACE_S)
        await member.snapshot()
        await member.catalog.close()
        newest = tmp_path / "snapshots" / find_pairs(str(tmp_path), OsDisk())[0].name
        newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    member.catalog = await opened(tmp_path, 5, member.clock)
    closing.append(member.catalog)
    for _ in range(2):
        await member.change(1)
        member.clock.advance(GRACE_S)
        await member.snapshot()
        assert good in find_pairs(str(tmp_path), OsDisk())
    await member.change(1)
    member.clock.advance(GRACE_S)
    await member.snapshot()
    assert good not in find_pairs(str(tmp_path), OsDisk())


# --- starts ----------------------------------------------------------------------------------------


async def abandon(catalog: SqliteCatalog) -> None:
    """Leave everything as kill -9 does: nothing is checkpointed, nothing noted."""
    engine = catalog._engine
    await engine._copying.close()
    await engine._checkpoints.close()
    await engine._reading.close()
    for reader in engine._all_readers:
        reader.close()
    await engine.writer.close(engine._db.close)
    engine._lock.release()


async def test_a_killed_catalogue_goes_on_where_it_was(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path, 1)
    await member.change(30)
    for number in range(3):
        await abandon(member.catalog)
        member.catalog = await opened(tmp_path, number + 2)
        assert await check(member.catalog) == member.states[-1]
        assert not await member.catalog.restores.is_restored()
        assert await member.catalog.upkeep.notices() == ()
        await member.change(5)
    closing.append(member.catalog)


async def test_a_database_that_was_not_written_to_since_a_clean_end_is_not_read_through(
    tmp_path: Path,
) -> None:
    member = await Member.start(tmp_path, 1)
    await member.catalog.close()
    assert [path.name for path in tmp_path.glob("catalog.db*")] == ["catalog.db"]
    assert judge(str(tmp_path), OsDisk(), has_snapshots=True)[0] is Origin.ENDED
    os.utime(tmp_path / "catalog.db")
    assert judge(str(tmp_path), OsDisk(), has_snapshots=True)[0] is Origin.OURS
    member.catalog = await opened(tmp_path, 2)
    assert judge(str(tmp_path), OsDisk(), has_snapshots=True)[0] is Origin.OURS
    await member.catalog.close()


async def test_no_snapshot_is_made_of_a_damaged_database_and_good_ones_stay(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path, 1)
    for _ in range(50):
        await member.write_file()
    await member.catalog.close()
    member.catalog = await opened(tmp_path, 2, member.clock)
    good = find_pairs(str(tmp_path), OsDisk())
    await member.change(1)
    flip(tmp_path)
    member.clock.advance(GRACE_S * 3)
    with pytest.raises(CorruptionError, match="restart"):
        await member.catalog.upkeep.snapshot()
    assert find_pairs(str(tmp_path), OsDisk()) == good
    await abandon(member.catalog)
    restored = await opened(tmp_path, 3, member.clock)
    closing.append(restored)
    assert await check(restored) == member.states[member.snapshot_of]


async def test_another_owner_or_mode_of_the_files_is_no_damage(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path, 1)
    await member.change(30)
    await abandon(member.catalog)
    for path in tmp_path.rglob("*"):
        os.chmod(path, 0o700 if path.is_dir() else 0o600)
        os.chown(path, os.getuid(), os.getgid())
    again = await opened(tmp_path, 2)
    closing.append(again)
    assert await check(again) == member.states[-1]
    assert not await again.restores.is_restored()


async def test_a_copy_made_after_a_clean_end_is_used_as_it_is(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path / "live", 1)
    await member.change(30)
    await member.catalog.close()
    for number, copied in enumerate(("first", "second")):
        shutil.copytree(tmp_path / "live", tmp_path / copied)
        catalog = await opened(tmp_path / copied, number + 2)
        closing.append(catalog)
        assert await check(catalog) == member.states[-1]
        assert not await catalog.restores.is_restored()


@pytest.mark.parametrize("is_vouched_for", [True, False])
async def test_a_copy_of_a_dead_machines_files_is_used_if_the_operator_vouches_for_it(
    tmp_path: Path, is_vouched_for: bool, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path / "live", 1)
    await member.change(30)
    await abandon(member.catalog)
    shutil.copytree(tmp_path / "live", tmp_path / "copy")
    if is_vouched_for:
        (tmp_path / "copy" / "copied-at-rest").touch()
    catalog = await opened(tmp_path / "copy", 2)
    closing.append(catalog)
    state = len(member.states) - 1 if is_vouched_for else member.snapshot_of
    assert await check(catalog) == member.states[state]
    assert await catalog.restores.is_restored() == (not is_vouched_for)
    assert not (tmp_path / "copy" / "copied-at-rest").exists()


async def test_the_log_of_an_old_life_is_never_replayed_into_a_restored_database(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path / "live", 1)
    await member.catalog.close()
    backup = len(member.states) - 1
    shutil.copytree(tmp_path / "live", tmp_path / "backup")
    member.catalog = await opened(tmp_path / "live", 2, member.clock)
    await member.change(100)
    log = tmp_path / "live" / "catalog.db-wal"
    kept = log.read_bytes()
    assert len(kept) > 100_000
    await abandon(member.catalog)
    (tmp_path / "backup" / "catalog.db-wal").unlink(missing_ok=True)
    unpack(tmp_path / "backup", tmp_path / "live", in_place=False)
    assert log.read_bytes() == kept
    restored = await opened(tmp_path / "live", 3)
    closing.append(restored)
    assert await check(restored) == member.states[backup]
    aside = [path for path in (tmp_path / "live" / "aside").iterdir() if "-wal" in path.name]
    assert [path.read_bytes() for path in aside] == [kept]


def truncate(live: Path) -> None:
    os.truncate(live / "catalog.db", (live / "catalog.db").stat().st_size // 2)


def remove(live: Path) -> None:
    (live / "catalog.db").unlink()


def flip(live: Path) -> None:
    size = (live / "catalog.db").stat().st_size
    with (live / "catalog.db").open("r+b") as file:
        file.seek(size // 2)
        file.write(b"x" * (size // 2))


def put_old_file(live: Path) -> None:
    """An earlier life's database, copied in place: its stamp is another."""
    old = live.parent / "old" / "catalog.db"
    shutil.copyfile(old, live / "catalog.db")
    (live / "catalog.db-wal").unlink()


@pytest.mark.parametrize("damage", [truncate, remove, flip, put_old_file])
async def test_a_start_on_damaged_files_goes_on_from_the_newest_snapshot(
    tmp_path: Path, damage: Callable[[Path], None], closing: list[SqliteCatalog]
) -> None:
    live = tmp_path / "live"
    member = await Member.start(live, 1)
    await member.catalog.close()
    shutil.copytree(live, tmp_path / "old")
    member.catalog = await opened(live, 2, member.clock)
    await member.change(300)
    await member.write_file()
    await member.snapshot()
    must = member.snapshot_of
    await member.change(3)
    await abandon(member.catalog)
    damage(live)
    restored = await opened(live, 3, member.clock)
    closing.append(restored)
    assert await check(restored) == member.states[must]
    assert await restored.restores.is_restored()
    (notice,) = await restored.upkeep.notices()
    assert "restored from the snapshot" in notice
    rows = await restored.audit.list(since_ms=0, limit=10_000)
    assert [row.action for row in rows].count("restored") == 1
    if damage is not remove:
        assert any(path.name.startswith("catalog.db.") for path in (live / "aside").iterdir())


@pytest.mark.parametrize("is_moved", [False, True])
async def test_a_log_that_was_removed_is_missed(
    tmp_path: Path,
    is_moved: bool,
    closing: list[SqliteCatalog],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "LOG_PAGES", 1_000_000)
    member = await Member.start(tmp_path, 1)
    await member.change(10)
    await member.snapshot()
    must = member.snapshot_of
    if is_moved:  # then nothing shows that the database is not the newest
        await member.change(4)
        member.catalog._engine._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        must = len(member.states) - 1
    await member.change(3)
    await abandon(member.catalog)
    (tmp_path / "catalog.db-wal").unlink()
    restored = await opened(tmp_path, 3, member.clock)
    closing.append(restored)
    assert await check(restored) == member.states[must]
    assert await restored.restores.is_restored()
    (notice,) = await restored.upkeep.notices()
    assert ("log (catalog.db-wal) is gone" if is_moved else "restored from the snapshot") in notice
    rows = await restored.audit.list(since_ms=0, limit=10_000)
    assert [row.action for row in rows].count("restored") == 1


@pytest.mark.parametrize("is_emptied", [False, True])
async def test_a_log_that_was_lost_in_a_young_life_is_missed(
    tmp_path: Path, is_emptied: bool, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path, 1)
    await member.catalog.close()
    must = len(member.states) - 1
    member.catalog = await opened(tmp_path, 2, member.clock)
    await member.change(3)  # all of it in the log, and no snapshot of this life
    await abandon(member.catalog)
    log = tmp_path / "catalog.db-wal"
    if is_emptied:
        os.truncate(log, 0)
    else:
        log.unlink()
    restored = await opened(tmp_path, 3, member.clock)
    closing.append(restored)
    assert await check(restored) == member.states[must]
    assert await restored.restores.is_restored()


async def test_a_log_that_is_gone_is_missed_also_after_a_start_that_failed(
    tmp_path: Path, closing: list[SqliteCatalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await Member.start(tmp_path, 1)
    await member.catalog.close()
    member.catalog = await opened(tmp_path, 2, member.clock)
    await member.change(3)
    await abandon(member.catalog)
    (tmp_path / "catalog.db-wal").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(
            opening, "become_restored", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
        )
        with pytest.raises(CollectiveError):
            await opened(tmp_path, 3, member.clock)
    restored = await opened(tmp_path, 4, member.clock)
    closing.append(restored)
    assert await restored.restores.is_restored()


@pytest.mark.parametrize("step", ["unlink", "rename"])
async def test_a_clean_end_that_is_cut_off_is_no_loss(
    tmp_path: Path, step: str, closing: list[SqliteCatalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its log is removed, or before the record says so."""
    member = await Member.start(tmp_path, 1)
    await member.change(3)
    real = getattr(OsDisk, step)

    def cut_off(self: OsDisk, *paths: str) -> None:
        if paths[-1].endswith(("catalog.db-wal", "catalog.place")):
            raise OSError("cut off")
        real(self, *paths)

    with monkeypatch.context() as patched:
        patched.setattr(OsDisk, step, cut_off)
        await member.catalog.close()
    origin, record = judge(str(tmp_path), OsDisk(), has_snapshots=True)
    assert origin is Origin.OURS
    assert record is not None
    assert (record.closed is not None) == (step == "unlink")
    assert (tmp_path / "catalog.db-wal").stat().st_size > 0
    again = await opened(tmp_path, 2, member.clock)
    closing.append(again)
    assert await check(again) == member.states[-1]
    assert not await again.restores.is_restored()
    assert not await again.upkeep.notices()


async def test_a_damaged_newest_snapshot_is_passed_over(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path, 1)
    older = member.snapshot_of
    await member.change(10)
    await member.snapshot()
    await abandon(member.catalog)
    newest = tmp_path / "snapshots" / find_pairs(str(tmp_path), OsDisk())[0].name
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    remove(tmp_path)
    restored = await opened(tmp_path, 3, member.clock)
    closing.append(restored)
    assert await check(restored) == member.states[older]


async def test_a_snapshot_put_in_place_by_hand_is_restored(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path, 1)
    must = member.snapshot_of
    await member.change(10)
    await abandon(member.catalog)
    newest = tmp_path / "snapshots" / find_pairs(str(tmp_path), OsDisk())[0].name
    (tmp_path / "catalog.db").unlink()
    shutil.copyfile(newest, tmp_path / "catalog.db")
    restored = await opened(tmp_path, 3, member.clock)
    closing.append(restored)
    assert await check(restored) == member.states[must]
    assert await restored.restores.is_restored()
    assert "put in place" in (await restored.upkeep.notices())[0]


async def test_files_set_aside_are_bounded(tmp_path: Path, closing: list[SqliteCatalog]) -> None:
    member = await Member.start(tmp_path, 1)
    await member.catalog.close()
    for number in range(5):
        truncate(tmp_path)
        catalog = await opened(tmp_path, number + 2, member.clock)
        await catalog.names.make_directory(OPERATOR, p(f"/later{number}"), parents=False)
        await catalog.upkeep.snapshot()
        await catalog.close()
    kept = [path.name for path in (tmp_path / "aside").iterdir()]
    assert len([name for name in kept if name.startswith("catalog.db.")]) == 3


async def test_without_snapshot_files_that_show_no_fault_are_used(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    catalog = await opened(tmp_path / "live")
    closing.append(catalog)
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "c")
    await catalog.names.move(OPERATOR, p("/d"), p("/e"), condition=ANY)
    shutil.copytree(tmp_path / "live", tmp_path / "copy")
    copy = await opened(tmp_path / "copy", 2)
    closing.append(copy)
    assert await check(copy) == {"/e"}
    assert await copy.restores.is_restored()
    assert "no good snapshot" in (await copy.upkeep.notices())[0]


async def test_an_exclusive_world_has_snapshots_too(tmp_path: Path) -> None:
    world = world_of(ManualClock(), SeededRandomness(1), threads=InlineThreads(), exclusive=True)
    catalog = await SqliteCatalog.open(str(tmp_path), world)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await catalog.upkeep.snapshot()
    await catalog.names.make_directory(OPERATOR, p("/e"), parents=False)
    await catalog.close()
    truncate(tmp_path)
    catalog = await SqliteCatalog.open(str(tmp_path), world)
    assert await check(catalog) == {"/d"}
    await catalog.close()


async def test_a_copy_made_in_steps_is_of_one_moment(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    """What is written between the steps is not in it, and makes it no longer."""
    member = await Member.start(tmp_path / "live", 1)
    closing.append(member.catalog)
    for _ in range(40):
        await member.write_file()
    db = member.catalog._engine._connect()
    before: Any = db.execute("SELECT sequence, files FROM state").fetchone()
    pages: Any = db.execute("PRAGMA page_count").fetchone()
    other = apsw.Connection(str(tmp_path / "live" / "catalog.db"))
    steps = 0

    def change(_: float) -> None:
        nonlocal steps
        steps += 1
        other.execute("UPDATE state SET sequence = sequence + 1")
        other.execute("UPDATE entries SET name = name || 'x' WHERE parent IS NOT NULL")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(online_backup, "STEP_PAGES", 4)
        online_backup.copy_database(
            db, str(tmp_path / "copy.db"), vfs=None, disk=OsDisk(), pause=change
        )
    assert steps == -(-pages[0] // 4)
    copy = apsw.Connection(str(tmp_path / "copy.db"))
    assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert copy.execute("SELECT sequence, files FROM state").fetchone() == before
    assert not copy.execute("SELECT 1 FROM entries WHERE name LIKE '%x'").fetchall()
    for connection in (copy, other, db):
        connection.close()


async def test_a_voucher_is_for_one_start(tmp_path: Path, closing: list[SqliteCatalog]) -> None:
    """Left in place, it would vouch for every copy of the data dir that is taken while it serves."""
    member = await Member.start(tmp_path / "live", 1)
    await member.change(30)
    await member.catalog.close()
    (tmp_path / "live" / AT_REST).touch()  # after a clean end it was not needed
    member.catalog = await opened(tmp_path / "live", 2, member.clock)
    assert not (tmp_path / "live" / AT_REST).exists()
    await member.change(20)
    shutil.copytree(tmp_path / "live", tmp_path / "hot")
    await abandon(member.catalog)
    hot = await opened(tmp_path / "hot", 3)
    closing.append(hot)
    assert await hot.restores.is_restored()


async def test_a_voucher_for_what_turns_out_damaged_is_used_up_too(
    tmp_path: Path, closing: list[SqliteCatalog]
) -> None:
    member = await Member.start(tmp_path / "live", 1)
    await member.change(30)
    await abandon(member.catalog)
    shutil.copytree(tmp_path / "live", tmp_path / "copy")
    (tmp_path / "copy" / AT_REST).touch()
    database = tmp_path / "copy" / "catalog.db"
    whole = database.read_bytes()
    database.write_bytes(whole[:8192] + b"torn" * 4096 + whole[24576:])
    (tmp_path / "copy" / "catalog.db-wal").write_bytes(b"")
    found = await opened(tmp_path / "copy", 2)
    closing.append(found)
    assert await found.restores.is_restored()
    assert not (tmp_path / "copy" / AT_REST).exists()
