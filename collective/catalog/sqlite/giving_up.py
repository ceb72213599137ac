"""Giving copies up, and what challenges prove of them.

Everything here is decided by ``placement.healing`` on what the catalogue holds in the transaction
itself.  A catalogue that is restored and not adopted gives up nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from collective.catalog.decisions.turns import even
from collective.catalog.model import Judged, Settled
from collective.catalog.sqlite.chunk_copies import load_chunk, load_chunks, present_facts
from collective.catalog.sqlite.copies import set_state, take_out
from collective.catalog.sqlite.dooming import CORRUPT, GUARDED, doom
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.nodes import doubt_node
from collective.catalog.sqlite.rows import DOUBTED, STORED
from collective.catalog.sqlite.writer import Transaction
from collective.core.ids import Generation, NodeId
from collective.placement.challenges import Verdict
from collective.placement.healing import (
    ChunkCopies,
    CopyName,
    GivenUp,
    GiveUp,
    NodeFacts,
    heal,
    may_delete,
    may_take_back,
)

CHECK_LEAST_MS: Final = 10_000
CHECK_MOST_MS: Final = 3_600_000
"""Bounds of the time after which a copy that was given up is looked at again; it grows with its age."""


class GivingUpPart(Part):
    """The methods of ``Nodes`` about copies that go, and about verdicts."""

    async def give_up(self, acts: Sequence[GiveUp], facts: Mapping[NodeId, NodeFacts]) -> int:
        """Take surplus copies out of use, under a guard; return how many still were surplus."""

        def work(tx: Transaction) -> int:
            if _is_restored(tx):
                return 0
            now = present_facts(tx.db, facts)
            count = 0
            for act in acts:
                found = load_chunk(tx.db, act.chunk, tx.now_ms)
                if found is None or not found[1].is_in_use:
                    continue
                again = heal(found[1], now, lambda _, __: None)
                if isinstance(again, GiveUp) and again.copy == act.copy:
                    doom(tx, found[0], _number(tx, act.copy.node), GUARDED)
                    count += 1
            return count

        return await self._engine.change(work)

    async def claim_given_up(self, limit: int) -> Sequence[tuple[ChunkCopies, GivenUp]]:
        """Return guarded copies whose turn it is; each has its next one later and later.

        Every node that has any gets its share, also where that is beyond ``limit``.
        """

        def work(tx: Transaction) -> Sequence[tuple[ChunkCopies, GivenUp]]:
            if _is_restored(tx):
                return []
            found = _due(tx, limit)
            for node, _, chunk_id, generation, _, since_ms, row in found:
                wait_ms = min(CHECK_MOST_MS, max(CHECK_LEAST_MS, abs(tx.now_ms - since_ms) // 2))
                tx.run(
                    "UPDATE doomed SET retry_ms = ?, guard = iif(?, 0, guard)"
                    " WHERE node = ? AND hash = ? AND generation = ?",
                    0 if row is None else tx.now_ms + wait_ms,
                    row is None,
                    node,
                    chunk_id,
                    generation,
                )
            chunks = dict(
                load_chunks(tx.db, [row[6] for row in found if row[6] is not None], tx.now_ms)
            )
            return [
                (
                    chunks[row],
                    GivenUp(NodeId(name), Generation(generation), is_corrupt=guard == CORRUPT),
                )
                for _, name, _, generation, guard, _, row in found
                if row in chunks
            ]

        return await self._engine.change(work)

    async def settle_given_up(
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
            if _is_restored(tx) or not guard or found is None:
                return Settled.KEPT
            row, present = found
            now = present_facts(tx.db, facts)
            if may_delete(present, given, confirmed, now, lacks_room=lacks_room):
                tx.run(
                    "UPDATE doomed SET guard = 0, retry_ms = 0"
                    " WHERE node = ? AND hash = ? AND generation = ?",
                    number,
                    chunk.chunk,
                    given.generation,
                )
                return Settled.DELETED
            if given.name in confirmed and may_take_back(present, given, now):
                tx.run(
                    "DELETE FROM doomed WHERE node = ? AND hash = ? AND generation = ?",
                    number,
                    chunk.chunk,
                    given.generation,
                )
                tx.run(
                    "INSERT INTO copies (chunk, node, generation, state) VALUES (?,?,?,?)",
                    row,
                    number,
                    given.generation,
                    STORED,
                )
                return Settled.TAKEN_BACK
            return Settled.KEPT

        return await self._engine.change(work)

    async def note_verdicts(self, verdicts: Sequence[Judged]) -> Sequence[NodeId]:
        """Write down what challenges and reads proved; return the nodes that are in doubt by it.

        A doubted copy that was proven counts again; one that is missing or corrupt is taken out of
        use; one that its node lied about is doubted, with its node.
        """

        def work(tx: Transaction) -> Sequence[NodeId]:
            liars: dict[NodeId, None] = {}
            for one in verdicts:
                _note(tx, one)
                if one.verdict is Verdict.LIED:
                    liars[one.node] = None
                    doubt_node(tx, one.node, one.why or "it answered a challenge wrongly")
            return list(liars)

        return await self._engine.change(work) if verdicts else []


def _note(tx: Transaction, one: Judged) -> None:
    number = _number(tx, one.node)
    if one.verdict in {Verdict.MISSING, Verdict.CORRUPT}:
        is_lost = one.verdict is Verdict.MISSING
        take_out(tx, number, one.node, one.chunk, one.generation, is_lost=is_lost)
        if not is_lost:
            tx.run(
                "UPDATE doomed SET guard = ? WHERE node = ? AND hash = ? AND generation = ?"
                " AND guard > 0",
                CORRUPT,
                number,
                one.chunk,
                one.generation,
            )
        return
    was, becomes = (DOUBTED, STORED) if one.verdict is Verdict.PROVEN else (STORED, DOUBTED)
    row = tx.one(
        "SELECT c.chunk FROM chunks k JOIN copies c ON c.chunk = k.id"
        " WHERE k.hash = ? AND c.node = ? AND c.generation = ? AND c.state = ?",
        one.chunk,
        number,
        one.generation,
        was,
    )
    if row is not None and one.verdict is not Verdict.OPEN:
        set_state(tx, row[0], number, becomes)


def _due(tx: Transaction, limit: int) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    present = tx.all(
        "SELECT id FROM nodes n WHERE removed = 0 AND EXISTS"
        " (SELECT 1 FROM doomed d WHERE d.node = n.id AND d.guard > 0 AND d.retry_ms <= ?)"
        " ORDER BY id",
        tx.now_ms,
    )
    for place, (number,) in enumerate(present):
        found += tx.all(
            "SELECT d.node, n.name, d.hash, d.generation, d.guard, d.since_ms, k.id FROM doomed d"
            " JOIN nodes n ON n.id = d.node LEFT JOIN chunks k ON k.hash = d.hash"
            " AND k.stored_length = d.stored_length"
            " WHERE d.node = ? AND d.guard > 0 AND d.retry_ms <= ? ORDER BY d.retry_ms LIMIT ?",
            number,
            tx.now_ms,
            even(len(present) - place, limit - len(found)),
        )
    return found


def _number(tx: Transaction, node: NodeId) -> int:
    return int(tx.value("SELECT id FROM nodes WHERE name = ?", node) or 0)


def _is_restored(tx: Transaction) -> bool:
    return bool(tx.value("SELECT restored FROM state"))
