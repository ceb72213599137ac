"""Which chunks are short of copies, and the claims of those who make new ones."""

# ruff: noqa: S608 - statements are put together from constants of this file alone

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apsw

from collective.catalog.model import (
    Copy,
    RepairTask,
    VerifiedReceipt,
)
from collective.catalog.sqlite import rows
from collective.catalog.sqlite.allocation import add_candidate, new_copy
from collective.catalog.sqlite.chunk_copies import load_chunk
from collective.catalog.sqlite.dooming import doom
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.references import DUE, IN_USE, OF_FILES, TRUSTED
from collective.catalog.sqlite.rows import INTENT, STORED
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import RejectedError
from collective.core.ids import NodeId
from collective.core.randomness import hex_id
from collective.placement.evidence import counted, quorum_of
from collective.placement.healing import MakeCopy

SHORT = (
    "WITH bad(node) AS (SELECT value FROM json_each(?)),"
    " waiting(node) AS (SELECT id FROM nodes WHERE standing = 'probation'"
    " AND id NOT IN (SELECT node FROM bad)),"
    " some(chunk) AS (SELECT id FROM chunks INDEXED BY chunks_short WHERE stored < wanted"
    " UNION SELECT c.chunk FROM bad JOIN copies c ON c.node = bad.node WHERE c.state = 1)"
    " SELECT count(*), coalesce(sum(held <= 0 AND is_kept), 0) FROM (SELECT k.wanted, k.stored -"
    " (SELECT count(*) FROM copies c WHERE c.chunk = k.id AND c.state = 1"
    " AND c.node IN (SELECT node FROM bad)) AS held,"
    " (SELECT count(*) FROM copies c WHERE c.chunk = k.id AND c.state = 1"
    f" AND c.node IN (SELECT node FROM waiting)) AS waits, {OF_FILES} AS is_kept"
    f" FROM some JOIN chunks k ON k.id = some.chunk WHERE {DUE})"
    " WHERE held - waits + min(waits, max(0, held - waits - 1)) < wanted"
)
"""Counts chunks short of copies, and those of files without any, not counting copies on the given
nodes, and those on probation as a minority only (``placement.evidence.counted``).  What an upload is sending just now is not short; ``DUE`` takes the time as last parameter."""

_ELSEWHERE = (
    "(SELECT count(*) FROM copies o JOIN nodes n ON n.id = o.node WHERE o.chunk = k.id"
    f" AND o.node <> c.node AND o.state = 1 AND {TRUSTED} AND n.standing = '{{}}')"
)
LEFT = (
    "SELECT name, is_stored, wanted, approved, on_probation, count(*) FROM"
    " (SELECT h.name, c.state = 1 AS is_stored, k.wanted,"
    f" iif(c.state = 1, 0, {_ELSEWHERE.format('approved')}) AS approved,"
    f" iif(c.state = 1, 0, {_ELSEWHERE.format('probation')}) AS on_probation"
    " FROM copies c JOIN nodes h ON h.id = c.node JOIN chunks k ON k.id = c.chunk"
    f" WHERE c.state IN (1, 2, 3) AND {IN_USE})"
    " GROUP BY name, is_stored, wanted, approved, on_probation"
)
"""Counts the copies of chunks in use by node: stored ones, and others by how many the chunk wants and has
on trusted nodes elsewhere."""


class RepairsPart(Part):
    """The methods of ``Nodes`` about repair."""

    async def claim_repairs(self, acts: Sequence[MakeCopy]) -> Sequence[RepairTask]:
        """Claim chunks to be copied, and write the intents of the new copies.

        What changed since it was decided is left out.  The first call gives up what an earlier
        process claimed: nobody would finish it.
        """
        engine = self._engine

        def work(tx: Transaction) -> Sequence[RepairTask]:
            if not engine.claims_are_own:
                for (repair,) in tx.all("SELECT id FROM repairs"):
                    end_repair(tx, repair, stored=False)
                tx.at_end(_own_claims)
            expires_ms = tx.now_ms + int(engine.settings.repair_claim_s * 1000)
            claimed = (_claim(tx, act, hex_id(engine.randomness), expires_ms) for act in acts)
            return [task for task in claimed if task is not None]

        def _own_claims(durable: bool) -> None:  # noqa: FBT001 - as the writer calls it
            engine.claims_are_own = engine.claims_are_own or durable

        return await engine.change(work)

    async def finish_repair(self, task: RepairTask, receipt: VerifiedReceipt | None) -> None:
        """Record the new copy, or (None) give the claim up.  No other copy goes by that."""
        if receipt is not None and (
            receipt.transfer_id != task.repair_id
            or receipt.chunk != task.chunk
            or receipt.stored_length != task.stored_length
            or receipt.node != task.target.node
            or receipt.generation != task.target.generation
        ):
            raise RejectedError("A receipt does not belong to this repair; it is not counted.")
        await self._engine.change(
            lambda tx: end_repair(tx, task.repair_id, stored=receipt is not None)
        )

    async def copies_left(self) -> Mapping[NodeId, int]:
        """Count the copies on each node that keep it from being removed."""

        def work(db: apsw.Connection) -> Mapping[NodeId, int]:
            left: Counter[NodeId] = Counter()
            found: Any = db.execute(LEFT)
            for name, is_stored, wanted, approved, on_probation, count in found:
                if is_stored or counted(approved, on_probation) < quorum_of(wanted):
                    left[NodeId(name)] += count
            return left

        return await self._engine.read(work)

    async def repair_backlog(
        self,
        usable: frozenset[NodeId],  # noqa: ARG002 - of the interface; unreachable copies count
        lost: frozenset[NodeId],
    ) -> int:
        """Count chunks that are short of copies."""
        now_ms = int(self._engine.clock.wall_s() * 1000)

        def work(db: apsw.Connection) -> int:
            return count_short(db, _bad_nodes(db, lost), now_ms)[0]

        return await self._engine.read(work)


def count_short(db: apsw.Connection, bad: Iterable[int], now_ms: int) -> tuple[int, int]:
    """Return how many chunks are short and how many have no copy, copies on ``bad`` not counted."""
    row: Any = rows.fetch(db, SHORT, json.dumps(list(bad)), now_ms)
    return row[0], row[1]


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
    if stored and state is not None:
        tx.run("UPDATE copies SET state = ? WHERE chunk = ? AND node = ?", STORED, chunk, node)
    elif state == INTENT and not tx.value(
        "SELECT 1 FROM sent WHERE chunk = ? AND node = ? LIMIT 1", chunk, node
    ):
        doom(tx, chunk, node)
    add_candidate(tx, chunk)


def _bad_nodes(db: apsw.Connection, lost: frozenset[NodeId]) -> frozenset[int]:
    found: Any = db.execute(
        f"SELECT n.id, n.name, n.draining OR NOT ({TRUSTED}) FROM nodes n"
    ).fetchall()
    return frozenset(number for number, name, is_bad in found if is_bad or name in lost)


def _claim(tx: Transaction, act: MakeCopy, repair_id: str, expires_ms: int) -> RepairTask | None:
    found = load_chunk(tx.db, act.chunk, tx.now_ms)
    if found is None or found[1] != act.chunk or not found[1].is_due:
        return None
    chunk, present = found
    if act.generation is None:
        target = new_copy(tx, chunk, act.target, None)
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
