"""Choosing the nodes that shall hold the copies of one chunk.

Invariants: never two copies of a chunk on one node; never a node that is excluded, not accepting,
or without room for the chunk above its reserve.  Nodes are drawn without replacement, weighted by
free bytes, so that a fresh large node takes more without taking everything.

Source: P. Efraimidis and P. Spirakis, "Weighted random sampling with a reservoir" (2006).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from collective.core.ids import NodeId

RESERVE_FRACTION: Final = 0.01
"""Part of a node's capacity that stays free, for packs, temporaries and stale figures."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One node as placement sees it."""

    node: NodeId
    free_bytes: int
    """Capacity minus used minus what was promised since the last heartbeat; may be negative."""
    capacity_bytes: int
    accepts: bool
    """Up, not draining, and its ticket key is known to both sides."""


def has_room(candidate: Candidate, length_bytes: int) -> bool:
    """Tell whether ``length_bytes`` more fit on the node above its reserve."""
    reserve = int(candidate.capacity_bytes * RESERVE_FRACTION)
    return candidate.free_bytes - reserve >= length_bytes


def choose(
    candidates: Iterable[Candidate],
    *,
    length_bytes: int,
    count: int,
    exclude: AbstractSet[NodeId],
    uniform: Callable[[], float],
) -> tuple[NodeId, ...]:
    """Return up to ``count`` distinct nodes for one chunk, the first hop first.

    Args:
        candidates: the nodes of the member; the last record of a node that stands twice counts.
        length_bytes: stored length of the chunk.
        count: copies wanted, >= 0.
        exclude: nodes that hold the chunk, may hold it, or did not answer.
        uniform: draws from [0, 1); the same sequence gives the same answer for the same snapshot.

    Returns:
        Fewer than ``count`` nodes where fewer qualify; the caller decides whether that is enough.
    """
    fit = {
        candidate.node: candidate
        for candidate in candidates
        if candidate.accepts and candidate.node not in exclude
    }
    drawn: list[tuple[float, NodeId]] = []
    for node in sorted(fit):
        candidate = fit[node]
        if not has_room(candidate, length_bytes):
            continue
        weight = max(candidate.free_bytes, 1)
        # The key u^(1/w) in logarithms, since w is in the billions.
        drawn.append((math.log(1.0 - uniform()) / weight, node))
    drawn.sort(reverse=True)
    return tuple(node for _, node in drawn[: max(count, 0)])
