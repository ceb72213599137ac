"""Copies as nodes report them: inventories, and copies that turned out corrupt or missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from collective.catalog.model import Copy, CopyKey
from collective.catalog.sqlite.allocation import doom
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.reads import stored_copies
from collective.catalog.sqlite.rows import INTENT, MISSING, STORED
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import NotFoundError
from collective.core.ids import ChunkId, Generation, NodeId


class CopiesPart(Part):
    """The methods of ``Nodes`` about copies."""

    async def compare_inventory(
        self,
        node: NodeId,
        copies: Sequence[CopyKey],
        *,
        after: bytes,
        last: bool,
        spare: frozenset[tuple[ChunkId, Generation]] = frozenset(),
    ) -> Sequence[CopyKey]:
        """Compare one page of a node's inventory; return copies that nothing knows of.

        What the page should hold and does not, or with another length, becomes *missing*, unless it
        is in ``spare``; a missing copy that is there after all counts again.  An intent stays an
        intent: only its upload's receipt makes it a copy.
        """

        def work(tx: Transaction) -> Sequence[CopyKey]:
            number = node_number(tx, node)
            end = None if last or not copies else copies[-1].chunk
            known: dict[bytes, tuple[int, int, int, int]] = {
                row[0]: row[1:]
                for row in tx.all(
                    "SELECT k.hash, k.id, c.generation, c.state, k.stored_length FROM chunks k"
                    " JOIN copies c ON c.chunk = k.id AND c.node = ?"
                    " WHERE k.hash > ? AND (? IS NULL OR k.hash <= ?)",
                    number,
                    after,
                    end,
                    end,
                )
            }
            strangers: list[CopyKey] = []
            for copy in copies:
                found = known.get(copy.chunk)
                if found is None or found[1] != copy.generation:
                    if _doom_stranger(tx, number, copy):
                        strangers.append(copy)
                    continue
                if found[2] != INTENT and copy.stored_length != found[3]:
                    continue  # cut off or grown: as good as missing
                del known[copy.chunk]
                if found[2] == MISSING:
                    _set_state(tx, found[0], number, STORED)
            for chunk_id, (chunk, generation, state, _) in known.items():
                if state == STORED and (chunk_id, generation) not in spare:
                    _set_state(tx, chunk, number, MISSING)
            return strangers

        return await self._engine.change(work)

    async def mark_copies(
        self, node: NodeId, copies: Sequence[tuple[ChunkId, Generation]], *, lost: bool
    ) -> None:
        """Take copies out of use; corrupt ones (not ``lost``) are deleted if another copy exists."""

        def work(tx: Transaction) -> None:
            number = node_number(tx, node)
            for chunk_id, generation in copies:
                row = tx.one(
                    "SELECT k.id, k.stored, c.state FROM chunks k JOIN copies c ON c.chunk = k.id"
                    " WHERE k.hash = ? AND c.node = ? AND c.generation = ?",
                    chunk_id,
                    number,
                    generation,
                )
                if row is None:
                    continue
                if lost or row[1] - (row[2] == STORED) <= 0:
                    _set_state(tx, row[0], number, MISSING)
                else:
                    doom(tx, row[0], number)
                why = "missing" if lost else "corrupt"
                tx.audit_of(f"node {node}", "copy-lost", chunk_id.hex(), why)

        await self._engine.change(work)

    async def copies_of(self, chunk: ChunkId) -> Sequence[Copy]:
        """Return the stored copies of a chunk."""

        def work(db: apsw.Connection) -> Sequence[Copy]:
            found: Any = db.execute("SELECT id FROM chunks WHERE hash = ?", (chunk,)).fetchall()
            return [copy for (row,) in found for copy in stored_copies(db, row)]

        return await self._engine.read(work)


def node_number(tx: Transaction, node: NodeId) -> int:
    """Return the row id of a node, or NotFoundError."""
    number = tx.value("SELECT id FROM nodes WHERE name = ?", node)
    if number is None:
        raise NotFoundError(f"There is no node {node}; run: collective node list")
    return int(number)


def _set_state(tx: Transaction, chunk: int, node: int, state: int) -> None:
    tx.run("UPDATE copies SET state = ? WHERE chunk = ? AND node = ?", state, chunk, node)


def _doom_stranger(tx: Transaction, node: int, copy: CopyKey) -> bool:
    """Note an orphan for deletion; False if its deletion is under way already."""
    tx.run(
        "INSERT OR IGNORE INTO doomed (node, hash, generation, stored_length, since_ms, retry_ms)"
        " VALUES (?,?,?,?,?,0)",
        node,
        copy.chunk,
        copy.generation,
        copy.stored_length,
        tx.now_ms,
    )
    return tx.db.changes() > 0
