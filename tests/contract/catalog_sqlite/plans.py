"""How statements find their rows: their plans, and the steps that SQLite takes for them.

Steps are those of SQLite's machine.  They depend on rows and plans alone, on no clock, so two sizes of
one catalogue can be compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import apsw

from collective.catalog.sqlite import SqliteCatalog


def plan(db: apsw.Connection, sql: str, params: Any = ()) -> list[str]:
    """Return the lines of the plan of a statement."""
    found: Any = db.execute(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()
    return [row[3] for row in found]


@dataclass(slots=True)
class Steps:
    """What statements took since the watch began."""

    total: int = 0
    costliest: int = 0
    """Of one statement."""
    statements: list[tuple[int, str]] = field(default_factory=list)

    def note(self, event: dict[str, Any]) -> None:
        steps: int = event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]
        self.total += steps
        self.costliest = max(self.costliest, steps)
        self.statements.append((steps, event["sql"]))


@contextmanager
def watching(catalog: SqliteCatalog) -> Iterator[Steps]:
    """Count the steps of every statement of ``catalog``, reading and writing."""
    steps = Steps()
    connections = [catalog._engine._db, *catalog._engine._all_readers]
    for db in connections:
        db.trace_v2(apsw.SQLITE_TRACE_PROFILE, steps.note, id=steps)
    try:
        yield steps
    finally:
        for db in connections:
            db.trace_v2(0, None, id=steps)
