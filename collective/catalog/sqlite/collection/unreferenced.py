"""Collection: forgetting what nothing refers to, and handing out the deletes.

What is collected follows from state alone: retired versions that nobody leases lose their extents;
chunks that lost a reference are looked at, and go when no extent, pin, intent or repair needs them.
From then on their copies are *doomed*: unknown to deduplication, reading and repair.

Each round is bounded, and nothing waits for what is huge, held or away: versions and ended uploads are
cleared in turns, leased versions are passed over, and deletes are handed out node by node.  A round
looks at more chunks than it adds to those that wait to be looked at, so that these do not pile up.

What a round is to do is found on a reading connection, kind by kind, and done in as many transactions as
that takes, so that it holds the writer for milliseconds at a time.  Each of these finds out for itself
whether what it takes away may go: nothing does while the catalogue is restored and not confirmed.
"""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import apsw

from collective.catalog.decisions.fair_shares import even, slices
from collective.catalog.decisions.leases import given_up
from collective.catalog.interface.values import Claimed
from collective.catalog.sqlite.collection.dooming import doom_chunk, forget_removed
from collective.catalog.sqlite.collection.due_deletes import forget_deleted, hand_out
from collective.catalog.sqlite.copies.quarantine import forget_on_removed
from collective.catalog.sqlite.files.recording import clear_extents, clear_upload
from collective.catalog.sqlite.files.upload_rows import COMMITTED, COMMITTED_UNCLEARED
from collective.catalog.sqlite.names.policies import lower
from collective.catalog.sqlite.names.quota_rows import beyond_quota
from collective.catalog.sqlite.nodes.removal import forget_copies
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import COLLECTED, RETIRED, is_restored
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import NodeId
from collective.model.copies import CopyKey

CLEARED_ROWS: Final = 200
"""Extents that one round clears, and as many pins and intents of ended uploads."""
CHUNKS_LOOKED_AT: Final = 2 * CLEARED_ROWS + 50
"""Chunks that lost a reference that one round looks at."""
VERSIONS_LOOKED_AT = 1000
"""Retired versions that one round looks at to find those which nobody leases,"""
VERSIONS_CONDEMNED: Final = CLEARED_ROWS
"""and those that it gives up: readers that open files meanwhile begin again, so it does that once."""
IN_TURN: Final = 64
"""Ended uploads, and versions of each sort, that share one round."""
USES_LOOKED_AT = 2000
"""Uses of chunks that one round looks at to lower how many copies they want; the rest waits."""
STEP_CHUNKS: Final = 100
"""Chunks that one transaction looks at."""

_NEEDED: Final = (
    "SELECT c.chunk FROM candidates c WHERE c.chunk IN (SELECT value FROM json_each(?)) AND ("
    "EXISTS (SELECT 1 FROM extents x WHERE x.chunk = c.chunk)"
    " OR EXISTS (SELECT 1 FROM pins p WHERE p.chunk = c.chunk)"
    " OR EXISTS (SELECT 1 FROM sent s WHERE s.chunk = c.chunk)"
    " OR EXISTS (SELECT 1 FROM repairs r WHERE r.chunk = c.chunk))"
)
_FIRST = (-1, 0)


class SqliteCollection:
    """Chunks and copies that nothing needs, handed out to be deleted."""

    def __init__(self, engine: Engine) -> None:
        """Begin each turn at its head."""
        self._engine = engine
        self._version_after = _FIRST
        """When the last version that was looked at was retired, and its id."""
        self._upload_after = ""
        self._beyond: frozenset[int] = frozenset()

    async def claim(
        self, limit: int, grace_s: float, nodes: frozenset[NodeId] | None = None
    ) -> Claimed:
        """Go one bounded round on with what nothing needs; return copies to delete, by node.

        Nothing is doomed or returned while the catalogue is restored and not confirmed.
        """
        engine = self._engine
        before_ms = engine.now_ms() - int(grace_s * 1000)
        is_more = await self._clear_ended()
        for forget in (_forget_answers, forget_copies, _forget_removed, _forget_quarantined):
            is_more |= await engine.change(forget)
        claimed = Claimed()
        if not await engine.read(is_restored):
            is_more |= await self._condemn(before_ms)
            is_more |= await self._clear_versions()
            is_more |= await self._look_at_chunks(before_ms)
            claimed.extend(await hand_out(engine, nodes, before_ms, limit))
        claimed.is_more = is_more
        return claimed

    async def finish(self, node: NodeId, copies: Sequence[CopyKey]) -> None:
        """Forget copies whose node has deleted them."""
        await forget_deleted(self._engine, node, copies)

    async def _clear_ended(self) -> bool:
        """Clear a share of what each of the next ended uploads left; True if more is there."""
        ended: Sequence[tuple[str, int]] = await self._engine.read(
            lambda db: _all(
                db,
                "SELECT id, state FROM uploads WHERE state >= 2 AND id > ? ORDER BY id LIMIT ?",
                self._upload_after,
                IN_TURN,
            )
        )
        share = even(len(ended), CLEARED_ROWS)
        cleared = await self._engine.change_each(
            ended, partial(_clear_uploads, share=share), IN_TURN
        )
        is_round_over = len(ended) < IN_TURN
        is_more = not is_round_over or bool(self._upload_after) or not all(cleared)
        self._upload_after = "" if is_round_over else ended[-1][0]
        return is_more

    async def _condemn(self, before_ms: int) -> bool:
        """Look at the next retired versions, and give up those which nobody leases; True if more."""
        engine, leases = self._engine, self._engine.leases
        if self._version_after == _FIRST:
            self._beyond = await engine.read(beyond_quota)
        leases.expire()
        found: Sequence[tuple[int, int]] = await engine.read(
            lambda db: _all(
                db,
                "SELECT retired_ms, id FROM versions WHERE state = 2 AND retired_ms <= ?"
                " AND (retired_ms, id) > (?, ?) ORDER BY retired_ms, id LIMIT ?",
                before_ms,
                *self._version_after,
                VERSIONS_LOOKED_AT,
            )
        )
        beyond = self._beyond
        gone = set(given_up((version for _, version in found), leases.is_held, beyond))
        free = [one for one in found if one[1] in gone]
        more = free[VERSIONS_CONDEMNED:]
        free = free[:VERSIONS_CONDEMNED]

        def give_up(tx: Transaction) -> None:
            if is_restored(tx.db):
                return
            tx.at_end(lambda _: leases.release())
            tx.run(
                "UPDATE versions SET state = ? WHERE state = ?"
                " AND id IN (SELECT value FROM json_each(?))",
                COLLECTED,
                RETIRED,
                json.dumps(leases.condemn([version for _, version in free], whatever=beyond)),
            )

        if free:  # else readers need not begin again
            await engine.change(give_up)
        is_more = bool(more) or len(found) >= VERSIONS_LOOKED_AT
        self._version_after = (free if more else found)[-1] if is_more else _FIRST
        return is_more

    async def _clear_versions(self) -> bool:
        """Clear extents of versions that nobody needs, in turns; True if more are there."""
        oldest, smallest = await self._engine.read(_collected)
        waiting = dict(oldest) | dict(smallest)
        # Each takes one row for itself besides those of its extents.
        shares = slices([(version, count + 1) for version, count in waiting.items()], CLEARED_ROWS)
        gone = await self._engine.change_each(list(shares.items()), _clear_extents, IN_TURN)
        return sum(gone) < len(waiting) or len(oldest) >= IN_TURN

    async def _look_at_chunks(self, before_ms: int) -> bool:
        """Doom chunks that nothing needs, of those which lost a reference; True if more are there."""
        found: Sequence[tuple[int]] = await self._engine.read(
            lambda db: _all(
                db,
                "SELECT chunk FROM candidates WHERE since_ms <= ? ORDER BY since_ms LIMIT ?",
                before_ms,
                CHUNKS_LOOKED_AT,
            )
        )
        chunks, uses_left = [chunk for (chunk,) in found], USES_LOOKED_AT
        look = partial(_look_at, copies=self._engine.settings.copies)
        while chunks and uses_left > 0:
            some = partial(look, chunks=chunks[:STEP_CHUNKS], uses_max=uses_left)
            uses = await self._engine.change(some)
            if not uses:
                break
            chunks, uses_left = chunks[len(uses) :], uses_left - sum(uses)
        return bool(chunks) or len(found) >= CHUNKS_LOOKED_AT


def _clear_uploads(tx: Transaction, ended: Sequence[tuple[str, int]], share: int) -> Sequence[bool]:
    """Clear up to ``share`` rows of each; return which are cleared whole, and forget these."""
    cleared = []
    for upload, state in tx.unspent(ended):
        cleared.append(clear_upload(tx, upload, share))
        if not cleared[-1]:
            continue
        if state == COMMITTED_UNCLEARED:  # kept for a repeated commit until it expires
            tx.run("UPDATE uploads SET state = ? WHERE id = ?", COMMITTED, upload)
        else:
            tx.run("DELETE FROM uploads WHERE id = ?", upload)
    return cleared


def _forget_answers(tx: Transaction) -> bool:
    """Forget what commits answered long enough ago; True if more are there."""
    tx.run(
        "DELETE FROM uploads WHERE id IN"
        f" (SELECT id FROM uploads WHERE expires_ms <= ? AND state = {COMMITTED} LIMIT ?)",
        tx.now_ms,
        CLEARED_ROWS,
    )
    return tx.db.changes() >= CLEARED_ROWS


def _forget_removed(tx: Transaction) -> bool:
    return forget_removed(tx, CLEARED_ROWS) >= CLEARED_ROWS


def _forget_quarantined(tx: Transaction) -> bool:
    return forget_on_removed(tx, CLEARED_ROWS) >= CLEARED_ROWS


def _collected(db: apsw.Connection) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return ids and pieces of the oldest and of the smallest versions that nobody needs."""
    columns = "SELECT id, chunk_count + hole_count FROM versions WHERE state = 3"
    return (
        _all(db, f"{columns} ORDER BY id LIMIT ?", IN_TURN),
        _all(db, f"{columns} ORDER BY chunk_count LIMIT ?", IN_TURN),
    )


def _clear_extents(tx: Transaction, shares: Sequence[tuple[int, int]]) -> Sequence[bool]:
    """Clear a share of each version; return which are gone."""
    if is_restored(tx.db):
        return ()
    return [clear_extents(tx, version, share) for version, share in tx.unspent(shares)]


def _look_at(tx: Transaction, chunks: Sequence[int], uses_max: int, copies: int) -> Sequence[int]:
    """Doom those of ``chunks`` that nothing needs; return the uses seen of each that was looked at.

    It ends after ``uses_max`` uses.
    """
    if is_restored(tx.db):
        return ()
    needed = {chunk for (chunk,) in tx.all(_NEEDED, json.dumps(chunks))}
    uses: list[int] = []
    for chunk in tx.unspent(chunks):
        tx.run("DELETE FROM candidates WHERE chunk = ?", chunk)
        if chunk in needed:
            uses.append(lower(tx, chunk, copies))
        else:
            doom_chunk(tx, chunk)
            uses.append(0)
        if sum(uses) >= uses_max:
            break
    return uses


def _all(db: apsw.Connection, sql: str, *params: Any) -> list[Any]:
    return db.execute(sql, params).fetchall()
