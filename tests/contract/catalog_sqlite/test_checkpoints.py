"""The log's pages are moved into the database beside the writing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.store import checkpoints
from collective.catalog.sqlite.store.checkpoints import Checkpoints
from collective.core.clock import ManualClock
from collective.core.disk import DiskFile, OpenMode, OsDisk, OsDiskFile
from collective.core.randomness import SeededRandomness
from tests.contract.catalog.world import OPERATOR, p
from tests.worlds import world_of

TAKES_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
    except OSError:
        sys.exit(3)
"""
"""Whether nobody has SQLite's shared lock (os_unix.c: SHARED_FIRST, SHARED_SIZE); 3: somebody has."""


class WatchedFile(OsDiskFile):
    def __init__(self, descriptor: int, note: Callable[[str], None]) -> None:
        super().__init__(descriptor)
        self._note = note

    def datasync(self) -> None:
        super().datasync()
        self._note("flushed")

    def close(self) -> None:
        self._note("closed")
        super().close()


class WatchedDisk(OsDisk):
    """Notes what becomes of the database beside SQLite."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note

    def open(
        self, path: str, mode: OpenMode, *, permissions: int = 0o600, direct: bool = False
    ) -> DiskFile:
        if path.endswith("catalog.db") and mode == "read":
            return WatchedFile(os.open(path, os.O_RDONLY), self._note)
        return super().open(path, mode, permissions=permissions, direct=direct)


@pytest.fixture
async def catalog(
    tmp_path: Path, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SqliteCatalog]:
    """One whose rounds are short, and told in ``events``."""
    monkeypatch.setattr(checkpoints, "LOG_PAGES", 50)
    move = Checkpoints._move

    def noted(self: Checkpoints, db: apsw.Connection) -> int | None:
        found = move(self, db)
        events.append("writer moved" if db is self._writer else "round moved")
        return found

    monkeypatch.setattr(Checkpoints, "_move", noted)
    world = world_of(ManualClock(), SeededRandomness(1), disk=WatchedDisk(events.append))
    catalog = await SqliteCatalog.open(str(tmp_path), world)
    events.clear()
    yield catalog
    if "closed" not in events:
        await catalog.close()


@pytest.fixture
def events() -> list[str]:
    return []


async def write_much(catalog: SqliteCatalog) -> int:
    """Write over 1,000 pages, each round to its end before more is written; return the log's longest."""
    pool = catalog._engine._checkpoints._pool
    assert pool is not None
    longest = 0
    for number in range(150):
        await catalog.names.make_directory(OPERATOR, p(f"/{number}{'x' * 200}"), parents=False)
        if catalog._engine._checkpoints._is_running:
            await pool.run(lambda: None)
        longest = max(longest, os.path.getsize(f"{catalog._engine.data_dir}/catalog.db-wal"))
    return longest


def is_locked(database: Path) -> bool:
    """Tell whether another process sees that SQLite uses ``database``."""
    return subprocess.run([sys.executable, "-c", TAKES_LOCK, database], check=False).returncode == 3


async def test_the_log_is_moved_beside_the_writing_and_begins_anew(
    catalog: SqliteCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await write_much(catalog) < 4096 * 300
    engine = catalog._engine
    pages: Any = engine._db.execute("PRAGMA page_count").fetchone()
    assert os.path.getsize(tmp_path / "catalog.db") > 4096 * (pages[0] // 2)
    monkeypatch.setattr(engine.custody, "is_ours", lambda: False)
    assert engine._checkpoints._move(engine._db) is None
    monkeypatch.undo()


async def test_a_round_flushes_what_it_moved_so_that_the_writer_need_not(
    catalog: SqliteCatalog, events: list[str]
) -> None:
    await write_much(catalog)
    assert events.count("writer moved") > 3
    for before, event in pairwise(events):
        assert event != "writer moved" or before == "flushed"
        assert before != "round moved" or event == "flushed"


async def test_locks_are_kept_until_every_connection_is_closed(
    catalog: SqliteCatalog, events: list[str], tmp_path: Path
) -> None:
    """Closing a file ends all POSIX locks of the process on it: the shell could then remove the log in use."""
    database = tmp_path / "catalog.db"
    await write_much(catalog)
    assert "flushed" in events
    assert is_locked(database)
    close = catalog._engine._checkpoints.close
    held = []

    async def closing() -> None:
        await close()
        held.append(is_locked(database))

    catalog._engine._checkpoints.close = closing  # type: ignore[method-assign]
    await catalog.close()
    assert held == [True]
    assert "closed" in events
    assert not is_locked(database)
