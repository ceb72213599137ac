"""Which chunks are short of copies, and the claims of those who make new ones."""

# ruff: noqa: S608 - statements are put together from constants of this file alone

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import apsw

from collective.catalog.model import (
    Copy,
    PlaceFunction,
    PlacementNeed,
    RepairTask,
    VerifiedReceipt,
)
from collective.catalog.sqlite import rows
from collective.catalog.sqlite.allocation import add_candidate, held_of, new_copy
from collective.catalog.sqlite.dooming import doom
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.references import DUE, IN_USE, OF_FILES, TRUSTED
from collective.catalog.sqlite.rows import INTENT, MISSING, STORED
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import RejectedError
from collective.core.ids import ChunkId, Generation, NodeId
from collective.core.randomness import hex_id
from collective.placement.choose import Held
from collective.placement.evidence import Standing

SHORT = (
    "WITH bad(node) AS (SELECT value FROM json_each(?)),"
    " some(chunk) AS (SELECT id FROM chunks WHERE stored < wanted"
    " UNION SELECT c.chunk FROM bad JOIN copies c ON c.node = bad.node WHERE c.state = 1)"
    " SELECT count(*), coalesce(sum(live <= 0 AND is_kept), 0) FROM (SELECT k.wanted, k.stored -"
    " (SELECT count(*) FROM copies c WHERE c.chunk = k.id AND c.state = 1"
    f" AND c.node IN (SELECT node FROM bad)) AS live, {OF_FILES} AS is_kept"
    f" FROM some JOIN chunks k ON k.id = some.chunk WHERE {DUE}) WHERE live < wanted"
)
"""Counts chunks short of copies, and those of files without any, not counting copies on the given
nodes.  What an upload is sending just now is not short; ``DUE`` takes the time as last parameter."""
SOURCED = (
    "EXISTS (SELECT 1 FROM copies s WHERE s.chunk = k.id AND s.state = 1"
    " AND s.node IN (SELECT value FROM json_each(?)))"
)
LOOKED_AT_MAX = 2048
"""Chunks on nodes that do not count that one claim looks at."""
SHORT_LOOKED_AT = 512
"""Chunks short of copies that one claim looks at; those without a place must not hide others."""
REFUSALS_MAX = 512
"""Chunks that found no place, after which a claim stops."""


@dataclass(slots=True)
class _Short:
    chunk: int
    chunk_id: ChunkId
    stored_length: int
    wanted: int
    held: list[tuple[int, NodeId, int, int, Standing]]
    """Node number, name, generation, state, the node's standing."""
    live: int

    def as_held(self, bad: frozenset[int]) -> Held:
        """Return what placement needs to know of the copies that count."""
        there = [row[4] for row in self.held if row[3] in {INTENT, STORED} and row[0] not in bad]
        return held_of(self.wanted, there)


class RepairsPart(Part):
    """The methods of ``Nodes`` about repair."""

    async def claim_repairs(
        self, limit: int, place: PlaceFunction, usable: frozenset[NodeId], lost: frozenset[NodeId]
    ) -> list[RepairTask]:
        """Claim chunks short of copies, fewest copies first, and write intents.

        Copies on nodes that are draining, removed or in ``lost`` do not count.  The first call gives
        up what an earlier process claimed: nobody would finish it.
        """
        engine = self._engine

        def work(tx: Transaction) -> list[RepairTask]:
            if not engine.claims_are_own:
                for (repair,) in tx.all("SELECT id FROM repairs"):
                    end_repair(tx, repair, stored=False)
                tx.at_end(_own_claims)
            bad = _bad_nodes(tx.db, lost)
            tasks: list[RepairTask] = []
            refusals = 0
            for short in sorted(_shorts(tx, bad, usable, limit), key=lambda item: item.live):
                if len(tasks) >= limit or refusals >= REFUSALS_MAX:
                    break
                if short.live >= short.wanted:
                    if not engine.restored:
                        _trim(tx, short, bad)
                    continue
                task = _claim(tx, short, place, usable, bad, hex_id(engine.randomness))
                if task is None:
                    refusals += 1
                    continue
                tx.run(
                    "UPDATE repairs SET expires_ms = ? WHERE id = ?",
                    tx.now_ms + int(engine.settings.repair_claim_s * 1000),
                    task.repair_id,
                )
                tasks.append(task)
            return tasks

        def _own_claims(durable: bool) -> None:  # noqa: FBT001 - as the writer calls it
            engine.claims_are_own = engine.claims_are_own or durable

        return await engine.change(work)

    async def finish_repair(self, task: RepairTask, receipt: VerifiedReceipt | None) -> None:
        """Record the new copy, or (None) give the claim up."""
        if receipt is not None and (
            receipt.transfer_id != task.repair_id
            or receipt.chunk != task.chunk
            or receipt.node != task.target.node
            or receipt.generation != task.target.generation
        ):
            raise RejectedError("A receipt does not belong to this repair; it is not counted.")
        await self._engine.change(
            lambda tx: end_repair(tx, task.repair_id, stored=receipt is not None)
        )

    async def copies_left(self) -> Mapping[NodeId, int]:
        """Count the stored copies of chunks in use on each node that has any."""

        def work(db: apsw.Connection) -> Mapping[NodeId, int]:
            found: Any = db.execute(
                "SELECT n.name, count(*) FROM copies c JOIN nodes n ON n.id = c.node"
                f" JOIN chunks k ON k.id = c.chunk WHERE c.state = ? AND {IN_USE}"
                " GROUP BY n.name",
                (STORED,),
            ).fetchall()
            return {NodeId(name): count for name, count in found}

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
    row = tx.one("SELECT chunk, node, generation, replaces FROM repairs WHERE id = ?", repair_id)
    if row is None:
        return
    chunk, node, generation, replaces = row
    tx.run("DELETE FROM repairs WHERE id = ?", repair_id)
    state = tx.value(
        "SELECT state FROM copies WHERE chunk = ? AND node = ? AND generation = ?",
        chunk,
        node,
        generation,
    )
    if stored and state is not None:
        tx.run("UPDATE copies SET state = ? WHERE chunk = ? AND node = ?", STORED, chunk, node)
        if replaces is not None:
            doom(tx, chunk, replaces)
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


def _shorts(
    tx: Transaction, bad: frozenset[int], usable: frozenset[NodeId], limit: int
) -> list[_Short]:
    """Return chunks that are short and can be copied now, those short without ``bad`` first."""
    unclaimed = "NOT EXISTS (SELECT 1 FROM repairs r WHERE r.chunk = k.id)"
    sources = json.dumps(
        [row[0] for row in tx.all("SELECT id, name FROM nodes") if row[1] in usable]
    )
    chunks = tx.all(
        "SELECT k.id, k.hash, k.stored_length, k.wanted FROM chunks k WHERE k.stored < k.wanted"
        f" AND {unclaimed} AND {SOURCED} AND {DUE} ORDER BY k.stored LIMIT ?",
        sources,
        tx.now_ms,
        max(SHORT_LOOKED_AT, limit),
    )
    if bad:
        chunks += tx.all(
            "SELECT DISTINCT k.id, k.hash, k.stored_length, k.wanted FROM copies c"
            " JOIN chunks k ON k.id = c.chunk WHERE c.node IN (SELECT value FROM json_each(?))"
            f" AND c.state = 1 AND {unclaimed} AND {SOURCED} AND {DUE} LIMIT ?",
            json.dumps(sorted(bad)),
            sources,
            tx.now_ms,
            LOOKED_AT_MAX,
        )
    found: dict[int, _Short] = {}
    for chunk, chunk_id, length, wanted in chunks:
        if chunk in found:
            continue
        held = tx.all(
            "SELECT c.node, n.name, c.generation, c.state, n.standing FROM copies c"
            " JOIN nodes n ON n.id = c.node WHERE c.chunk = ?",
            chunk,
        )
        held = [(*row[:4], Standing(row[4])) for row in held]
        live = sum(1 for row in held if row[3] == STORED and row[0] not in bad)
        found[chunk] = _Short(chunk, ChunkId(chunk_id), length, wanted, held, live)
    return list(found.values())


def _trim(tx: Transaction, short: _Short, bad: frozenset[int]) -> None:
    """There are enough copies elsewhere: those on nodes that do not count are not needed.

    Those on doubted nodes stay: they may turn out to be good, and are read where no other is left.
    """
    for node, _, _, state, standing in short.held:
        if node in bad and state == STORED and standing is not Standing.DOUBTED:
            doom(tx, short.chunk, node)


def _place_intended(short: _Short, place: PlaceFunction, bad: frozenset[int]) -> Copy | None:
    """Return a copy that an open upload was told to make, and has not: make it in its stead.

    The upload's client may be gone for good, and uploads live for days.  It is the same copy, of
    the same generation: whoever is second finds it there.
    """
    intents = {row[1]: Copy(row[1], Generation(row[2])) for row in short.held if row[3] == INTENT}
    stored = frozenset(row[1] for row in short.held if row[3] == STORED)
    if not intents:
        return None
    need = PlacementNeed(short.chunk_id, short.stored_length, 1, stored, short.as_held(bad))
    chosen = place(need)
    return intents.get(chosen[0]) if chosen else None


def _claim(
    tx: Transaction,
    short: _Short,
    place: PlaceFunction,
    usable: frozenset[NodeId],
    bad: frozenset[int],
    repair_id: str,
) -> RepairTask | None:
    sources = [
        Copy(name, Generation(generation))
        for _, name, generation, state, _ in short.held
        if state == STORED and name in usable
    ]
    if not sources:
        return None
    taken = frozenset(name for _, name, _, state, _ in short.held if state != MISSING)
    chosen = place(PlacementNeed(short.chunk_id, short.stored_length, 1, taken, short.as_held(bad)))
    if chosen and chosen[0] not in taken:
        target = new_copy(tx, short.chunk, chosen[0], None)
    else:
        intended = _place_intended(short, place, bad)
        if intended is None:
            return None
        target = intended
    node = tx.value("SELECT id FROM nodes WHERE name = ?", target.node)
    replaces = next(
        (
            row[0]
            for row in short.held
            if row[0] in bad and row[3] == STORED and row[4] is not Standing.DOUBTED
        ),
        None,
    )
    tx.run(
        "INSERT INTO repairs (id, chunk, node, generation, replaces, expires_ms)"
        " VALUES (?,?,?,?,?,0)",
        repair_id,
        short.chunk,
        node,
        target.generation,
        replaces,
    )
    return RepairTask(short.chunk_id, short.stored_length, sources, target, repair_id)
