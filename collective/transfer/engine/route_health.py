"""What this process has learned about the ways to nodes: which are slow, and whether to relay.

Pure bookkeeping over an injected clock; no I/O.  It is kept for the life of an engine, so a hung node is
paid for once and not once a file.  The coordinator finds dead nodes by itself within seconds; hence
opinions expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.core.clock import Clock
from collective.core.ids import SpiffeId
from collective.model.transfers import Route, RouteMode

AVOID_FOR_S: Final = 30.0
"""How long a node that did not answer is avoided."""
RELAY_AFTER_NODES: Final = 2
"""Nodes that cannot be reached directly, with none ever having been, before relay is tried."""


class NodeHealth:
    """Signs of life of each node, and which ones to avoid."""

    def __init__(self, clock: Clock) -> None:
        """Know nothing yet."""
        self._clock = clock
        self._seen: dict[SpiffeId, float] = {}
        self._avoid: dict[SpiffeId, float] = {}

    def alive(self, node: SpiffeId) -> None:
        """Note that ``node`` moved bytes or answered just now."""
        self._seen[node] = self._clock.monotonic_s()
        self._avoid.pop(node, None)

    def avoid(self, node: SpiffeId) -> None:
        """Avoid ``node`` for a while: it hangs or cannot be reached."""
        self._avoid[node] = self._clock.monotonic_s() + AVOID_FOR_S

    def forgive(self, node: SpiffeId) -> None:
        """Hold nothing against ``node`` any more; it may be reached another way."""
        self._avoid.pop(node, None)

    def is_avoided(self, node: SpiffeId) -> bool:
        """Whether ``node`` should be avoided now."""
        until = self._avoid.get(node)
        if until is None:
            return False
        if until <= self._clock.monotonic_s():
            del self._avoid[node]
            return False
        return True

    def avoided(self) -> tuple[SpiffeId, ...]:
        """Return every node to avoid now, sorted."""
        return tuple(sorted(node for node in tuple(self._avoid) if self.is_avoided(node)))

    def silent_s(self, node: SpiffeId, since_s: float) -> float:
        """Return seconds without a sign of life from ``node``, counted from ``since_s`` at most."""
        return self._clock.monotonic_s() - max(since_s, self._seen.get(node, since_s))

    def best_first(self, routes: Sequence[Route]) -> list[Route]:
        """Return ``routes`` with those over avoided nodes last, else in the order given."""
        if not self._avoid:
            return list(routes)
        return sorted(
            routes, key=lambda route: any(self.is_avoided(node) for node in route.storing)
        )


class RouteChoice:
    """Direct first; relay when no node can be reached directly; remembered for the life of the engine.

    One node that refuses is dead; several, with none that ever answered, mean that there is no
    direct way.
    """

    def __init__(
        self, health: NodeHealth, *, may_relay: bool = True, relay_after: int = RELAY_AFTER_NODES
    ) -> None:
        """Begin with direct; what ``health`` holds against nodes is forgotten on the change.

        ``relay_after``: nodes that could not be reached before relay is tried.
        """
        self._health = health
        self._relay_after = relay_after
        self._may_relay = may_relay
        self._direct_worked = False
        self._meanwhile = False
        """Whether relay is used because no direct attempt has come to an end yet."""
        self._unreached: set[SpiffeId] = set()

    @property
    def mode(self) -> RouteMode:
        """The mode to ask the coordinator for."""
        return RouteMode.RELAY if self._is_cut_off or self._meanwhile else RouteMode.DIRECT

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet if there is a direct way, and another could be gone."""
        return self._may_relay and not self._direct_worked and not self._is_cut_off

    @property
    def _is_cut_off(self) -> bool:
        is_missed = not self._direct_worked and len(self._unreached) >= self._relay_after
        return is_missed and self._may_relay

    def is_outdated(self, route: Route) -> bool:
        """Whether ``route`` begins at a node, where it was found meanwhile that none can be reached.

        One that passes a coordinator never is: to a peer's nodes there may be no other.
        """
        return route.mode is RouteMode.DIRECT and self.mode is RouteMode.RELAY

    def worked(self, mode: RouteMode) -> None:
        """Note that the first hop of a route of ``mode`` was reached."""
        if mode is RouteMode.DIRECT:
            self._direct_worked = True
            self._meanwhile = False

    def relay_meanwhile(self) -> None:
        """Relay until a direct attempt that is under way comes to an end."""
        if self.is_open:
            self._meanwhile = True

    def missed(self, node: SpiffeId) -> None:
        """Note that a direct attempt has come to its end without ``node``."""
        self._meanwhile = False
        self.unreachable(RouteMode.DIRECT, node)

    def unreachable(self, mode: RouteMode, node: SpiffeId | None) -> None:
        """Note that ``node`` could not be reached; it is avoided, or relay begins."""
        before = self.mode
        if mode is not before:  # by now it goes another way, which says nothing against the node
            return
        if node is None:
            return
        self._health.avoid(node)
        if mode is RouteMode.DIRECT:
            self._unreached.add(node)
        if self.mode is not before:
            self._forgive()

    def relay_to_the_rest(self) -> bool:
        """Relay from now on if nodes were not reached, fewer than it takes, and none ever was.

        For when there are too few without them: whether they are dead is then the coordinator's to find out.
        Return whether it begins.
        """
        before = self.mode
        if self._unreached:
            self._relay_after = min(self._relay_after, len(self._unreached))
        if self.mode is before:
            return False
        self._forgive()
        return True

    def _forgive(self) -> None:
        for node in self._unreached:
            self._health.forgive(node)
