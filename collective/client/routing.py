"""What this client has learned about the ways to nodes: who is slow, and whether to relay.

Pure bookkeeping over an injected clock; no I/O.  It is kept for the life of one
:class:`~collective.client.collective.Collective`, so a hung node is paid for once and not once a
file.  The coordinator finds dead nodes by itself within seconds; hence opinions expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.core import limits
from collective.core.clock import Clock
from collective.rpc.gen.collective.v1.transfer import Route, RouteMode
from collective.transfer.tickets.reading import read_ticket

AVOID_FOR_S: Final = 30.0
"""How long a node that did not answer is gone round."""
RELAY_AFTER_NODES: Final = 2
"""Nodes that cannot be reached directly, with none ever having been, before relay is tried."""


def storing_nodes(route: Route) -> tuple[str, ...]:
    """Return the SPIFFE ids of the hops that keep or hold a copy, first hop first."""
    tickets = [read_ticket(hop) for hop in route.hops[: limits.ROUTE_MAX_HOPS]]
    return tuple(ticket.node for ticket in tickets if not ticket.forward_only)


def mode_of(route: Route) -> RouteMode:
    """Return the mode that ``route`` was planned for."""
    first = storing_nodes(route)[:1]
    return RouteMode.DIRECT if first == (route.first_node,) else RouteMode.RELAY


class NodeHealth:
    """Signs of life of each node, and which ones to go round."""

    def __init__(self, clock: Clock) -> None:
        """Know nothing yet."""
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._avoid: dict[str, float] = {}

    def alive(self, node: str) -> None:
        """Note that ``node`` moved bytes or answered just now."""
        self._seen[node] = self._clock.monotonic_s()
        self._avoid.pop(node, None)

    def avoid(self, node: str) -> None:
        """Go round ``node`` for a while: it hangs or cannot be reached."""
        if node:
            self._avoid[node] = self._clock.monotonic_s() + AVOID_FOR_S

    def forgive(self, node: str) -> None:
        """Hold nothing against ``node`` any more; it may be reached another way."""
        self._avoid.pop(node, None)

    def is_avoided(self, node: str) -> bool:
        """Whether ``node`` should be gone round now."""
        until = self._avoid.get(node)
        if until is None:
            return False
        if until <= self._clock.monotonic_s():
            del self._avoid[node]
            return False
        return True

    def avoided(self) -> tuple[str, ...]:
        """Return every node to go round now, sorted."""
        return tuple(sorted(node for node in tuple(self._avoid) if self.is_avoided(node)))

    def silent_s(self, node: str, since_s: float) -> float:
        """Return seconds without a sign of life from ``node``, counted from ``since_s`` at most."""
        return self._clock.monotonic_s() - max(since_s, self._seen.get(node, since_s))

    def best_first(self, routes: Sequence[Route]) -> list[Route]:
        """Return ``routes`` with those over avoided nodes last, else in the order given."""
        if not self._avoid:
            return list(routes)
        return sorted(
            routes, key=lambda route: any(self.is_avoided(node) for node in storing_nodes(route))
        )


class RouteChoice:
    """Direct first; relay when no node can be reached directly; remembered for the session.

    One node that refuses is dead; several, with none that ever answered, mean that there is no
    direct way.
    """

    def __init__(self, health: NodeHealth) -> None:
        """Begin with direct; what ``health`` holds against nodes is forgotten on the change."""
        self._health = health
        self._direct_worked = False
        self._unreached: set[str] = set()

    @property
    def mode(self) -> RouteMode:
        """The mode to ask the coordinator for."""
        if not self._direct_worked and len(self._unreached) >= RELAY_AFTER_NODES:
            return RouteMode.RELAY
        return RouteMode.DIRECT

    def worked(self, mode: RouteMode) -> None:
        """Note that the first hop of a route of ``mode`` was reached."""
        if mode is RouteMode.DIRECT:
            self._direct_worked = True

    def unreachable(self, mode: RouteMode, node: str) -> None:
        """Note that ``node`` could not be reached; it is gone round, or relay begins."""
        before = self.mode
        if mode is not before:  # by now it goes another way, which says nothing against the node
            return
        self._health.avoid(node)
        if mode is RouteMode.DIRECT and node:
            self._unreached.add(node)
        if self.mode is not before:
            for other in self._unreached:
                self._health.forgive(other)
