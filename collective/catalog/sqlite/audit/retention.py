"""How long the audit is kept: by size, apart for rights, files, renewals and refusals.

When there are too many of a sort, the oldest rows of its most frequent actor are dropped, so
that nobody pushes out what is known of others, and no flood of refusals, of renewals or of changes
to files pushes out who was given or lost which rights.  Each drop leaves a row that says what was
dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw

from collective.catalog.sqlite.audit.trimming import Cut, shares

STEP_ROWS: Final = 1000
"""The audit is counted again after so many new rows."""
_SPARE_PARTS: Final = 20
"""One part in so many is dropped beyond what must be, so that it is seldom done."""

_FILE_ACTIONS: Final = "'write', 'mkdir', 'move', 'remove'"
_FILES: Final = f"refusals = 0 AND action IN ({_FILE_ACTIONS})"
_RENEWALS: Final = "refusals = 0 AND action = 'issue'"
RIGHTS: Final = f"refusals = 0 AND action NOT IN ({_FILE_ACTIONS}, 'issue')"
_REFUSALS: Final = "refusals > 0"


@dataclass(frozen=True, slots=True)
class _Sort:
    name: str
    where: str
    """As the index of that sort has it, so that it is used."""

    @property
    def count(self) -> str:
        return f"SELECT count(*) FROM audit WHERE {self.where}"  # noqa: S608 - a constant

    @property
    def tally(self) -> str:
        """How many rows each actor has."""
        return (
            f"SELECT actor, count(*) FROM audit WHERE {self.where}"  # noqa: S608
            " GROUP BY actor"
        )

    @property
    def drop(self) -> str:
        return (
            f"DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE {self.where}"  # noqa: S608
            " AND actor = ? ORDER BY id LIMIT ?)"
        )


class Retention:
    """The bound on the rows of the audit."""

    def __init__(self, changes_max: int, refusals_max: int) -> None:
        """Keep about ``changes_max`` rows of rights and of files each, ``refusals_max`` of the others."""
        self._bounds = (
            (_Sort("rights", RIGHTS), changes_max),
            (_Sort("files", _FILES), changes_max),
            (_Sort("renewals", _RENEWALS), refusals_max),
            (_Sort("refusals", _REFUSALS), refusals_max),
        )
        self._counted_at: int | None = None
        self.pending: Sequence[Cut] = ()
        """What is still to be dropped: see ``dropping``."""

    def plan(self, db: apsw.Connection) -> Sequence[Cut]:
        """Return what is to be dropped; counted anew once for every thousand rows that came."""
        if self.pending:
            return self.pending
        newest = _number(db, "SELECT coalesce(max(id), 0) FROM audit")
        if self._counted_at is not None and newest < self._counted_at + STEP_ROWS:
            return ()
        self._counted_at = newest
        return [cut for sort, rows_max in self._bounds for cut in _cuts(db, sort, rows_max)]


def _cuts(db: apsw.Connection, sort: _Sort, rows_max: int) -> Iterator[Cut]:
    count = _number(db, sort.count)
    if count > rows_max:
        counts: dict[Any, Any] = dict(db.execute(sort.tally))
        for actor, number in shares(counts, count - rows_max + rows_max // _SPARE_PARTS).items():
            yield Cut(sort.name, sort.drop, actor, number)


def _number(db: apsw.Connection, sql: str) -> int:
    row: Any = db.execute(sql).fetchone()
    return int(row[0])
