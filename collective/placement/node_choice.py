"""Choosing the nodes that shall hold the copies of one chunk.

Invariants: never two copies of a chunk on one node; never a node that is excluded, doubted, not
accepting, or without room for the chunk above its reserve; among the copies those on nodes on
probation stay a minority.  Nodes are drawn without replacement, weighted by free bytes, so that a
fresh large node takes more without taking everything; what a node on probation claims to have weighs
at most as much as the largest approved node.

What is drawn and what is decided are apart: a draw is random and needs no knowledge of the chunk but
its length (:meth:`Drawing.offers`), :func:`pick` is pure.  So a catalogue can pick within a transaction, by what it
knows then, from nodes that were drawn before it.

Source: P. Efraimidis and P. Spirakis, "Weighted random sampling with a reservoir" (2006).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from collective.core.ids import ChunkId, NodeId
from collective.model.nodes import Standing
from collective.placement.quorum import probation_room

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
    standing: Standing = Standing.APPROVED


@dataclass(frozen=True, slots=True)
class Held:
    """The copies of a chunk that are there or under way, and how many it shall have."""

    copies: int
    """Wanted in all."""
    approved: int = 0
    """On approved nodes."""
    on_probation: int = 0
    """On nodes on probation."""


def has_room(candidate: Candidate, length_bytes: int) -> bool:
    """Tell whether ``length_bytes`` more fit on the node above its reserve."""
    return candidate.free_bytes - _reserve(candidate) >= length_bytes


def waiting_for_approval(
    candidates: Iterable[Candidate], *, length_bytes: int, exclude: AbstractSet[NodeId]
) -> tuple[NodeId, ...]:
    """Return the nodes on probation that would take ``length_bytes``, in order of id."""
    return tuple(
        sorted(
            one.node
            for one in candidates
            if one.standing is Standing.PROBATION
            and one.accepts
            and one.node not in exclude
            and has_room(one, length_bytes)
        )
    )


def choose(
    candidates: Iterable[Candidate],
    *,
    length_bytes: int,
    count: int,
    exclude: AbstractSet[NodeId],
    held: Held,
    uniform: Callable[[], float],
) -> tuple[NodeId, ...]:
    """Return up to ``count`` distinct nodes for one chunk, the first hop first.

    Args:
        candidates: the nodes of the member; the last record of a node that stands twice counts.
        length_bytes: stored length of the chunk.
        count: copies wanted, >= 0.
        exclude: nodes that hold the chunk, may hold it, or did not answer.
        held: the copies that there are already.
        uniform: draws from [0, 1); the same sequence gives the same answer for the same snapshot.

    Returns:
        Fewer than ``count`` nodes where fewer qualify; the caller decides whether that is enough.
    """
    drawn = _draw(_weighted(candidates), length_bytes, uniform)
    standings = [(one.node, one.standing) for one in drawn]
    return pick(standings, count=count, exclude=exclude, held=held)


def pick(
    drawn: Iterable[tuple[NodeId, Standing]],
    *,
    count: int,
    exclude: AbstractSet[NodeId],
    held: Held,
) -> tuple[NodeId, ...]:
    """Return up to ``count`` of the nodes that were drawn, in their order; see :func:`choose`."""
    fit = [
        (node, standing)
        for node, standing in drawn
        if node not in exclude and standing is not Standing.DOUBTED
    ]
    approved = sum(1 for _, standing in fit if standing is Standing.APPROVED)
    left = _most_on_probation(max(count, 0), approved, held)
    chosen: list[NodeId] = []
    for node, standing in fit:
        if len(chosen) >= count:
            break
        if standing is Standing.PROBATION:
            if not left:
                continue
            left -= 1
        chosen.append(node)
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class Offers:
    """Nodes for the chunks of a batch, drawn before it is decided which of them get a copy."""

    drawn: Mapping[tuple[ChunkId, int], Sequence[NodeId]]
    """For each chunk, by id and stored length, those that can take it, in order of preference."""
    room_bytes: Mapping[NodeId, int]
    """What fits on each above its reserve, all chunks of the batch together; unbounded if not named."""


class Drawing:
    """Draws for one chunk after another from one snapshot, less what it has given since."""

    def __init__(self, candidates: Iterable[Candidate], uniform: Callable[[], float]) -> None:
        """Draw by ``uniform`` from ``candidates``."""
        self._candidates = {candidate.node: candidate for candidate in candidates}
        self._uniform = uniform

    def choose(
        self, length_bytes: int, count: int, *, exclude: AbstractSet[NodeId], held: Held
    ) -> tuple[NodeId, ...]:
        """Return what :func:`choose` does, and count it as given."""
        chosen = choose(
            self._candidates.values(),
            length_bytes=length_bytes,
            count=count,
            exclude=exclude,
            held=held,
            uniform=self._uniform,
        )
        for node in chosen:
            before = self._candidates[node]
            left = before.free_bytes - length_bytes
            self._candidates[node] = replace(before, free_bytes=left)
        return chosen

    def offers(self, chunks: Iterable[tuple[ChunkId, int]]) -> Offers:
        """Return the nodes for ``chunks`` (id and stored length), as drawn for each."""
        fit = _weighted(self._candidates.values())
        drawn = {
            (chunk, length): [one.node for one in _draw(fit, length, self._uniform)]
            for chunk, length in chunks
        }
        room = {one.node: one.free_bytes - _reserve(one) for one, _ in fit}
        return Offers(drawn, room)


def _reserve(candidate: Candidate) -> int:
    return int(candidate.capacity_bytes * RESERVE_FRACTION)


def _weighted(candidates: Iterable[Candidate]) -> Sequence[tuple[Candidate, int]]:
    """Return the nodes that take copies, in order of id, and the weight of each."""
    known = {candidate.node: candidate for candidate in candidates}
    largest = max(
        (one.capacity_bytes for one in known.values() if one.standing is Standing.APPROVED),
        default=0,
    )
    found = []
    for _, one in sorted(known.items()):
        weight = max(one.free_bytes, 1)
        if one.standing is Standing.PROBATION:
            weight = min(weight, max(largest, 1))
        if one.accepts and one.standing is not Standing.DOUBTED:
            found.append((one, weight))
    return found


def _draw(
    fit: Iterable[tuple[Candidate, int]], length_bytes: int, uniform: Callable[[], float]
) -> Sequence[Candidate]:
    """Return the nodes that can take ``length_bytes``, in the order in which they were drawn."""
    # The key u^(1/w) in logarithms, since w is in the billions.
    drawn = [
        (math.log(1.0 - uniform()) / weight, one.node, one)
        for one, weight in fit
        if has_room(one, length_bytes)
    ]
    drawn.sort(key=lambda one: one[:2], reverse=True)
    return [one for _, _, one in drawn]


def _most_on_probation(count: int, approved: int, held: Held) -> int:
    """Return how many of ``count`` new copies may go to nodes on probation.

    Each takes the place of an approved one, so fewer approved ones make room for fewer of them.
    """
    for new in range(count, 0, -1):
        beside = held.approved + min(approved, count - new)
        room = probation_room(held.copies, approved=beside, on_probation=held.on_probation)
        if room >= new:
            return new
    return 0
