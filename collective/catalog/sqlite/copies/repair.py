"""Chunks that want other copies than they have, and the claims of those who make new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.catalog.decisions.copies import Repaired, after_repair, may_repair
from collective.catalog.decisions.receipts import require_of_repair
from collective.catalog.interface.values import ChunkPage, RepairTask
from collective.catalog.sqlite.collection.dooming import doom_intent
from collective.catalog.sqlite.copies import chunk_copies, chunk_health
from collective.catalog.sqlite.copies.chunk_copies import load_chunk
from collective.catalog.sqlite.files.allocation import add_candidate, new_copy
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import STORED
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import NodeId
from collective.core.randomness import hex_id
from collective.model.copies import Copy, CopyState, VerifiedReceipt
from collective.placement.healing import MakeCopy

_SHORT: Final = (
    "SELECT id FROM chunks WHERE stored < wanted AND stored = ? AND id > ? ORDER BY id LIMIT ?"
)
_SURPLUS: Final = "SELECT id FROM chunks WHERE stored > wanted AND id > ? ORDER BY id LIMIT ?"


class SqliteRepair:
    """Chunks that want other copies than they have, and the claims of who makes them."""

    def __init__(self, engine: Engine) -> None:
        """Begin with the claims of an earlier process."""
        self._engine = engine
        self._claims_are_own = False
        """Whether the claims of repairs that an earlier process left were given up."""

    async def short_counts(self) -> frozenset[int]:
        """Return the numbers of stored copies that some chunk has, and wants more."""
        return await self._engine.read(chunk_copies.short_counts)

    async def short_by_standing(self) -> frozenset[NodeId]:
        """Return nodes on probation with chunks that have enough copies, too few of which count."""
        return await self._engine.read(chunk_health.short_by_standing)

    async def short_chunks(self, stored: int, after: int, limit: int) -> ChunkPage:
        """Return chunks that want more than the ``stored`` copies they have."""
        now_ms = self._engine.now_ms()
        return await self._engine.read(
            lambda db: chunk_copies.search(db, now_ms, _SHORT, stored, after, limit)
        )

    async def surplus_chunks(self, after: int, limit: int) -> ChunkPage:
        """Return chunks that have more copies than they want."""
        now_ms = self._engine.now_ms()
        return await self._engine.read(
            lambda db: chunk_copies.search(db, now_ms, _SURPLUS, after, limit)
        )

    async def chunks_on(self, node: NodeId, after: int, limit: int) -> ChunkPage:
        """Return chunks with a stored copy on ``node``."""
        now_ms = self._engine.now_ms()
        return await self._engine.read(
            lambda db: chunk_copies.chunks_on(db, node, after, limit, now_ms)
        )

    async def claim(self, acts: Sequence[MakeCopy]) -> Sequence[RepairTask]:
        """Claim chunks to be copied, and write the intents of the new copies.

        What changed since it was decided is left out.  The first call gives up what an earlier
        process claimed: nobody would finish it.
        """
        engine = self._engine

        def work(tx: Transaction) -> Sequence[RepairTask]:
            if not self._claims_are_own:
                for (repair,) in tx.all("SELECT id FROM repairs"):
                    end_repair(tx, repair, stored=False)
                tx.at_end(_own_claims)
            expires_ms = tx.now_ms + int(engine.settings.repair_claim_s * 1000)
            claimed = (_claim(tx, act, hex_id(engine.randomness), expires_ms) for act in acts)
            return [task for task in claimed if task is not None]

        def _own_claims(durable: bool) -> None:  # noqa: FBT001 - as the writer calls it
            self._claims_are_own = self._claims_are_own or durable

        return await engine.change(work)

    async def finish(self, task: RepairTask, receipt: VerifiedReceipt | None) -> None:
        """Record the new copy, or (None) give the claim up.  No other copy goes by that."""
        if receipt is not None:
            require_of_repair(receipt, task)
        await self._engine.change(
            lambda tx: end_repair(tx, task.repair_id, stored=receipt is not None)
        )


def end_repair(tx: Transaction, repair_id: str, *, stored: bool) -> None:
    """End a claim; unknown ones (expired, or ended before) are ignored."""
    row = tx.one("SELECT chunk, node, generation FROM repairs WHERE id = ?", repair_id)
    if row is None:
        return
    chunk, node, generation = row
    tx.run("DELETE FROM repairs WHERE id = ?", repair_id)
    state = tx.value(
        "SELECT state FROM copies WHERE chunk = ? AND node = ? AND generation = ?",
        chunk,
        node,
        generation,
    )
    known = None if state is None else CopyState(state)
    sent = "SELECT 1 FROM sent WHERE chunk = ? AND node = ? AND generation = ? LIMIT 1"
    done = after_repair(
        known, is_made=stored, is_sent=lambda: bool(tx.value(sent, chunk, node, generation))
    )
    if done is Repaired.STORED:
        tx.run("UPDATE copies SET state = ? WHERE chunk = ? AND node = ?", STORED, chunk, node)
    elif done is Repaired.GIVEN_UP:
        doom_intent(tx, chunk, node)
    add_candidate(tx, chunk)


def _claim(tx: Transaction, act: MakeCopy, repair_id: str, expires_ms: int) -> RepairTask | None:
    found = load_chunk(tx.db, act.chunk, tx.now_ms)
    if found is None or not may_repair(act.chunk, found[1]):
        return None
    chunk, present = found
    if act.generation is None:
        target = new_copy(tx, chunk, act.target)
    else:
        target = Copy(act.target, act.generation)
    tx.run(
        "INSERT INTO repairs (id, chunk, node, generation, replaces, expires_ms)"
        " SELECT ?, ?, id, ?, NULL, ? FROM nodes WHERE name = ?",
        repair_id,
        chunk,
        target.generation,
        expires_ms,
        target.node,
    )
    sources = [Copy(source.node, source.generation) for source in act.sources]
    return RepairTask(present.chunk, present.stored_length, sources, target, repair_id)
