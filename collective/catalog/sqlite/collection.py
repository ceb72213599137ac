"""Collection: forgetting what nothing refers to, and handing out the deletes.

What is collected follows from state alone: retired versions that nobody leases lose their extents;
chunks that lost a reference are looked at, and go when no extent, pin, intent or repair needs them.
From then on their copies are *doomed*: unknown to deduplication, reading and repair.
"""

from __future__ import annotations

from collections.abc import Sequence

from collective.catalog.model import CopyKey
from collective.catalog.sqlite.copies import node_number
from collective.catalog.sqlite.dooming import doom, forget_removed, lift_all
from collective.catalog.sqlite.engine import Engine, Part
from collective.catalog.sqlite.policies import lower
from collective.catalog.sqlite.quotas import beyond_quota
from collective.catalog.sqlite.recording import CLEAR_BATCH, clear_ended, clear_extents
from collective.catalog.sqlite.removal import forget_copies
from collective.catalog.sqlite.rows import COLLECTED, RETIRED
from collective.catalog.sqlite.writer import Transaction
from collective.core.ids import ChunkId, Generation, NodeId

VERSIONS_LOOKED_AT = 1000
USES_LOOKED_AT = 2000
"""Uses of chunks that one round looks at to lower how many copies they want; the rest waits."""


class CollectionPart(Part):
    """The methods of ``Nodes`` about collection."""

    async def claim_collection(
        self, limit: int, grace_s: float
    ) -> Sequence[tuple[NodeId, CopyKey]]:
        """Doom what nothing needs; return copies to delete, by node.

        Nothing is doomed or returned while the catalogue is restored and not confirmed.
        """
        engine = self._engine

        def work(tx: Transaction) -> Sequence[tuple[NodeId, CopyKey]]:
            if tx.value("SELECT restored FROM state"):
                return []
            before_ms = tx.now_ms - int(grace_s * 1000)
            clear_ended(tx)
            forget_copies(tx)
            forget_removed(tx, CLEAR_BATCH)
            _forget_versions(tx, engine, before_ms)
            _doom_chunks(tx, before_ms, limit, engine.settings.copies)
            return _hand_out(tx, engine, before_ms, limit)

        return await engine.change(work)

    async def finish_collection(self, node: NodeId, copies: Sequence[CopyKey]) -> None:
        """Forget copies whose node has deleted them."""

        def work(tx: Transaction) -> None:
            number = node_number(tx, node)
            for copy in copies:
                tx.run(
                    "DELETE FROM doomed WHERE node = ? AND hash = ? AND generation = ?",
                    number,
                    copy.chunk,
                    copy.generation,
                )

        await self._engine.change(work)


def _forget_versions(tx: Transaction, engine: Engine, before_ms: int) -> None:
    beyond = beyond_quota(tx)
    found = _collectable(tx, engine, before_ms, beyond)
    if not found:
        return
    tx.at_end(lambda _: engine.leases.release())
    retired = [version for version, state in found if state == RETIRED]
    free = list(engine.leases.condemn(retired, whatever=beyond))
    for version in free:
        tx.run("UPDATE versions SET state = ? WHERE id = ?", COLLECTED, version)
    left = CLEAR_BATCH
    for version in [version for version, state in found if state == COLLECTED] + free:
        before = tx.db.total_changes()
        if left <= 0 or not clear_extents(tx, version, left):
            return
        tx.run("DELETE FROM versions WHERE id = ?", version)
        left -= (tx.db.total_changes() - before) // 2


def _collectable(
    tx: Transaction, engine: Engine, before_ms: int, beyond: frozenset[int]
) -> list[tuple[int, int]]:
    """Return id and state of a bounded number of versions that may go, the longest retired first.

    Leased ones are passed over here: the oldest, held for ever, would else hide all others.
    """
    engine.leases.expire()
    found: list[tuple[int, int]] = []
    cursor = tx.run(
        "SELECT id, state FROM versions WHERE state >= 2 AND retired_ms <= ? ORDER BY retired_ms",
        before_ms,
    )
    for version, state in cursor:
        if state == RETIRED and version not in beyond and engine.leases.is_held(version):
            continue
        found.append((version, state))
        if len(found) >= VERSIONS_LOOKED_AT:
            break
    cursor.close()
    return found


def _doom_chunks(tx: Transaction, before_ms: int, limit: int, copies: int) -> None:
    found = tx.all(
        "SELECT c.chunk, EXISTS (SELECT 1 FROM extents x WHERE x.chunk = c.chunk)"
        " OR EXISTS (SELECT 1 FROM pins p WHERE p.chunk = c.chunk)"
        " OR EXISTS (SELECT 1 FROM sent s WHERE s.chunk = c.chunk)"
        " OR EXISTS (SELECT 1 FROM repairs r WHERE r.chunk = c.chunk)"
        " FROM candidates c WHERE c.since_ms <= ? ORDER BY c.since_ms LIMIT ?",
        before_ms,
        limit,
    )
    left = USES_LOOKED_AT
    for chunk, needed in found:
        if left <= 0:
            return
        tx.run("DELETE FROM candidates WHERE chunk = ?", chunk)
        if needed:
            left -= lower(tx, chunk, copies)
            continue
        lift_all(tx, chunk)
        for (node,) in tx.all("SELECT node FROM copies WHERE chunk = ?", chunk):
            doom(tx, chunk, node)
        tx.run("DELETE FROM chunks WHERE id = ?", chunk)
        tx.deltas.chunks -= 1


def _hand_out(
    tx: Transaction, engine: Engine, before_ms: int, limit: int
) -> list[tuple[NodeId, CopyKey]]:
    found = tx.all(
        "SELECT n.name, d.hash, d.generation, d.stored_length, d.node FROM doomed d"
        " JOIN nodes n ON n.id = d.node WHERE d.guard = 0 AND d.retry_ms <= ? AND d.since_ms <= ?"
        " AND n.removed = 0 ORDER BY d.retry_ms LIMIT ?",
        tx.now_ms,
        before_ms,
        limit,
    )
    retry_ms = tx.now_ms + int(engine.settings.delete_retry_s * 1000)
    for _, chunk_id, generation, _, node in found:
        tx.run(
            "UPDATE doomed SET retry_ms = ? WHERE node = ? AND hash = ? AND generation = ?",
            retry_ms,
            node,
            chunk_id,
            generation,
        )
    return [
        (NodeId(name), CopyKey(ChunkId(chunk_id), Generation(generation), length))
        for name, chunk_id, generation, length, _ in found
    ]
