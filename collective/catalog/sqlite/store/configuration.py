"""SQLite as this process uses it: what is set for all connections, before there is any."""

from __future__ import annotations

from typing import Final

import apsw

UNDO_IN_MEMORY_BYTES: Final = (128 << 10) - 1
"""Of the pages that undo a savepoint.  Beyond it they go to a file; SQLite's own 64 KiB are less than one small
file that comes in changes, so each wrote and removed a file of its own.

It is the most that SQLite writes at once: what would be more to move to the file fails as a full disk.
"""


def configure() -> None:
    """Set what is of the whole process; nothing may be open, and no VFS registered."""
    apsw.shutdown()
    apsw.config(apsw.SQLITE_CONFIG_STMTJRNL_SPILL, UNDO_IN_MEMORY_BYTES)
    apsw.initialize()
