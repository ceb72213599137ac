"""Giving copies up: they are out of use, under a guard, until they are deleted or taken back.

Everything here is decided by ``decisions/copies.py`` on what the catalogue holds in the transaction
itself.  Many copies go in as many transactions as that takes.  A catalogue that is restored and not adopted gives up nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

import apsw

from collective.catalog.decisions.copies import is_surplus, next_look_ms, settled
from collective.catalog.decisions.fair_shares import even
from collective.catalog.interface.values import Settled
from collective.catalog.sqlite.collection.dooming import CORRUPT, FREE, GUARDED, doom, forget
from collective.catalog.sqlite.copies.chunk_copies import load_chunk, load_chunks, present_facts
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import STORED, is_restored
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import Generation, NodeId
from collective.model.copies import ChunkCopies, CopyName, GivenUp
from collective.placement.healing import GiveUp, NodeFacts

STEP_COPIES: Final = 128
"""Copies that one transaction changes."""


class SqliteGuardedCopies:
    """Copies that are given up: deleted once others are confirmed."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def give_up(self, acts: Sequence[GiveUp], facts: Mapping[NodeId, NodeFacts]) -> int:
        """Take surplus copies out of use, under a guard; return how many still were surplus."""

        def step(tx: Transaction, some: Sequence[GiveUp]) -> Sequence[bool]:
            if is_restored(tx.db):
                return ()
            now = present_facts(tx.db, facts)
            return [_give_up(tx, act, now) for act in tx.unspent(some)]

        return sum(await self._engine.change_each(acts, step, STEP_COPIES))

    async def claim(self, limit: int) -> Sequence[tuple[ChunkCopies, GivenUp]]:
        """Return guarded copies whose turn it is; each has its next one later and later.

        Every node that has any gets its share, also where that is beyond ``limit``.
        """
        engine = self._engine
        now_ms = engine.now_ms()
        due = await engine.read(lambda db: () if is_restored(db) else _due(db, now_ms, limit))
        found = await engine.change_each(due, _put_off, STEP_COPIES)
        claimed = [one for one in found if one is not None]

        def load(db: apsw.Connection) -> Sequence[tuple[ChunkCopies, GivenUp]]:
            chunks = dict(load_chunks(db, [chunk for chunk, _ in claimed], now_ms))
            return [(chunks[chunk], given) for chunk, given in claimed if chunk in chunks]

        return await engine.read(load) if claimed else ()

    async def settle(
        self,
        chunk: ChunkCopies,
        given: GivenUp,
        confirmed: AbstractSet[CopyName],
        facts: Mapping[NodeId, NodeFacts],
        *,
        lacks_room: bool,
    ) -> Settled:
        """Let a guarded copy be deleted, take it back, or keep it, by what was just confirmed."""

        def work(tx: Transaction) -> Settled:
            number = _number(tx, given.node)
            guard = tx.value(
                "SELECT guard FROM doomed WHERE node = ? AND hash = ? AND generation = ?",
                number,
                chunk.chunk,
                given.generation,
            )
            found = load_chunk(tx.db, chunk, tx.now_ms)
            row, present = found or (0, None)
            done = settled(
                present,
                given,
                confirmed,
                present_facts(tx.db, facts),
                is_guarded=bool(guard),
                is_restored=is_restored(tx.db),
                lacks_room=lacks_room,
            )
            if done is Settled.DELETED:
                tx.run(
                    "UPDATE doomed SET guard = 0, retry_ms = 0"
                    " WHERE node = ? AND hash = ? AND generation = ?",
                    number,
                    chunk.chunk,
                    given.generation,
                )
            if done is Settled.TAKEN_BACK:
                forget(tx, number, [(chunk.chunk, given.generation)])
                tx.run(
                    "INSERT INTO copies (chunk, node, generation, state) VALUES (?,?,?,?)",
                    row,
                    number,
                    given.generation,
                    STORED,
                )
            return done

        return await self._engine.change(work)


def _give_up(tx: Transaction, act: GiveUp, facts: Mapping[NodeId, NodeFacts]) -> bool:
    """Give up a copy that is surplus still; return whether it was."""
    found = load_chunk(tx.db, act.chunk, tx.now_ms)
    if found is None or not is_surplus(act, found[1], facts):
        return False
    doom(tx, found[0], _number(tx, act.copy.node), GUARDED)
    return True


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A guarded copy whose turn it is."""

    number: int
    """Of its node."""
    node: NodeId
    chunk: bytes
    generation: int
    since_ms: int


def _due(db: apsw.Connection, now_ms: int, limit: int) -> Sequence[_Guarded]:
    found: list[_Guarded] = []
    present: Any = db.execute(
        "SELECT id FROM nodes n WHERE removed = 0 AND EXISTS"
        " (SELECT 1 FROM doomed d WHERE d.node = n.id AND d.guard > 0 AND d.retry_ms <= ?)"
        " ORDER BY id",
        (now_ms,),
    ).fetchall()
    for place, (number,) in enumerate(present):
        due: Any = db.execute(
            "SELECT d.node, n.name, d.hash, d.generation, d.since_ms FROM doomed d"
            " JOIN nodes n ON n.id = d.node"
            " WHERE d.node = ? AND d.guard > 0 AND d.retry_ms <= ? ORDER BY d.retry_ms LIMIT ?",
            (number, now_ms, even(len(present) - place, limit - len(found))),
        ).fetchall()
        found += [_Guarded(*row) for row in due]
    return found


def _put_off(tx: Transaction, due: Sequence[_Guarded]) -> Sequence[tuple[int, GivenUp] | None]:
    """Put the next turn of each off; return the rows of their chunks, None where nothing is left to do.

    Where the chunk is no more, nothing needs the copy, and its guard is lifted.
    """
    return [_put_one_off(tx, one) for one in tx.unspent(due)]


def _put_one_off(tx: Transaction, due: _Guarded) -> tuple[int, GivenUp] | None:
    row = tx.one(
        "SELECT d.guard, k.id FROM doomed d LEFT JOIN chunks k ON k.hash = d.hash"
        " AND k.stored_length = d.stored_length"
        " WHERE d.node = ? AND d.hash = ? AND d.generation = ? AND d.guard > 0",
        due.number,
        due.chunk,
        due.generation,
    )
    if row is None:
        return None
    guard, chunk = row
    tx.run(
        "UPDATE doomed SET retry_ms = ?, guard = ? WHERE node = ? AND hash = ? AND generation = ?",
        0 if chunk is None else next_look_ms(due.since_ms, tx.now_ms),
        FREE if chunk is None else guard,
        due.number,
        due.chunk,
        due.generation,
    )
    if chunk is None:
        return None
    return chunk, GivenUp(due.node, Generation(due.generation), is_corrupt=guard == CORRUPT)


def _number(tx: Transaction, node: NodeId) -> int:
    return int(tx.value("SELECT id FROM nodes WHERE name = ?", node) or 0)
