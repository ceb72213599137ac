"""Reading a large database through beside a start, where the last process was killed.

Reading through takes seconds a gigabyte, and after a kill damage is unlikely: what this process left is
whole by itself.  So a start does not wait for it.  Where it finds damage, nothing more is written, the
operator is told, and the record says so: the next start goes on from the newest good snapshot
(``opening``).  A process that ends before it was through leaves the next one to begin anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import apsw
import structlog

from collective.catalog.sqlite.store.custody import Custody
from collective.catalog.sqlite.store.writer import Writer
from collective.core.errors import CorruptionError

DAMAGED: Final = (
    "The catalogue is damaged, and nothing is written any more: restart the coordinator, which then goes"
    " on from its newest good snapshot; what was written after that is lost."
)
_PAGES_BETWEEN_LOOKS: Final = 1000
"""Pages that are read between two looks whether to go on."""

_log: Final = structlog.get_logger("collective.catalog")


class Inspection:
    """One reading through; ``run`` belongs on a thread of its own."""

    def __init__(
        self, connect: Callable[[], apsw.Connection], custody: Custody, writer: Writer
    ) -> None:
        """Read by a connection of its own; condemn what ``custody`` holds, stop ``writer``."""
        self._connect = connect
        self._custody = custody
        self._writer = writer
        self._is_stopped = False
        self.is_through: bool = False
        """Whether everything was read and nothing found."""

    def stop(self) -> None:
        """Have it end soon, with nothing known; on any thread."""
        self._is_stopped = True

    def run(self) -> None:
        """Read the database through; never raises."""
        try:
            is_whole = self._is_whole()
        except apsw.Error as error:  # interrupted, or the disk fails: nothing is known
            _log.info("catalogue_not_inspected", why=str(error))
            return
        if is_whole:
            self.is_through = True
            return
        _log.error("catalogue_damaged", advice=DAMAGED)
        self._writer.refuse(CorruptionError(DAMAGED))
        self._custody.condemn()

    def _is_whole(self) -> bool:
        try:
            db = self._connect()
            try:
                db.set_progress_handler(lambda: self._is_stopped, _PAGES_BETWEEN_LOOKS)
                return db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            finally:
                db.close()
        except (apsw.CorruptError, apsw.NotADBError):
            return False
