"""The rows of single copies: found, set, taken out of use."""

from __future__ import annotations

import apsw

from collective.catalog.decisions.copies import may_be_taken_out
from collective.catalog.decisions.standing import unknown_node
from collective.catalog.sqlite.collection.dooming import CORRUPT, doom
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.rows import MISSING, STORED, recheck_uploads
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import CopyState


def take_out(
    tx: Transaction,
    number: int,
    node: NodeId,
    chunk: ChunkId,
    generation: Generation,
    *,
    is_lost: bool,
) -> None:
    """Take one copy out of use, if it counted or was doubted.

    A missing one stays known, and may come back.  A corrupt one is given up: its node deletes it
    once another is confirmed, and may get a new generation at once.
    """
    row = tx.one(
        "SELECT c.chunk, c.state FROM chunks k CROSS JOIN copies c ON c.chunk = k.id"
        " WHERE k.hash = ? AND c.node = ? AND c.generation = ?",
        chunk,
        number,
        generation,
    )
    if row is None or not may_be_taken_out(CopyState(row[1]), is_lost=is_lost):
        return
    if is_lost:
        set_state(tx, row[0], number, MISSING)
    else:
        doom(tx, row[0], number, CORRUPT)
    why = "missing" if is_lost else "corrupt"
    tx.audit_of(f"node {node}", "copy-lost", chunk.hex(), why)


def node_number(db: apsw.Connection, node: NodeId) -> int:
    """Return the row id of a node, or NotFoundError."""
    row = rows.fetch(db, "SELECT id FROM nodes WHERE name = ?", node)
    if row is None:
        raise unknown_node(node)
    return int(row[0])


def set_state(tx: Transaction, chunk: int, node: int, state: int) -> None:
    """Set the state of one copy; uploads that relied on it are checked again if it counts no more."""
    if state != STORED:
        recheck_uploads(tx, node, (chunk,))
    tx.run("UPDATE copies SET state = ? WHERE chunk = ? AND node = ?", state, chunk, node)
