"""A consistent copy of a database in use, in steps that nobody else has to wait for (ADR 13).

SQLite's backup reads pages as of one moment, since the reading connection holds a transaction, and writes
them to a database beside it.  Every step is flushed by itself: a large unflushed file would have to go to
the disk before the next commit's log (ext4 in its usual mode), and make it wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import apsw

from collective.core.disk import Disk

STEP_PAGES: Final = 256
"""1 MiB."""
PAUSE_S: Final = 0.005
"""After each step, so that others' flushes have their turn."""
_JOURNAL_MODE_OFFSET: Final = 18
_ROLLBACK_JOURNAL: Final = b"\x01\x01"


def copy_database(
    source: apsw.Connection,
    path: str,
    *,
    vfs: str | None,
    disk: Disk,
    pause: Callable[[float], None],
) -> None:
    """Write the database of ``source`` as of now to ``path``, flushed (blocking).

    The copy says of itself that it has a rollback journal and no log: so a start tells it from a
    database that was in use (``custody``).

    Args:
        source: in no transaction.
        path: of the copy; nothing is there.
        vfs: for the copy.
        disk: the same files.
        pause: waits so many seconds.

    Raises:
        apsw.Error: of reading or writing; the copy is to be removed.
    """
    disk.open(path, "create", permissions=0o600).close()
    source.execute("BEGIN")
    try:
        source.execute("SELECT 1 FROM state").fetchall()  # from here on nothing changes for us
        target = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        try:
            target.execute("PRAGMA synchronous = OFF; PRAGMA cache_size = -2048").fetchall()
            target.execute("PRAGMA journal_mode = OFF").fetchall()
            # The file is open beside SQLite until the end: closing it would end SQLite's locks.
            with disk.open(path, "update") as file:
                with target.backup("main", source, "main") as backup:
                    while not backup.done:
                        backup.step(STEP_PAGES)
                        file.datasync()
                        pause(PAUSE_S)
                file.write(_ROLLBACK_JOURNAL, _JOURNAL_MODE_OFFSET)
                file.datasync()
                target.close()
        finally:
            target.close(force=True)
    finally:
        source.execute("COMMIT")


def is_sound(path: str, *, vfs: str | None) -> bool:
    """Whether the copy at ``path`` shows no fault: pages may be damaged that nobody has read for long."""
    db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    try:
        return bool(db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except (apsw.CorruptError, apsw.NotADBError):
        return False
    finally:
        db.close()
