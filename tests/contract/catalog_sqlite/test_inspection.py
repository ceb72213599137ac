"""A large database is read through beside the start after a kill, and damage is told and acted on."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.store import opening
from collective.catalog.sqlite.store.custody import Origin, judge
from collective.core.disk import OsDisk
from collective.core.errors import CorruptionError
from tests.contract.catalog.world import OPERATOR, p
from tests.contract.catalog_sqlite.slow_tar import Member, opened
from tests.contract.catalog_sqlite.test_backups import abandon, check

PAGE_BYTES = 4096


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "READ_AT_START_BYTES", 0)


@pytest.fixture
async def killed(tmp_path: Path) -> AsyncIterator[Member]:
    """A member with a snapshot, whose process was killed after a start."""
    member = await Member.start(tmp_path, 1)
    await member.change(30)
    await member.snapshot()
    await member.catalog.close()
    member.catalog = await opened(tmp_path, 2, member.clock)
    await abandon(member.catalog)
    yield member
    if not member.catalog._engine.writer._closed:
        await member.catalog.close()


def damage(folder: Path) -> None:
    """Overwrite the root of an index that no start and no change of a folder looks at."""
    db = apsw.Connection(str(folder / "catalog.db"), flags=apsw.SQLITE_OPEN_READONLY)
    ((root,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'extents_by_chunk'")
    db.close()
    with (folder / "catalog.db").open("r+b") as file:
        file.seek((int(root) - 1) * PAGE_BYTES)
        file.write(b"x" * PAGE_BYTES)


async def inspected(catalog: SqliteCatalog) -> bool:
    """Wait until the inspection has ended; return whether it got through."""
    await catalog._engine._copying.run(lambda: None)
    assert catalog._engine.inspection is not None
    return catalog._engine.inspection.is_through


async def test_a_start_after_a_kill_does_not_wait_for_it(tmp_path: Path, killed: Member) -> None:
    begun, release = threading.Event(), threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        inspect = opening.connect

        def held_up(path: str, *args: object, **kwargs: object) -> apsw.Connection:
            if threading.current_thread().name.startswith("catalog-copy"):
                begun.set()
                assert release.wait(60)
            return inspect(path, *args, **kwargs)  # type: ignore[arg-type]

        patch.setattr("collective.catalog.sqlite.catalog.connect", held_up)
        killed.catalog = await opened(tmp_path, 3, killed.clock)
        assert begun.wait(60)
        await killed.catalog.names.make_directory(OPERATOR, p("/beside"), parents=False)
        release.set()
        assert await inspected(killed.catalog)
    await killed.catalog.close()
    assert judge(str(tmp_path), OsDisk(), has_snapshots=True)[0] is Origin.ENDED


async def test_damage_stops_all_writing_and_the_next_start_takes_the_snapshot(
    tmp_path: Path, killed: Member
) -> None:
    damage(tmp_path)
    killed.catalog = await opened(tmp_path, 3, killed.clock)
    assert not await inspected(killed.catalog)
    with pytest.raises(CorruptionError, match="restart the coordinator"):
        await killed.catalog.names.make_directory(OPERATOR, p("/lost"), parents=False)
    trouble = killed.catalog.upkeep.health().trouble
    assert isinstance(trouble, CorruptionError)
    assert (await killed.catalog.names.stat(OPERATOR, p("/"))).path.is_root, (
        "what can be read is read"
    )
    await killed.catalog.close()
    killed.catalog = await opened(tmp_path, 4, killed.clock)
    assert await killed.catalog.restores.is_restored()
    assert await check(killed.catalog) == killed.states[killed.snapshot_of]
    (notice,) = await killed.catalog.upkeep.notices()
    assert "restored from the snapshot" in notice


async def test_one_that_was_cut_off_begins_anew(
    tmp_path: Path, killed: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a clean end nor another kill may make an unread database one that is trusted."""
    damage(tmp_path)
    monkeypatch.setattr("collective.catalog.sqlite.store.inspection.Inspection.run", lambda _: None)
    killed.catalog = await opened(tmp_path, 3, killed.clock)
    await killed.catalog.close()
    assert judge(str(tmp_path), OsDisk(), has_snapshots=True)[0] is Origin.OURS
    monkeypatch.undo()
    monkeypatch.setattr(opening, "READ_AT_START_BYTES", 0)
    killed.catalog = await opened(tmp_path, 4, killed.clock)
    assert not await inspected(killed.catalog)


async def test_after_a_clean_end_nothing_is_read_through(tmp_path: Path) -> None:
    member = await Member.start(tmp_path, 1)
    await member.catalog.close()
    member.catalog = await opened(tmp_path, 2, member.clock)
    assert member.catalog._engine.inspection is None
    await member.catalog.close()
