"""How many chunks are short of copies or cannot be read, and what keeps nodes from being removed.

All of it follows from some hundred groups of chunks (``counting``), judged by what the nodes are worth when
the question is asked; what a node is worth changes no row.  A chunk counts as in use from its first
recorded extent until collection has cleared its last one: so figures may hold for a while what was just
removed.  Whether a node may go is decided exactly, elsewhere (``removal``).
"""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import apsw

from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.counting import WHOLE, groups
from collective.catalog.sqlite.store.references import DUE, OF_FILES, TRUSTED
from collective.core.ids import NodeId
from collective.model.nodes import Standing
from collective.placement import chunk_safety
from collective.placement.chunk_safety import Group, Use

Groups: TypeAlias = Sequence[tuple[str, Group]]

LOOKED_AT: Final = 20_000
"""Chunks of open uploads that one counting looks at; what is beyond them counts as short."""

_SHARED: Final = (
    f"SELECT k.wanted, k.spread, {DUE}, {OF_FILES} FROM"
    " (SELECT DISTINCT chunk FROM pins ORDER BY chunk LIMIT ?) p"
    f" CROSS JOIN chunks k ON k.id = p.chunk WHERE k.use = {int(Use.SHARED)}"
    " AND (k.wanted, k.spread) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
)
_IN_DATASTORE: Final = " AND EXISTS (SELECT 1 FROM held h WHERE h.chunk = k.id AND h.datastore = ?)"


@dataclass(frozen=True, slots=True)
class Nodes:
    """What the nodes are worth at one moment."""

    standings: Mapping[NodeId, Standing]
    trusted: AbstractSet[NodeId]
    """Their copies count towards a quorum."""
    draining: AbstractSet[NodeId]

    @property
    def trusted_standings(self) -> Mapping[NodeId, Standing]:
        """The standings of those that are trusted."""
        return {node: self.standings[node] for node in self.trusted}


@dataclass(frozen=True, slots=True)
class Counted:
    """How many chunks of files there are, and how many of them lack copies."""

    chunks: int
    short: int
    unavailable: int
    """Without any copy that can be read now."""


def short_by_standing(db: apsw.Connection) -> frozenset[NodeId]:
    """Return nodes on probation with chunks that have enough copies, too few of which count."""
    standings = nodes_now(db).standings
    if Standing.PROBATION not in standings.values():
        return frozenset()
    return chunk_safety.short_by_standing((group for _, group in groups(db)), standings)


def count_chunks(
    db: apsw.Connection, usable: AbstractSet[NodeId], now_ms: int, datastores: Iterable[int]
) -> Counted:
    """Count chunks, those short of copies, and those without any, on nodes that can be used now.

    Args:
        db: in a read transaction.
        usable: nodes that can be used.
        now_ms: the time.
        datastores: which are counted; a chunk that several hold counts in each.  Or WHOLE alone.
    """
    nodes = nodes_now(db)
    ignored = nodes.standings.keys() - usable
    found = [
        count(db, nodes, groups(db, one), ignored, usable, now_ms, datastore=one)
        for one in datastores
    ]
    return Counted(
        sum(one.chunks for one in found),
        sum(one.short for one in found),
        sum(one.unavailable for one in found),
    )


def backlog(
    db: apsw.Connection,
    nodes: Nodes,
    found: Groups,
    lost: AbstractSet[NodeId],
    now_ms: int,
) -> int:
    """Count the chunks that are short of copies on nodes that are not ``lost``."""
    ignored = lost | nodes.draining | (nodes.standings.keys() - nodes.trusted)
    return count(db, nodes, found, ignored, nodes.standings.keys(), now_ms).short


def count(
    db: apsw.Connection,
    nodes: Nodes,
    found: Groups,
    ignored: AbstractSet[NodeId],
    usable: AbstractSet[NodeId],
    now_ms: int,
    *,
    datastore: int = WHOLE,
) -> Counted:
    """Count chunks in groups: all, short without what is on ``ignored``, unreadable on ``usable``."""
    chunks = short = unavailable = 0
    shared: dict[tuple[int, str], tuple[int, bool, bool]] = {}
    for spread, group in found:
        lacks = chunk_safety.is_short(group, nodes.standings, ignored)
        is_lost = not chunk_safety.is_readable(group, usable)
        chunks += group.chunks
        if group.use is Use.FILED:
            short += lacks * group.chunks
            unavailable += is_lost * group.chunks
        elif group.use is Use.SHARED and (lacks or is_lost):
            shared[group.wanted, spread] = group.chunks, lacks, is_lost
    beyond = {key: count for key, (count, _, _) in shared.items()}
    for wanted, spread, is_due, is_of_file in _shared(db, shared.keys(), now_ms, datastore):
        _, lacks, is_lost = shared[wanted, spread]
        beyond[wanted, spread] -= 1
        short += lacks and bool(is_due)
        unavailable += is_lost and bool(is_of_file)
    short += sum(count for key, count in beyond.items() if shared[key][1])
    return Counted(chunks, short, unavailable)


def _shared(
    db: apsw.Connection, which: AbstractSet[tuple[int, str]], now_ms: int, datastore: int
) -> Any:
    """Return what extents and open uploads name, one by one: it may be a file's or be sent just now."""
    if not which:
        return ()
    params = (now_ms, LOOKED_AT, json.dumps([list(one) for one in which]))
    if datastore == WHOLE:
        return db.execute(_SHARED, params)
    return db.execute(_SHARED + _IN_DATASTORE, (*params, datastore))


def guarded(db: apsw.Connection) -> int:
    """Count the copies that are given up and guarded."""
    return int(rows.fetch(db, "SELECT coalesce(sum(guarded), 0) FROM nodes")[0])


def nodes_now(db: apsw.Connection) -> Nodes:
    """Return what the nodes are worth now."""
    found: Any = db.execute(
        f"SELECT n.name, n.standing, {TRUSTED}, n.draining FROM nodes n"
    ).fetchall()
    return Nodes(
        {NodeId(name): Standing(standing) for name, standing, _, _ in found},
        {NodeId(name) for name, _, is_trusted, _ in found if is_trusted},
        {NodeId(name) for name, _, _, is_draining in found if is_draining},
    )
