"""Copies that are to go: noted here, deleted by collection, or kept while a guard is on them.

A copy that nothing refers to goes by itself.  One of a chunk that is in use gets a *guard*: it is
counted no more, but its node keeps it until enough others were confirmed by a fresh challenge, or it is
taken back (``guarded``).  Invariant: while a chunk has a row, none of its guarded copies is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import apsw

from collective.catalog.decisions.quarantine import OF_ONE_CHUNK_MAX
from collective.catalog.sqlite.store.rows import fetch, recheck_uploads
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import ChunkId, Generation
from collective.model.copies import CopyKey

FREE: Final = 0
GUARDED: Final = 1
CORRUPT: Final = 2
"""Guarded, and its bytes are not those of the chunk."""
GUARDED_AT_ONCE: Final = 1000
"""Rows that one step of :func:`guard_again` looks at."""
STRANGERS_MAX: Final = 200_000
"""Rows of one node; what it holds beyond is found again by its next inventory."""
LATE_MS: Final = 15 * 60 * 1000
"""What was sent may come for so long after the copy was given up: tickets live for a minute, and a node takes ten to
list what it has at the most."""
GUARDS_LIFTED: Final = 64
"""Guards of one chunk that go with it at once; the others are lifted when their turn comes."""


def doom(tx: Transaction, chunk: int, node: int, guard: int) -> None:
    """Take a copy of a chunk that is in use out of it: it is deleted when its guard is lifted.

    Args:
        tx: the transaction.
        chunk: the chunk's row.
        node: the node's.
        guard: GUARDED or CORRUPT.
    """
    recheck_uploads(tx, node, (chunk,))
    tx.run(
        "INSERT OR IGNORE INTO doomed (node, hash, generation, stored_length, since_ms, retry_ms,"
        " guard) SELECT c.node, k.hash, c.generation, k.stored_length, ?, 0, ? FROM copies c"
        " JOIN chunks k ON k.id = c.chunk WHERE c.chunk = ? AND c.node = ?",
        tx.now_ms,
        guard,
        chunk,
        node,
    )
    tx.run("DELETE FROM copies WHERE chunk = ? AND node = ?", chunk, node)


def doom_intent(tx: Transaction, chunk: int, node: int) -> None:
    """Take a copy out of use that was to be made, and of which nobody heard that it was.

    It may be there all the same, and the last good one by the time that matters: it is what an orphan is.
    """
    recheck_uploads(tx, node, (chunk,))
    gone = tx.all(
        "DELETE FROM copies WHERE chunk = ?1 AND node = ?2 RETURNING generation,"
        " (SELECT hash FROM chunks WHERE id = ?1), (SELECT stored_length FROM chunks WHERE id = ?1)",
        chunk,
        node,
    )
    for generation, content, length in gone:
        note_stranger(tx, node, CopyKey(ChunkId(content), Generation(generation), length))


def doom_chunk(tx: Transaction, chunk: int) -> None:
    """Forget a chunk that nothing refers to, and let every copy of it go, guarded ones too.

    A guard that is not lifted here is by ``guarded``, which finds that the chunk is no more.
    """
    tx.run(
        "UPDATE doomed SET guard = 0, retry_ms = 0 WHERE (node, hash, generation) IN"
        " (SELECT d.node, d.hash, d.generation FROM chunks k JOIN doomed d ON d.hash = k.hash"
        " AND d.stored_length = k.stored_length AND d.guard > 0 WHERE k.id = ? LIMIT ?)",
        chunk,
        GUARDS_LIFTED,
    )
    tx.run(
        "INSERT OR IGNORE INTO doomed (node, hash, generation, stored_length, since_ms, retry_ms,"
        " guard) SELECT c.node, k.hash, c.generation, k.stored_length, ?, 0, ? FROM copies c"
        " JOIN chunks k ON k.id = c.chunk WHERE c.chunk = ?",
        tx.now_ms,
        FREE,
        chunk,
    )
    tx.run("DELETE FROM copies WHERE chunk = ?", chunk)
    tx.run("DELETE FROM chunks WHERE id = ?", chunk)
    tx.deltas.chunks -= 1


def note_stranger(tx: Transaction, node: int, copy: CopyKey, *, is_discarded: bool = False) -> bool:
    """Note a copy that nothing knows of; False if it is noted already, known by now, or one too many.

    Where the chunk has a row, it is guarded: it may be as good as those that are known.  None is one too
    many that the operator discards, of which ``quarantine`` keeps no more.
    """
    if not is_discarded and _has_enough(tx, node, copy):
        return False
    tx.run(
        "INSERT OR IGNORE INTO doomed (node, hash, generation, stored_length, since_ms, retry_ms,"
        " guard) SELECT ?1, ?2, ?3, ?4, ?5, 0, is_used FROM"
        " (SELECT EXISTS (SELECT 1 FROM chunks WHERE hash = ?2 AND stored_length = ?4) AS is_used)"
        " WHERE NOT EXISTS (SELECT 1 FROM chunks k JOIN copies c ON c.chunk = k.id"
        " WHERE k.hash = ?2 AND c.node = ?1 AND c.generation = ?3)",
        node,
        copy.chunk,
        copy.generation,
        copy.stored_length,
        tx.now_ms,
    )
    return tx.db.changes() > 0


def _has_enough(tx: Transaction, node: int, copy: CopyKey) -> bool:
    """Tell whether as many guarded copies of a chunk are noted on a node as may be: all are loaded with it."""
    return bool(
        tx.value(
            "SELECT EXISTS (SELECT 1 FROM doomed WHERE node = ? AND hash = ? AND guard > 0 LIMIT 1 OFFSET ?)"
            " AND EXISTS (SELECT 1 FROM chunks WHERE hash = ? AND stored_length = ?)",
            node,
            copy.chunk,
            OF_ONE_CHUNK_MAX - 1,
            copy.chunk,
            copy.stored_length,
        )
    )


Place = tuple[int, bytes, int]
"""A row of what is to go: node, hash, generation."""
FIRST: Final[Place] = (-1, b"", 0)
"""Before all rows."""


def guard_again(db: apsw.Connection, after: Place, limit: int) -> Place | None:
    """Guard what is to be deleted of chunks that have a row: the catalogue became *restored*.

    What confirmed the others may have been lost since.  Nothing is deleted by a catalogue that is
    restored, so it has time until the operator adopts the nodes.

    Args:
        db: in a transaction.
        after: look at the rows after this one.
        limit: rows to look at.

    Returns:
        The last row looked at; None when there are no more.
    """
    rows: Any = db.execute(
        f"SELECT d.node, d.hash, d.generation, d.guard = {FREE} AND EXISTS"  # noqa: S608
        " (SELECT 1 FROM chunks k WHERE k.hash = d.hash AND k.stored_length = d.stored_length)"
        " FROM doomed d WHERE (d.node, d.hash, d.generation) > (?, ?, ?)"
        " ORDER BY d.node, d.hash, d.generation LIMIT ?",
        (*after, limit),
    ).fetchall()
    db.executemany(
        f"UPDATE doomed SET guard = {GUARDED}, retry_ms = 0"  # noqa: S608
        " WHERE node = ? AND hash = ? AND generation = ?",
        [row[:3] for row in rows if row[3]],
    )
    return rows[-1][:3] if len(rows) == limit else None


def guarded_on(db: apsw.Connection, node: int) -> int:
    """Count the copies on a node that are given up, may be good, and must not be lost yet."""
    return int(
        fetch(
            db,
            "SELECT count(*) FROM doomed d WHERE d.node = ? AND d.guard = ? AND EXISTS"
            " (SELECT 1 FROM chunks k WHERE k.hash = d.hash AND k.stored_length = d.stored_length)",
            node,
            GUARDED,
        )[0]
    )


def may_come_late(since_ms: int, now_ms: int) -> bool:
    """Tell whether a copy that was given up then, and that its node does not have, may be on its way to it.

    What was noted ahead of the clock was noted before that was put back.
    """
    return abs(now_ms - since_ms) < LATE_MS


def forget_missing(tx: Transaction, node: int, chunk: ChunkId, generation: Generation) -> None:
    """Forget a guarded copy of which its node says that it has none, unless it may be on its way there."""
    since_ms = tx.value(
        "SELECT since_ms FROM doomed WHERE node = ? AND hash = ? AND generation = ? AND guard > 0",
        node,
        chunk,
        generation,
    )
    if since_ms is not None and not may_come_late(since_ms, tx.now_ms):
        forget(tx, node, [(chunk, generation)])


def forget(tx: Transaction, node: int, copies: Iterable[tuple[bytes, int]]) -> None:
    """Forget copies (chunk id, generation) that were to go: their node has them no more, or keeps them."""
    tx.db.executemany(
        "DELETE FROM doomed WHERE node = ? AND hash = ? AND generation = ?",
        [(node, *copy) for copy in copies],
    )


def forget_removed(tx: Transaction, limit: int) -> int:
    """Forget what was to go on nodes that are removed; return how many rows were dropped.

    It begins with the nodes (a cross join keeps its order): the others may have many such copies.
    """
    tx.run(
        "DELETE FROM doomed WHERE (node, hash, generation) IN (SELECT d.node, d.hash, d.generation"
        " FROM nodes n CROSS JOIN doomed d ON d.node = n.id WHERE n.removed = 1 LIMIT ?)",
        limit,
    )
    return tx.db.changes()
