"""How long the audit is kept: by size, rows of changes and rows of refusals apart.

When there are too many of a sort, the oldest rows of whoever has most of that sort are dropped, so
that nobody pushes out what is known of others, and no flood of refusals pushes out a change.  Each
drop leaves a row that says what was dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw

from collective.catalog.sqlite.dropping import Cut, shares

STEP_ROWS: Final = 1000
"""The audit is counted again after so many new rows."""
_SPARE_PARTS: Final = 20
"""One part in so many is dropped beyond what must be, so that it is seldom done."""


@dataclass(frozen=True, slots=True)
class _Sort:
    name: str
    count: str
    tally: str
    """How many rows each actor has."""
    drop: str


_CHANGES: Final = _Sort(
    "changes",
    "SELECT count(*) FROM audit WHERE refusals = 0",
    "SELECT actor, count(*) FROM audit WHERE refusals = 0 GROUP BY actor",
    "DELETE FROM audit WHERE id IN"
    " (SELECT id FROM audit WHERE refusals = 0 AND actor = ? ORDER BY id LIMIT ?)",
)
_REFUSALS: Final = _Sort(
    "refusals",
    "SELECT count(*) FROM audit WHERE refusals > 0",
    "SELECT actor, count(*) FROM audit WHERE refusals > 0 GROUP BY actor",
    "DELETE FROM audit WHERE id IN"
    " (SELECT id FROM audit WHERE refusals > 0 AND actor = ? ORDER BY id LIMIT ?)",
)


class Retention:
    """The bound on the rows of the audit."""

    def __init__(self, changes_max: int, refusals_max: int) -> None:
        """Keep about ``changes_max`` rows of changes and ``refusals_max`` of refusals."""
        self._bounds = ((_CHANGES, changes_max), (_REFUSALS, refusals_max))
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
