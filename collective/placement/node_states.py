"""The life of a node as its coordinator sees it: up, suspect, down, lost; draining; refused.

Ages are monotonic and count from the last heartbeat, the coordinator's start or the node's enrolment, whichever
is later: a coordinator that was off for a day does not begin by declaring everyone lost, and a node that has just
enrolled is suspect until it is heard.  If over a
third of the approved nodes fell silent together, the fault is more likely ours (a switch, a power
cut): then nothing is declared lost for repair until they return or the operator removes them.  Nodes
on probation or doubted have no part in that: falling silent, they would hold repair back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from collective.core import limits
from collective.core.ids import NodeId
from collective.model.nodes import NodeState, ShownState, Standing

TOGETHER_WINDOW_S: Final = 120.0
"""Nodes whose silence began within so many seconds of each other vanished together."""
_VANISHED_DIVISOR: Final = 3


@dataclass(frozen=True, slots=True)
class Timers:
    """After how many seconds of silence a node changes state; ascending."""

    suspect_after_s: float = limits.NODE_SUSPECT_AFTER_S
    down_after_s: float = limits.NODE_DOWN_AFTER_S
    lost_after_s: float = limits.NODE_LOST_AFTER_S


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of one node that is enrolled and not removed."""

    node: NodeId
    last_heartbeat_s: float | None
    """Monotonic seconds; None if it has not been heard since the coordinator started."""
    draining: bool = False
    refused: bool = False
    """Its certificate was revoked, or it came with another store."""
    standing: Standing = Standing.APPROVED
    known_s: float = -math.inf
    """Monotonic second from which it can have been heard: since its enrolment, where that was after the start."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The nodes by use, derived from one snapshot."""

    states: Mapping[NodeId, NodeState]
    sources: frozenset[NodeId]
    """Copies here can be read and copied from."""
    gone: frozenset[NodeId]
    """Copies here do not count any more: lost, refused, doubted or (being emptied) draining."""
    vanished_together: frozenset[NodeId]
    """Not empty: repair of silent nodes waits, and the operator is told."""


def silent_since_s(seen: Observation, started_s: float) -> float:
    """Return the monotonic second from which the node's silence counts."""
    heard_s = -math.inf if seen.last_heartbeat_s is None else seen.last_heartbeat_s
    return max(heard_s, seen.known_s, started_s)


def state_of(seen: Observation, *, now_s: float, started_s: float, timers: Timers) -> NodeState:
    """Return the state of one node at ``now_s`` (monotonic seconds)."""
    if seen.refused:
        return NodeState.REFUSED
    age_s = now_s - silent_since_s(seen, started_s)
    if age_s >= timers.lost_after_s:
        return NodeState.LOST
    if age_s >= timers.down_after_s:
        return NodeState.DOWN
    if age_s >= timers.suspect_after_s or seen.last_heartbeat_s is None:
        return NodeState.SUSPECT
    return NodeState.DRAINING if seen.draining else NodeState.UP


def shown(state: NodeState, standing: Standing) -> ShownState:
    """Return what ``status`` says of a node: of one that is up, its standing where not approved."""
    if state is NodeState.UP and standing is not Standing.APPROVED:
        return ShownState(standing.value)
    return ShownState(state.value)


def vanished_together(silences_s: Mapping[NodeId, float], total: int) -> frozenset[NodeId]:
    """Return the largest group that fell silent within the window, if over a third of ``total``.

    Args:
        silences_s: approved nodes that are down or lost, with the second their silence began.
        total: nodes that are enrolled, approved and not removed.
    """
    ordered = sorted(silences_s.items(), key=lambda item: (item[1], item[0]))
    best: Sequence[tuple[NodeId, float]] = ()
    first = 0
    for last in range(len(ordered)):
        while ordered[last][1] - ordered[first][1] > TOGETHER_WINDOW_S:
            first += 1
        if last + 1 - first > len(best):
            best = ordered[first : last + 1]
    if len(best) * _VANISHED_DIVISOR <= total:
        return frozenset()
    return frozenset(node for node, _ in best)


def look(
    observations: Sequence[Observation], *, now_s: float, started_s: float, timers: Timers
) -> Outlook:
    """Return every node's state and what follows from them together."""
    states = {
        seen.node: state_of(seen, now_s=now_s, started_s=started_s, timers=timers)
        for seen in observations
    }
    approved = [seen for seen in observations if seen.standing is Standing.APPROVED]
    silences_s = {
        seen.node: silent_since_s(seen, started_s)
        for seen in approved
        if states[seen.node] in {NodeState.DOWN, NodeState.LOST}
    }
    together = vanished_together(silences_s, len(approved))
    doubted = frozenset(seen.node for seen in observations if seen.standing is Standing.DOUBTED)
    draining = frozenset(seen.node for seen in observations if seen.draining)
    lost = frozenset(node for node, state in states.items() if state is NodeState.LOST)
    refused = frozenset(node for node, state in states.items() if state is NodeState.REFUSED)
    held_back = lost if together else frozenset()
    return Outlook(
        states=states,
        sources=frozenset(
            node for node, state in states.items() if state in {NodeState.UP, NodeState.DRAINING}
        ),
        gone=(lost - held_back) | refused | doubted | draining,
        vanished_together=together,
    )
