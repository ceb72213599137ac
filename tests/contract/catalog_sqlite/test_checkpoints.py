"""The log's pages are moved into the database beside the writing."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
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


async def test_a_round_that_moves_all_flushes_it_and_leaves_the_writer_nothing(
    catalog: SqliteCatalog, events: list[str]
) -> None:
    await write_much(catalog)
    assert events.count("round moved") > 3
    assert set(events) == {"round moved", "flushed"}
    for before, event in pairwise(events):
        assert before != "round moved" or event == "flushed"


@contextmanager
def reading(catalog: SqliteCatalog) -> Iterator[None]:
    """Hold back rounds: they move nothing that a reader does not see yet."""
    reader = catalog._engine._connect()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM nodes").fetchall()
    yield
    reader.execute("COMMIT")
    reader.close()


async def until_a_round(catalog: SqliteCatalog, name: str) -> None:
    """Write until a round has begun, and let it end."""
    checkpoints = catalog._engine._checkpoints
    assert checkpoints._pool is not None
    for number in range(50):
        await catalog.names.make_directory(OPERATOR, p(f"/{name}{number}"), parents=False)
        if checkpoints._is_running or checkpoints._done is not None:
            await checkpoints._pool.run(lambda: None)
            return
    raise AssertionError("no round begins")


async def test_the_writer_moves_the_little_that_a_round_has_left(
    catalog: SqliteCatalog, events: list[str]
) -> None:
    await catalog.names.make_directory(OPERATOR, p("/before"), parents=False)
    with reading(catalog):
        await until_a_round(catalog, "a")
    assert events == ["round moved", "flushed"]
    await catalog.names.make_directory(OPERATOR, p("/after"), parents=False)
    assert events == ["round moved", "flushed", "writer moved"]


async def test_where_rounds_gain_on_the_writer_another_begins_at_once(
    catalog: SqliteCatalog, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "REST_PAGES", 0)
    own = catalog._engine._checkpoints
    for number in range(3):
        await catalog.names.make_directory(OPERATOR, p(f"/before{number}"), parents=False)
    with reading(catalog):
        await until_a_round(catalog, "a")
    own._share = 1000  # much of which little is left
    assert own._pool is not None
    await catalog.names.make_directory(OPERATOR, p("/after"), parents=False)
    await own._pool.run(lambda: None)
    assert events == ["round moved", "flushed"] * 2


async def test_what_a_round_did_says_nothing_of_a_log_that_began_anew_meanwhile(
    catalog: SqliteCatalog, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer would take all of the new log for what is left, and move it."""
    own = catalog._engine._checkpoints
    assert own._pool is not None
    may_end = threading.Event()
    flush = Checkpoints._flush

    def slow(self: Checkpoints) -> None:
        flush(self)
        may_end.wait(10.0)

    monkeypatch.setattr(Checkpoints, "_flush", slow)
    for number in range(50):
        await catalog.names.make_directory(OPERATOR, p(f"/a{number}"), parents=False)
        if own._is_running:
            break
    while "flushed" not in events:
        await asyncio.sleep(0.001)
    await catalog.names.make_directory(OPERATOR, p("/anew"), parents=False)
    may_end.set()
    await own._pool.run(lambda: None)
    events.clear()
    await catalog.names.make_directory(OPERATOR, p("/then"), parents=False)
    assert events == []


async def test_a_flush_that_fails_is_the_writers_to_hear_of(
    catalog: SqliteCatalog, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own file, when it moves what the round has left."""

    def fail(_: WatchedFile) -> None:
        events.append("failed")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(WatchedFile, "datasync", fail)
    await catalog.names.make_directory(OPERATOR, p("/before"), parents=False)
    with reading(catalog):
        await until_a_round(catalog, "a")
    await catalog.names.make_directory(OPERATOR, p("/after"), parents=False)
    assert events == ["round moved", "failed", "writer moved"]


class Started:
    """A pool that begins nothing, and tells of which log a round was to be."""

    def __init__(self) -> None:
        self.logs: list[int] = []

    def start(self, _: Callable[[int], None], log: int) -> None:
        self.logs.append(log)


def test_a_round_begins_whenever_the_log_has_grown_by_so_much() -> None:
    unused: Any = None
    pool: Any = Started()
    own = Checkpoints(unused, unused)
    own._pool = pool
    for pages, begun in ((999, []), (1000, [0]), (1999, [0]), (2000, [0, 0]), (7, [0, 0])):
        own._committed(unused, "main", pages)
        assert pool.logs == begun
        own._is_running = False  # it moved nothing
    for pages in (7, 999, 1000):
        own._committed(unused, "main", pages)
    assert pool.logs == [0, 0, 2], "one of as many pages as that before is another"


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
