"""What nodes tell of their copies, what was proven of them, and what is known of the copies of one chunk."""

# ruff: noqa: S608 - a statement is put together from constants alone

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw

from collective.catalog.decisions.inventories import Spare
from collective.catalog.interface.values import ChunkPage
from collective.catalog.sqlite.copies import chunk_copies, inventories
from collective.catalog.sqlite.copies.copy_rows import node_number, take_out
from collective.catalog.sqlite.copies.verdicts import note_verdict
from collective.catalog.sqlite.files.reads import stored_copies
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import DOUBTED
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import ChunkCopies, Copy, CopyKey, Judged

STEP_COPIES: Final = 128
"""Copies that one transaction changes."""

_DOUBTED_ON: Final = (
    "SELECT c.chunk FROM nodes n JOIN copies c ON c.node = n.id WHERE n.name = ?"
    f" AND c.state = {DOUBTED} AND c.chunk > ? ORDER BY c.chunk LIMIT ?"
)


class SqliteCopies:
    """Copies of chunks, as nodes tell of them and as they were proven."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def compare_inventory(
        self,
        node: NodeId,
        copies: Sequence[CopyKey],
        *,
        after: bytes,
        last: bool,
        spare: Spare = frozenset(),
    ) -> Sequence[CopyKey]:
        """Compare one page of a node's inventory; return copies that nothing knew of."""
        return await inventories.compare_inventory(
            self._engine, node, copies, after=after, last=last, spare=spare
        )

    async def mark(
        self, node: NodeId, copies: Sequence[tuple[ChunkId, Generation]], *, lost: bool
    ) -> None:
        """Take copies of ``node`` out of use because they are missing (``lost``) or corrupt."""

        def step(tx: Transaction, some: Sequence[tuple[ChunkId, Generation]]) -> Sequence[ChunkId]:
            number = node_number(tx.db, node)
            done = []
            for chunk_id, generation in tx.unspent(some):
                take_out(tx, number, node, chunk_id, generation, is_lost=lost)
                done.append(chunk_id)
            return done

        await self._engine.change_each(copies, step, STEP_COPIES)

    async def stored(self, chunk: ChunkId) -> Sequence[Copy]:
        """Return the stored copies of a chunk."""

        def work(db: apsw.Connection) -> Sequence[Copy]:
            found: Any = db.execute("SELECT id FROM chunks WHERE hash = ?", (chunk,)).fetchall()
            return [copy for (row,) in found for copy in stored_copies(db, row)]

        return await self._engine.read(work)

    async def known(self, chunk: ChunkId) -> Sequence[ChunkCopies]:
        """Return what is known of the copies of ``chunk``, for each stored length that was named."""
        now_ms = self._engine.now_ms()
        return await self._engine.read(lambda db: chunk_copies.known_copies(db, chunk, now_ms))

    async def sample_on(self, node: NodeId, at: float, limit: int) -> Sequence[ChunkCopies]:
        """Return up to ``limit`` chunks with a stored copy on ``node``, from ``at`` (0 to 1) on."""
        now_ms = self._engine.now_ms()
        return await self._engine.read(
            lambda db: chunk_copies.sample_on(db, node, at, limit, now_ms)
        )

    async def doubted_on(self, node: NodeId, after: int, limit: int) -> ChunkPage:
        """Return chunks whose copy on ``node`` is doubted."""
        now_ms = self._engine.now_ms()
        return await self._engine.read(
            lambda db: chunk_copies.search(db, now_ms, _DOUBTED_ON, node, after, limit)
        )

    async def note_verdicts(self, verdicts: Sequence[Judged]) -> Sequence[NodeId]:
        """Write down what challenges and reads proved; return the nodes that are in doubt by it.

        A doubted copy that was proven counts again; one that is missing or corrupt is taken out of
        use; one that its node lied about is doubted, with its node.
        """

        def step(tx: Transaction, some: Sequence[Judged]) -> Sequence[NodeId | None]:
            return [note_verdict(tx, one) for one in tx.unspent(some)]

        liars = await self._engine.change_each(verdicts, step, STEP_COPIES)
        return list(dict.fromkeys(liar for liar in liars if liar is not None))
