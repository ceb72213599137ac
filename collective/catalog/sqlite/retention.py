"""How long the audit is kept: by size, rows of changes and rows of refusals apart.

When there are too many of a sort, the oldest rows of whoever has most of that sort are dropped, so
that nobody pushes out what is known of others, and no flood of refusals pushes out a change.  Each
drop leaves a row that says what was dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import apsw

from collective.catalog.sqlite.writer import Transaction

STEP_ROWS: Final = 1000
"""The audit is counted again after so many new rows."""
_SPARE_PARTS: Final = 20
"""One part in so many is dropped beyond what must be, so that it is seldom done."""


@dataclass(frozen=True, slots=True)
class _Sort:
    name: str
    count: str
    most: str
    """Who has most rows, and who comes next."""
    drop: str


_CHANGES: Final = _Sort(
    "changes",
    "SELECT count(*) FROM audit WHERE refusals = 0",
    "SELECT actor, count(*) FROM audit WHERE refusals = 0 GROUP BY actor ORDER BY 2 DESC LIMIT 2",
    "DELETE FROM audit WHERE id IN"
    " (SELECT id FROM audit WHERE refusals = 0 AND actor = ? ORDER BY id LIMIT ?)",
)
_REFUSALS: Final = _Sort(
    "refusals",
    "SELECT count(*) FROM audit WHERE refusals > 0",
    "SELECT actor, count(*) FROM audit WHERE refusals > 0 GROUP BY actor ORDER BY 2 DESC LIMIT 2",
    "DELETE FROM audit WHERE id IN"
    " (SELECT id FROM audit WHERE refusals > 0 AND actor = ? ORDER BY id LIMIT ?)",
)


class Retention:
    """The bound on the rows of the audit."""

    def __init__(self, changes_max: int, refusals_max: int) -> None:
        """Keep about ``changes_max`` rows of changes and ``refusals_max`` of refusals."""
        self._bounds = ((_CHANGES, changes_max), (_REFUSALS, refusals_max))
        self._counted_at: int | None = None

    def is_exceeded(self, db: apsw.Connection) -> bool:
        """Tell whether there is too much; counted once for every thousand rows that came."""
        newest = _number(db, "SELECT coalesce(max(id), 0) FROM audit")
        if self._counted_at is not None and newest < self._counted_at + STEP_ROWS:
            return False
        self._counted_at = newest
        return any(_number(db, sort.count) > rows_max for sort, rows_max in self._bounds)

    def prune(self, tx: Transaction) -> None:
        """Drop what is too much."""
        for sort, rows_max in self._bounds:
            count = tx.value(sort.count)
            if count > rows_max:
                _drop(tx, sort, count - rows_max + rows_max // _SPARE_PARTS)


def _drop(tx: Transaction, sort: _Sort, excess: int) -> None:
    while excess > 0:
        found = tx.all(sort.most)
        actor, count = found[0]
        lead = count - found[1][1] if len(found) > 1 else count
        number = min(excess, count, max(lead, excess // 10, 1))
        tx.run(sort.drop, actor, number)
        tx.run(
            "INSERT INTO audit (at_ms, actor, action, target, detail, request_id)"
            " VALUES (?,'coordinator','audit-drop',?,?,'')",
            tx.now_ms,
            actor,
            f"the {number} oldest rows about {sort.name}",
        )
        excess -= number


def _number(db: apsw.Connection, sql: str) -> int:
    row: Any = db.execute(sql).fetchone()
    return int(row[0])
