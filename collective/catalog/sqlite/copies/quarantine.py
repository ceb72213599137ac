"""Copies that this catalogue never gave out: kept on their nodes until an operator discards them.

They are of a lost future of this catalogue, or of one that it takes the place of.  One of a chunk that is
in use here may be the last good one: it is entered as doubted, and the challenge decides.  Nothing deletes
the others by itself; discarding hands them to collection, in bounded steps, seven days after they were found and
after their node was adopted at the earliest.  Figures of each node are kept, so nothing counts rows.
"""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import apsw

from collective.catalog.decisions.generations import Spans
from collective.catalog.decisions.quarantine import (
    OF_ONE_CHUNK_MAX,
    first_may_go_ms,
    found_until_ms,
    listed,
    may_discard_on,
    may_enter,
    require_discardable,
    rows_allowed,
)
from collective.catalog.decisions.standing import unknown_node
from collective.catalog.sqlite.collection.dooming import GUARDED, STRANGERS_MAX, doom, note_stranger
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.references import IN_USE
from collective.catalog.sqlite.store.rows import DOUBTED
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.calls import Call
from collective.model.copies import CopyKey, CopyState
from collective.model.nodes import Discarded, Standing

STEP_COPIES: Final = 128
"""Copies that one transaction hands to collection."""


def spans_of(tx: Transaction) -> Spans:
    """Return the generations that this catalogue gave out, those of this transaction included."""
    foreign = tx.all("SELECT first, past FROM foreign_generations ORDER BY first")
    return Spans(
        tx.value("SELECT first_generation FROM state"),
        tx.given_generations,
        [(first, past) for first, past in foreign],
    )


def skip_generations(tx: Transaction, count: int) -> None:
    """Leave out the generations that a lost future of this catalogue may have used."""
    first = tx.given_generations
    tx.run("INSERT INTO foreign_generations VALUES (?, ?)", first, first + count)
    tx.skip_numbers(count, 0)


def enter(tx: Transaction, node: int, copy: CopyKey) -> bool:
    """Enter a copy that this catalogue never gave out where it is of use; False: it is not.

    It is of use where its chunk is, and where the node has no other copy of it than a missing one, which
    is given up under a guard.  It counts when a challenge has proved it.
    """
    row = tx.one(
        "SELECT k.id, c.state FROM chunks k LEFT JOIN copies c ON c.chunk = k.id AND c.node = ?1"
        " WHERE k.hash = ?2 AND k.stored_length = ?4"
        f" AND {IN_USE} AND NOT EXISTS (SELECT 1 FROM doomed d WHERE d.node = ?1"
        " AND d.hash = ?2 AND d.generation = ?3)",
        node,
        copy.chunk,
        copy.generation,
        copy.stored_length,
    )
    if row is None or not may_enter(None if row[1] is None else CopyState(row[1])):
        return False
    doom(tx, row[0], node, GUARDED)
    tx.run(
        "INSERT INTO copies (chunk, node, generation, state) VALUES (?,?,?,?)",
        row[0],
        node,
        copy.generation,
        DOUBTED,
    )
    release(tx, node, [(copy.chunk, copy.generation)])
    return True


def quarantine(tx: Transaction, node: int, copies: Sequence[CopyKey]) -> None:
    """Keep copies that this catalogue never gave out; what is kept already stays as it is.

    A node that is not approved gets no rows: it may invent as many as it likes.

    Args:
        tx: the transaction.
        node: the node's row.
        copies: a few hundred at most.
    """
    room = rows_allowed(
        Standing(tx.value("SELECT standing FROM nodes WHERE id = ?", node)),
        lambda: int(tx.value("SELECT sum(quarantined_copies) FROM nodes")),
    )
    chunks = {copy.chunk.hex() for copy in copies}
    known = tx.all(
        "SELECT hash, generation FROM quarantine WHERE node = ? AND hash IN"
        " (SELECT unhex(value) FROM json_each(?)) LIMIT ?",
        node,
        json.dumps(sorted(chunks)),
        len(chunks) * OF_ONE_CHUNK_MAX,
    )
    some, rest = listed(copies, frozenset(known), room)
    added = tx.all(
        "INSERT OR IGNORE INTO quarantine (node, hash, generation, stored_length, since_ms)"
        " SELECT ?1, unhex(value ->> 0), value ->> 1, value ->> 2, ?2 FROM json_each(?3) t"
        " WHERE NOT EXISTS (SELECT 1 FROM doomed d WHERE d.node = ?1"
        " AND d.hash = unhex(t.value ->> 0) AND d.generation = t.value ->> 1)"
        " RETURNING stored_length",
        node,
        tx.now_ms,
        _as_json(some),
    )
    _count(tx, node, len(added), sum(length for (length,) in added))
    if rest:
        tx.run(
            "UPDATE nodes SET unlisted_bytes = unlisted_bytes + (SELECT coalesce(sum(value ->> 2), 0)"
            " FROM json_each(?2) t WHERE NOT EXISTS (SELECT 1 FROM doomed d WHERE d.node = ?1"
            " AND d.hash = unhex(t.value ->> 0) AND d.generation = t.value ->> 1)"
            " AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.node = ?1"
            " AND q.hash = unhex(t.value ->> 0) AND q.generation = t.value ->> 1)) WHERE id = ?1",
            node,
            _as_json(rest),
        )


def _as_json(copies: Sequence[CopyKey]) -> str:
    return json.dumps([[copy.chunk.hex(), copy.generation, copy.stored_length] for copy in copies])


def begin_inventory(tx: Transaction, node: int) -> None:
    """Forget what the last inventory told of copies that have no row."""
    tx.run("UPDATE nodes SET unlisted_bytes = 0 WHERE id = ? AND unlisted_bytes > 0", node)


def release(tx: Transaction, node: int, copies: Sequence[tuple[bytes, int]]) -> None:
    """Forget quarantined copies (chunk id, generation) that are not on their node any more."""
    gone = tx.all(
        "DELETE FROM quarantine WHERE node = ? AND (hash, generation) IN"
        " (SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?)) RETURNING stored_length",
        node,
        json.dumps([[chunk.hex(), generation] for chunk, generation in copies]),
    )
    _count(tx, node, -len(gone), -sum(length for (length,) in gone))


def forget_on_removed(tx: Transaction, limit: int) -> int:
    """Forget what is quarantined on nodes that are removed; return how many rows were dropped.

    It begins with the nodes (a cross join keeps its order): the others may have many such copies.
    """
    gone = tx.all(
        "DELETE FROM quarantine WHERE (node, hash, generation) IN"
        " (SELECT q.node, q.hash, q.generation FROM nodes n CROSS JOIN quarantine q ON q.node = n.id"
        " WHERE n.removed = 1 LIMIT ?) RETURNING node, stored_length",
        limit,
    )
    for node in {number for number, _ in gone}:
        lengths = [length for number, length in gone if number == node]
        _count(tx, node, -len(lengths), -sum(lengths))
    return len(gone)


class SqliteQuarantine:
    """Copies that this catalogue never gave out."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def discard(self, actor: Call, nodes: Sequence[NodeId] | None) -> Sequence[Discarded]:
        """Let quarantined copies go that were kept long enough; None: on every node that has any."""
        engine = self._engine
        now_ms = engine.now_ms()
        target = " ".join(nodes or ("all",))

        def look(db: apsw.Connection) -> Sequence[Discarded]:
            engine.decider(actor).require_admin("discard quarantined copies")
            return _plan(db, nodes, now_ms)

        found = await engine.read_for(actor, "node-discard", target, look)

        def work(tx: Transaction) -> Sequence[Discarded]:
            tx.decider(actor).require_admin("discard quarantined copies")
            require_discardable(found, is_restored=rows.is_restored(tx.db))
            for one in found:
                if one.copies:
                    _discard(tx, actor, one, found_until_ms(now_ms))
            return found

        return await engine.write(work, caller=actor, action="node-discard", target=target)

    async def discard_step(self) -> bool:
        """Hand a bounded number of discarded copies to collection; True if more is to be done now."""

        def work(tx: Transaction) -> bool:
            row = tx.one(  # a node that is away and has no room left holds up no other
                "SELECT id, discard_before_ms, ?1 - doomed FROM nodes"
                " WHERE discard_before_ms > 0 AND doomed < ?1 LIMIT 1",
                STRANGERS_MAX,
            )
            if row is None:
                return False
            node, before_ms, room = row
            found = tx.all(
                "SELECT hash, generation, stored_length FROM quarantine WHERE node = ?"
                " AND since_ms <= ? ORDER BY since_ms LIMIT ?",
                node,
                before_ms,
                min(room, STEP_COPIES),
            )
            noted = []
            for chunk, generation, length in tx.unspent(found):
                copy = CopyKey(ChunkId(chunk), Generation(generation), length)
                note_stranger(tx, node, copy, is_discarded=True)
                noted.append((chunk, generation))
            release(tx, node, noted)
            if not found:
                tx.run("UPDATE nodes SET discard_before_ms = 0 WHERE id = ?", node)
            return True

        return await self._engine.change(work)


def _plan(db: apsw.Connection, nodes: Sequence[NodeId] | None, now_ms: int) -> Sequence[Discarded]:
    """Return what may be discarded on each node now; it looks at every quarantined copy."""
    found: Any = db.execute(
        "SELECT name, id, adopted_ms FROM nodes WHERE removed = 0 ORDER BY name"
    ).fetchall()
    known = {NodeId(name): (number, adopted_ms) for name, number, adopted_ms in found}
    for node in nodes or ():
        if node not in known:
            raise unknown_node(node)
    return [_look(db, node, *known[node], now_ms) for node in nodes or known]


def _look(
    db: apsw.Connection, node: NodeId, number: int, adopted_ms: int, now_ms: int
) -> Discarded:
    count = size = 0
    if may_discard_on(adopted_ms, now_ms):
        count, size = rows.fetch(
            db,
            "SELECT count(*), coalesce(sum(stored_length), 0) FROM quarantine WHERE node = ?"
            " AND since_ms <= ?",
            number,
            found_until_ms(now_ms),
        )
    if count:
        return Discarded(node, count, size, 0)
    oldest_ms = rows.fetch(db, "SELECT min(since_ms) FROM quarantine WHERE node = ?", number)[0]
    return Discarded(node, 0, 0, first_may_go_ms(oldest_ms, adopted_ms))


def _discard(tx: Transaction, actor: Call, found: Discarded, before_ms: int) -> None:
    tx.run(
        "UPDATE nodes SET discard_before_ms = ? WHERE name = ? AND adopted_ms <= ?",
        before_ms,
        found.node,
        before_ms,
    )
    detail = f"{found.copies} copies, {found.size_bytes} bytes"
    tx.audit(actor, "node-discard", found.node, detail)


def _count(tx: Transaction, node: int, copies: int, size_bytes: int) -> None:
    if copies:
        tx.run(
            "UPDATE nodes SET quarantined_copies = quarantined_copies + ?,"
            " quarantined_bytes = quarantined_bytes + ? WHERE id = ?",
            copies,
            size_bytes,
            node,
        )
