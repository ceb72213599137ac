"""Checkpoints: moving the log's pages into the database, beside the writing.

SQLite's own do it within whichever COMMIT makes the log long: a thousand pages written and flushed while
every change waits.  Here another connection does it, which stops neither readers nor the writer.  What
the writer adds meanwhile is left over, and a log only begins anew when nothing is left: so after each
such round the writer moves the rest itself, if that is little; if not, and rounds are faster than the writer,
another begins at once.  SQLite flushes the database only once nothing is left, so a round flushes what it
moved itself: thousands of pages would else be the writer's to wait for.  In a world of one connection the
writer moves all of it.

The file that a round flushes by is open for as long as any connection: a process that closes a file gives
up every POSIX lock that it has on it, and SQLite's are such.

The writer looks when its COMMIT is durable, still within the statement.  Whatever fails here is the
checkpoint's failure and never the change's, so nothing of it is raised.

Refuses to touch files that are no longer this process's (``custody``).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import apsw

from collective.catalog.sqlite.store.custody import Custody
from collective.core.disk import DiskFile
from collective.core.world import Pool

LOG_PAGES: Final = 1000
"""A round begins when the log has grown by so much since the last one: some twenty small files.

With four or sixteen times as much rounds are seldom, and each makes more changes wait for the disk, for longer.
"""
REST_PAGES: Final = 200
"""What the writer moves itself at most."""


class _Done(NamedTuple):
    """What a round did."""

    log: int
    """The log's number: it may have begun anew since, for the round has moved all of it."""
    pages: int
    """Up to where it is moved."""


class Checkpoints:
    """The rounds of one database.  Hooked into the writing connection, on its thread."""

    def __init__(self, writer: apsw.Connection, custody: Custody) -> None:
        """Take the place of SQLite's own checkpoints once a ``start`` was called."""
        self._writer = writer
        self._custody = custody
        self._connect: Callable[[], apsw.Connection] | None = None
        self._open_file: Callable[[], DiskFile] | None = None
        self._pool: Pool | None = None
        self._pool_lock = threading.Lock()
        self._db: apsw.Connection | None = None
        self._file: DiskFile | None = None
        """The database, to flush it."""
        self._is_running = False
        self._done: _Done | None = None
        """The last round's, until the writer has looked at it."""
        self._log = 0
        """How often the log has begun anew."""
        self._share = 0
        """Pages that the last round had to move, at least."""
        self._next_pages = LOG_PAGES
        self._pages = 0

    def start(
        self,
        connect: Callable[[], apsw.Connection],
        open_file: Callable[[], DiskFile],
        pool: Pool,
    ) -> None:
        """Begin, on a connection of its own; ``pool`` has one worker, and nobody else uses it.

        ``open_file`` opens the database to be flushed.
        """
        self._connect = connect
        self._open_file = open_file
        self._pool = pool
        self._writer.set_wal_hook(self._committed)

    def start_alone(self) -> None:
        """Begin where the writer's connection is the only one."""
        self._writer.set_wal_hook(self._committed_alone)

    async def close(self) -> None:
        """Let a round that is under way end; nothing begins any more."""
        with self._pool_lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        if self._db is not None:
            self._db.close()
            self._db = None

    def release(self) -> None:
        """Close the file, once every connection is closed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _committed(self, db: apsw.Connection, name: str, pages: int) -> int:
        """Look at the log after a COMMIT of the writer's."""
        del db, name
        if pages <= self._pages:  # it began anew
            self._log += 1
            self._next_pages = LOG_PAGES
        self._pages = pages
        if self._is_running:
            return apsw.SQLITE_OK
        done, self._done = self._done, None
        if done is not None and done.log == self._log:
            rest = pages - done.pages
            if rest <= REST_PAGES:
                self._move(self._writer)
                return apsw.SQLITE_OK
            if rest <= self._share // 2:  # the rounds gain on the writer: soon the rest is little
                self._start_round(pages, rest)
                return apsw.SQLITE_OK
        if pages >= self._next_pages:
            self._start_round(pages, LOG_PAGES)
        return apsw.SQLITE_OK

    def _start_round(self, pages: int, share: int) -> None:
        with self._pool_lock:
            if self._pool is not None:
                self._is_running = True
                self._share = share
                self._next_pages = pages + LOG_PAGES
                self._pool.start(self._round, self._log)

    def _committed_alone(self, db: apsw.Connection, name: str, pages: int) -> int:
        """Look at the log after a COMMIT, and move all of it when it is long."""
        del name
        if pages >= LOG_PAGES:
            self._move(db)
        return apsw.SQLITE_OK

    def _round(self, log: int) -> None:
        """Move what there is of the log that is numbered ``log``, on the pool."""
        try:
            if self._db is None:
                assert self._connect is not None
                self._db = self._connect()
            moved = self._move(self._db)
            if moved is not None:
                self._flush()
                self._done = _Done(log, moved)
        except apsw.Error:
            pass  # the disk is full or failing: the writer meets the same
        finally:
            self._is_running = False

    def _flush(self) -> None:
        """Flush what was moved; SQLite does so again, and hears of what failed by its own file."""
        with contextlib.suppress(OSError):
            if self._file is None:
                assert self._open_file is not None
                self._file = self._open_file()
            self._file.datasync()

    def _move(self, db: apsw.Connection) -> int | None:
        """Move what can be moved without waiting; return how far the log is moved, in pages."""
        try:
            if not self._custody.is_ours():
                return None
            row: Any = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except (apsw.Error, OSError):
            return None
        return int(row[2])
