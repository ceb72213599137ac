"""Chunks with all that is known of their copies, found by what may be wrong with them.

Each search goes along one index, a bounded number of rows at a time, and says where the next one goes
on: what cannot be helped now is passed, and hides nothing behind it.  The bound is on what is looked
at, not on what is found.
"""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import apsw

from collective.catalog.decisions.copies import facts_now
from collective.catalog.interface.values import ChunkPage
from collective.catalog.sqlite.collection.dooming import CORRUPT
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.references import DUE, IN_USE
from collective.catalog.sqlite.store.rows import STORED
from collective.core import limits
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import ChunkCopies, CopyState, GivenUp, HeldCopy
from collective.model.nodes import Standing
from collective.placement.healing import NodeFacts

UNCLAIMED: Final = "NOT EXISTS (SELECT 1 FROM repairs r WHERE r.chunk = k.id)"
LOOKED_AT: Final = 500
"""Copies of a node that one search looks at, whatever their state."""

_ENDS: Final = (
    "SELECT n.id, (SELECT c.chunk FROM copies c WHERE c.node = n.id ORDER BY c.chunk LIMIT 1),"
    " (SELECT c.chunk FROM copies c WHERE c.node = n.id ORDER BY c.chunk DESC LIMIT 1)"
    " FROM nodes n WHERE n.name = ?"
)
"""Each end by itself: asked for both, ``min`` and ``max`` read all copies of the node."""
_SHORT: Final = "SELECT 1 FROM chunks WHERE stored < wanted AND stored = ? LIMIT 1"
_COPIES_ON: Final = (
    "SELECT c.chunk, c.state FROM nodes n JOIN copies c ON c.node = n.id WHERE n.name = ?"
    " AND c.chunk > ? ORDER BY c.chunk LIMIT ?"
)


def short_counts(db: apsw.Connection) -> frozenset[int]:
    """Return the numbers of stored copies that some chunk has, and wants more."""
    return frozenset(
        stored for stored in range(limits.COPIES_MAX) if rows.fetch(db, _SHORT, stored) is not None
    )


def search(db: apsw.Connection, now_ms: int, sql: str, *params: Any) -> ChunkPage:
    """Return the chunks in use among those that ``sql`` finds; the last of ``params`` is its limit."""
    rows_found: Any = db.execute(sql, params).fetchall()
    found: list[int] = [row for (row,) in rows_found]
    is_end = len(found) < params[-1]
    return ChunkPage(_in_use(db, found, now_ms), None if is_end else found[-1])


def chunks_on(db: apsw.Connection, node: NodeId, after: int, limit: int, now_ms: int) -> ChunkPage:
    """Return chunks with a stored copy on ``node``, of a bounded part of its copies."""
    found: list[int] = []
    seen, last = 0, after
    copies: Any = db.execute(_COPIES_ON, (node, after, LOOKED_AT))
    for last, state in copies:
        seen += 1
        if state == STORED:
            found.append(last)
        if len(found) == limit:
            break
    is_end = seen < LOOKED_AT and len(found) < limit
    return ChunkPage(_in_use(db, found, now_ms), None if is_end else last)


def sample_on(
    db: apsw.Connection, node: NodeId, at: float, limit: int, now_ms: int
) -> Sequence[ChunkCopies]:
    """Return up to ``limit`` chunks with a stored copy on ``node``.

    ``at`` (0 to 1) says where among them to begin; drawn at random, it gives a random copy.
    """
    ends = rows.fetch(db, _ENDS, node)
    if ends is None or ends[1] is None:
        return []
    number, first, last = ends
    begin = first + int((last - first + 1) * at)
    drawn = _stored_from(db, number, begin, limit) or _stored_from(db, number, first, limit)
    return [one for _, one in load_chunks(db, drawn, now_ms)]


def known_copies(db: apsw.Connection, chunk: ChunkId, now_ms: int) -> Sequence[ChunkCopies]:
    """Return what is known of the copies of ``chunk``, for each stored length that was named."""
    found: Any = db.execute("SELECT id FROM chunks WHERE hash = ?", (chunk,)).fetchall()
    return [one for _, one in load_chunks(db, [row for (row,) in found], now_ms)]


def _stored_from(db: apsw.Connection, node: int, begin: int, limit: int) -> list[int]:
    """Return the first chunks from ``begin`` on with a stored copy on a node, of a bounded part."""
    looked_at: Any = db.execute(
        "SELECT chunk, state FROM copies WHERE node = ? AND chunk >= ? ORDER BY chunk LIMIT ?",
        (node, begin, LOOKED_AT),
    )
    return list(islice((chunk for chunk, state in looked_at if state == STORED), limit))


def _in_use(db: apsw.Connection, ids: Iterable[int], now_ms: int) -> list[ChunkCopies]:
    return [one for _, one in load_chunks(db, ids, now_ms) if one.is_in_use]


def load_chunks(
    db: apsw.Connection, ids: Iterable[int], now_ms: int
) -> list[tuple[int, ChunkCopies]]:
    """Return the chunks with these rows that are not claimed by a repair, with their copies."""
    wanted = json.dumps(list(ids))
    found: Any = db.execute(
        f"SELECT k.id, k.hash, k.stored_length, k.wanted, {IN_USE}, {DUE} FROM chunks k"
        f" WHERE k.id IN (SELECT value FROM json_each(?)) AND {UNCLAIMED} ORDER BY k.id",
        (now_ms, wanted),
    ).fetchall()
    copies: dict[int, list[HeldCopy]] = {}
    held: Any = db.execute(
        "SELECT c.chunk, n.name, c.generation, c.state FROM copies c JOIN nodes n ON n.id = c.node"
        " WHERE c.chunk IN (SELECT value FROM json_each(?)) AND n.removed = 0"
        " ORDER BY c.chunk, c.node",
        (wanted,),
    )
    for chunk, node, generation, state in held:
        copies.setdefault(chunk, []).append(
            HeldCopy(NodeId(node), Generation(generation), CopyState(state))
        )
    given: dict[int, list[GivenUp]] = {}
    doomed: Any = db.execute(
        "SELECT k.id, n.name, d.generation, d.guard FROM chunks k JOIN doomed d ON d.hash = k.hash"
        " AND d.stored_length = k.stored_length AND d.guard > 0 JOIN nodes n ON n.id = d.node"
        " WHERE k.id IN (SELECT value FROM json_each(?)) AND n.removed = 0"
        " ORDER BY d.node, d.generation",
        (wanted,),
    )
    for chunk, node, generation, guard in doomed:
        given.setdefault(chunk, []).append(
            GivenUp(NodeId(node), Generation(generation), guard == CORRUPT)
        )
    return [
        (
            row,
            ChunkCopies(
                ChunkId(chunk_id),
                length,
                want,
                tuple(copies.get(row, ())),
                tuple(given.get(row, ())),
                is_in_use=bool(is_in_use),
                is_due=bool(is_due),
            ),
        )
        for row, chunk_id, length, want, is_in_use, is_due in found
    ]


def load_chunk(
    db: apsw.Connection, like: ChunkCopies, now_ms: int
) -> tuple[int, ChunkCopies] | None:
    """Return row and copies of the chunk of ``like`` as they are now; None if it is claimed or gone."""
    row = rows.fetch(
        db,
        "SELECT id FROM chunks WHERE hash = ? AND stored_length = ?",
        like.chunk,
        like.stored_length,
    )
    found = [] if row is None else load_chunks(db, [row[0]], now_ms)
    return found[0] if found else None


def present_facts(
    db: apsw.Connection, facts: Mapping[NodeId, NodeFacts]
) -> dict[NodeId, NodeFacts]:
    """Return ``facts`` with what the catalogue knows of each node at this moment."""
    found: Any = db.execute(
        "SELECT name, standing, draining OR removed OR removing OR refused <> '' FROM nodes"
    ).fetchall()
    return {
        NodeId(name): facts_now(facts[NodeId(name)], Standing(standing), is_going=bool(is_going))
        for name, standing, is_going in found
        if NodeId(name) in facts
    }
