"""The rows of the audit as they are written: all of them by these, inside the transaction of what they tell of.

They take a connection, so that a start uses them that has no writer yet.  What is dropped again stands in
``retention.py`` and ``trimming.py``.
"""

from __future__ import annotations

import apsw

from collective.catalog.decisions.refusals import Counted


def write_row(
    db: apsw.Connection,
    at_ms: int,
    actor: str,
    action: str,
    target: str,
    detail: str,
    request_id: str = "",
    *,
    row: int | None = None,
) -> int:
    """Write the row of what ``actor`` did at ``at_ms``, in Unix time; return its id.

    ``row``: the one that an earlier step of the same work wrote; it gets the new detail, if it is
    there still.
    """
    if row is not None:
        db.execute("UPDATE audit SET detail = ? WHERE id = ?", (detail, row))
        if db.changes():
            return row
    db.execute(
        "INSERT INTO audit (at_ms, actor, action, target, detail, request_id) VALUES (?,?,?,?,?,?)",
        (at_ms, actor, action, target, detail, request_id),
    )
    return db.last_insert_rowid()


def write_refusal(db: apsw.Connection, counted: Counted, count: int, detail: str) -> int:
    """Write the row of a refusal, or bring it up to date; return its id."""
    refusal = counted.refusal
    if counted.row is not None:
        db.execute(
            "UPDATE audit SET refusals = ?, detail = ? WHERE id = ?", (count, detail, counted.row)
        )
        if db.changes():
            return counted.row
    db.execute(
        "INSERT INTO audit (at_ms, actor, action, target, detail, request_id, refusals)"
        " VALUES (?,?,?,?,?,?,?)",
        (
            counted.first_ms,
            refusal.actor,
            refusal.action,
            refusal.target,
            detail,
            refusal.request_id,
            count,
        ),
    )
    return db.last_insert_rowid()
