"""How safe chunks are, counted in groups: pure decisions over what is alike.

Whether a chunk is short of copies, can be read, or keeps a node from going follows from how many copies
it wants and which nodes have one in which state.  Chunks that agree in these are one *group*; with
twelve nodes and three copies there are some hundred groups, however many chunks.  What nodes are worth
at a moment is judged here, when the question is asked; nothing of it is kept with the groups.

The rules are those of ``evidence`` and ``healing``: this module counts, and decides nothing of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum

from collective.core.ids import NodeId
from collective.model.copies import CopyState
from collective.model.nodes import Standing
from collective.placement.quorum import count, quorum_of

Standings = Mapping[NodeId, Standing]


class Use(IntEnum):
    """What names a chunk; the numbers are the catalogue's."""

    PINNED = 1
    """Open uploads alone, in no extent yet."""
    SHARED = 2
    """Extents and open uploads: the extents may be a file's, or of what is being sent."""
    FILED = 3
    """Extents of files, of old versions that are kept, and of what is not cleared away yet."""


@dataclass(frozen=True, slots=True)
class Group:
    """Chunks that are alike in all that matters here."""

    use: Use
    wanted: int
    copies: tuple[tuple[NodeId, CopyState], ...]
    """Every copy but intents."""
    chunks: int


def live(group: Group, standings: Standings, ignored: AbstractSet[NodeId]) -> int:
    """Return how many copies of each chunk count.

    Args:
        group: the chunks.
        standings: of every node; copies on doubted ones count for nothing.
        ignored: nodes whose copies do not count now either.
    """
    return count(
        standings.get(node, Standing.DOUBTED)
        for node, state in group.copies
        if state is CopyState.STORED and node not in ignored
    )


def is_short(group: Group, standings: Standings, ignored: AbstractSet[NodeId]) -> bool:
    """Tell whether fewer copies count than the chunks want."""
    return live(group, standings, ignored) < group.wanted


def short_by_standing(groups: Iterable[Group], standings: Standings) -> frozenset[NodeId]:
    """Return the nodes on probation with copies of chunks that have enough of them, and too few that count.

    Such a chunk lacks nothing by its number of copies, and no node has to go for its sake: among its
    copies those on probation are no minority, since others went or fewer are asked for.
    """
    return frozenset(
        node
        for group in groups
        if sum(state is CopyState.STORED for _, state in group.copies) >= group.wanted
        and is_short(group, standings, frozenset())
        for node, state in group.copies
        if state is CopyState.STORED and standings.get(node) is Standing.PROBATION
    )


def is_readable(group: Group, usable: AbstractSet[NodeId]) -> bool:
    """Tell whether a stored copy is on a node that can be read from, doubted or not."""
    return any(state is CopyState.STORED and node in usable for node, state in group.copies)


def copies_left(groups: Iterable[Group], trusted: Standings) -> Mapping[NodeId, int]:
    """Count the copies that keep each node from being removed.

    Those are the stored ones, and missing and doubted ones where the copies elsewhere are no quorum:
    they may be the last.

    Args:
        groups: the chunks in use.
        trusted: the standing of each node whose copies count for others.
    """
    left: Counter[NodeId] = Counter()
    for group in groups:
        for node, state in group.copies:
            if state is CopyState.STORED or _elsewhere(group, node, trusted) < quorum_of(
                group.wanted
            ):
                left[node] += group.chunks
    return left


def _elsewhere(group: Group, node: NodeId, trusted: Standings) -> int:
    return count(
        trusted[other]
        for other, state in group.copies
        if other != node and state is CopyState.STORED and other in trusted
    )


def in_doubt(groups: Iterable[Group]) -> int:
    """Count the copies that are doubted."""
    return sum(
        group.chunks for group in groups for _, state in group.copies if state is CopyState.DOUBTED
    )
