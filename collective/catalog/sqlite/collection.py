"""Collection: forgetting what nothing refers to, and handing out the deletes.

What is collected follows from state alone: retired versions that nobody leases lose their extents;
chunks that lost a reference are looked at, and go when no extent, pin, intent or repair needs them.
From then on their copies are *doomed*: unknown to deduplication, reading and repair.

Each step is bounded, and nothing waits for what is huge, held or away: versions and ended uploads are
cleared in turns, leased versions are passed over, and deletes are handed out node by node.  A step
looks at more chunks than it adds to those that wait to be looked at, so that these do not pile up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from collective.catalog.decisions.turns import even, slices
from collective.catalog.model import Claimed, CopyKey
from collective.catalog.sqlite.copies import node_number
from collective.catalog.sqlite.dooming import doom_chunk, forget_removed
from collective.catalog.sqlite.engine import Engine, Part
from collective.catalog.sqlite.policies import lower
from collective.catalog.sqlite.quotas import beyond_quota
from collective.catalog.sqlite.recording import (
    COMMITTED,
    COMMITTED_UNCLEARED,
    clear_extents,
    clear_upload,
)
from collective.catalog.sqlite.removal import forget_copies
from collective.catalog.sqlite.rows import COLLECTED
from collective.catalog.sqlite.writer import Transaction
from collective.core.ids import ChunkId, Generation, NodeId

CLEARED_ROWS: Final = 200
"""Extents that one step clears, and as many pins and intents of ended uploads."""
CHUNKS_LOOKED_AT: Final = 2 * CLEARED_ROWS + 50
"""Chunks that lost a reference that one step looks at."""
VERSIONS_LOOKED_AT = 1000
"""Retired versions that one step looks at to find those which nobody leases."""
IN_TURN: Final = 64
"""Ended uploads, and versions of each sort, that share one step."""
USES_LOOKED_AT = 2000
"""Uses of chunks that one step looks at to lower how many copies they want; the rest waits."""


class CollectionPart(Part):
    """The methods of ``Nodes`` about collection."""

    def __init__(self, engine: Engine) -> None:
        """Begin each round at its head."""
        super().__init__(engine)
        self._version_after = (-1, 0)
        """When the last version that was looked at was retired, and its id."""
        self._upload_after = ""
        self._beyond: frozenset[int] = frozenset()

    async def claim_collection(
        self, limit: int, grace_s: float, nodes: frozenset[NodeId] | None = None
    ) -> Claimed:
        """Go one bounded step on with what nothing needs; return copies to delete, by node.

        Nothing is doomed or returned while the catalogue is restored and not confirmed.
        """
        engine = self._engine
        if self._version_after[0] < 0:
            self._beyond = await engine.read(beyond_quota)

        def step(tx: Transaction) -> bool:
            before_ms = tx.now_ms - int(grace_s * 1000)
            is_more = self._clear_ended(tx)
            is_more |= _forget_answers(tx)
            is_more |= forget_copies(tx)
            is_more |= forget_removed(tx, CLEARED_ROWS) >= CLEARED_ROWS
            if tx.value("SELECT restored FROM state"):
                return is_more
            is_more |= self._condemn(tx, before_ms)
            is_more |= _clear_versions(tx)
            return _look_at_chunks(tx, before_ms, engine.settings.copies) or is_more

        def hand_out(tx: Transaction) -> list[tuple[NodeId, CopyKey]]:
            if tx.value("SELECT restored FROM state"):
                return []
            before_ms = tx.now_ms - int(grace_s * 1000)
            retry_ms = tx.now_ms + int(engine.settings.delete_retry_s * 1000)
            return _hand_out(tx, nodes, before_ms, retry_ms, limit)

        is_more = await engine.change(step)
        claimed = Claimed(await engine.change(hand_out))
        claimed.is_more = is_more
        return claimed

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

    def _condemn(self, tx: Transaction, before_ms: int) -> bool:
        """Look at the next retired versions, and give up those which nobody leases; True if more."""
        leases = self._engine.leases
        leases.expire()
        found = tx.all(
            "SELECT id, retired_ms FROM versions WHERE state = 2 AND retired_ms <= ?"
            " AND (retired_ms, id) > (?, ?) ORDER BY retired_ms, id LIMIT ?",
            before_ms,
            *self._version_after,
            VERSIONS_LOOKED_AT,
        )
        is_more = len(found) >= VERSIONS_LOOKED_AT
        self._version_after = (found[-1][1], found[-1][0]) if is_more else (-1, 0)
        beyond = self._beyond
        free = [row[0] for row in found if row[0] in beyond or not leases.is_held(row[0])]
        if free:  # else readers need not begin again
            tx.at_end(lambda _: leases.release())
            for version in leases.condemn(free, whatever=beyond):
                tx.run("UPDATE versions SET state = ? WHERE id = ?", COLLECTED, version)
        return is_more

    def _clear_ended(self, tx: Transaction) -> bool:
        """Clear a share of what each of the next ended uploads left; True if more is there."""
        ended = tx.all(
            "SELECT id, state FROM uploads WHERE state >= 2 AND id > ? ORDER BY id LIMIT ?",
            self._upload_after,
            IN_TURN,
        )
        is_round_over = len(ended) < IN_TURN
        is_more = not is_round_over or bool(self._upload_after)
        self._upload_after = "" if is_round_over else ended[-1][0]
        share = even(len(ended), CLEARED_ROWS)
        for upload, state in ended:
            if not clear_upload(tx, upload, share):
                is_more = True
            elif state == COMMITTED_UNCLEARED:  # kept for a repeated commit until it expires
                tx.run("UPDATE uploads SET state = ? WHERE id = ?", COMMITTED, upload)
            else:
                tx.run("DELETE FROM uploads WHERE id = ?", upload)
        return is_more


def _forget_answers(tx: Transaction) -> bool:
    """Forget what commits answered long enough ago; True if more are there."""
    tx.run(
        "DELETE FROM uploads WHERE id IN"
        " (SELECT id FROM uploads WHERE expires_ms <= ? AND state = ? LIMIT ?)",
        tx.now_ms,
        COMMITTED,
        CLEARED_ROWS,
    )
    return tx.db.changes() >= CLEARED_ROWS


def _clear_versions(tx: Transaction) -> bool:
    """Clear extents of versions that nobody needs, in turns; True if more are there."""
    oldest = tx.all(
        "SELECT id, chunk_count FROM versions WHERE state = 3 ORDER BY id LIMIT ?", IN_TURN
    )
    smallest = tx.all(
        "SELECT id, chunk_count FROM versions WHERE state = 3 ORDER BY chunk_count LIMIT ?", IN_TURN
    )
    waiting = dict(oldest) | dict(smallest)
    # Each takes one row for itself besides those of its extents.
    shares = slices([(version, count + 1) for version, count in waiting.items()], CLEARED_ROWS)
    left = len(waiting)
    for version, share in shares.items():
        left -= clear_extents(tx, version, share)
    return left > 0 or len(oldest) >= IN_TURN


def _look_at_chunks(tx: Transaction, before_ms: int, copies: int) -> bool:
    """Doom chunks that nothing needs, of those which lost a reference; True if more are there."""
    found = tx.all(
        "SELECT c.chunk, EXISTS (SELECT 1 FROM extents x WHERE x.chunk = c.chunk)"
        " OR EXISTS (SELECT 1 FROM pins p WHERE p.chunk = c.chunk)"
        " OR EXISTS (SELECT 1 FROM sent s WHERE s.chunk = c.chunk)"
        " OR EXISTS (SELECT 1 FROM repairs r WHERE r.chunk = c.chunk)"
        " FROM candidates c WHERE c.since_ms <= ? ORDER BY c.since_ms LIMIT ?",
        before_ms,
        CHUNKS_LOOKED_AT,
    )
    left = USES_LOOKED_AT
    for chunk, needed in found:
        if left <= 0:
            return True
        tx.run("DELETE FROM candidates WHERE chunk = ?", chunk)
        if needed:
            left -= lower(tx, chunk, copies)
            continue
        doom_chunk(tx, chunk)
    return len(found) >= CHUNKS_LOOKED_AT


def _hand_out(
    tx: Transaction,
    nodes: Iterable[NodeId] | None,
    before_ms: int,
    retry_ms: int,
    limit: int,
) -> list[tuple[NodeId, CopyKey]]:
    """Return copies to delete, as many for each of ``nodes`` (None: all); they wait for an answer."""
    wanted = None if nodes is None else frozenset(nodes)
    present = [
        (number, NodeId(name))
        for number, name in tx.all("SELECT id, name FROM nodes WHERE removed = 0 ORDER BY id")
        if wanted is None or name in wanted
    ]
    columns = "SELECT hash, generation, stored_length FROM doomed WHERE guard = 0 AND node = ?"
    claimed: list[tuple[NodeId, CopyKey]] = []
    for place, (number, name) in enumerate(present):
        share = even(len(present) - place, limit - len(claimed))
        found = tx.all(
            f"{columns} AND retry_ms = 0 AND since_ms <= ? ORDER BY since_ms LIMIT ?",
            number,
            before_ms,
            share,
        )
        found += tx.all(
            f"{columns} AND retry_ms > 0 AND retry_ms <= ? AND since_ms <= ? ORDER BY retry_ms"
            " LIMIT ?",
            number,
            tx.now_ms,
            before_ms,
            share - len(found),
        )
        tx.db.executemany(
            "UPDATE doomed SET retry_ms = ? WHERE node = ? AND hash = ? AND generation = ?",
            [(retry_ms, number, hash_, generation) for hash_, generation, _ in found],
        )
        claimed += [
            (name, CopyKey(ChunkId(hash_), Generation(generation), length))
            for hash_, generation, length in found
        ]
    return claimed
