"""Whether this process goes to nodes directly or has a coordinator relay: decided here, from what attempts showed.

Pure bookkeeping, no I/O; :mod:`~.direct_trial` makes the attempts.
"""

from __future__ import annotations

from typing import Final

from collective.core.ids import SpiffeId
from collective.model.routes import Route, RouteMode
from collective.transfer.engine.node_health import NodeHealth

RELAY_AFTER_NODES: Final = 2
"""Nodes that cannot be reached directly, with none ever having been, before relay is tried."""
CUT_OFF_FOR_S: Final = 600.0
"""How long nodes that were not reached say that there is no direct way."""
RELAYED_FIRST: Final = 8
"""Relayed answers after which a hint that there is no direct way is put to the test: what ends before
gains nothing by a direct way."""


class RouteChoice:
    """Direct first; relay where no node can be reached directly; remembered for the life of the engine.

    One node that cannot be reached is dead; several, with none that ever answered, mean that there is
    no direct way: this process is *cut off*, for ten minutes.  So it is where of all nodes that ever
    answered none can be reached any more: a machine is carried from one network to another.  While an attempt is *overdue*, transfers are relayed, and
    whether there is a direct way stays open until it ends.
    """

    def __init__(
        self,
        health: NodeHealth,
        *,
        may_relay: bool = True,
        relay_after: int = RELAY_AFTER_NODES,
        relay_first: bool = False,
    ) -> None:
        """Begin with direct; what ``health`` holds against nodes is forgotten where relay begins.

        Args:
            health: of the nodes.
            may_relay: whether there is another way than the direct one.
            relay_after: nodes that could not be reached before this process counts as cut off.
            relay_first: begin with relay, and look for a direct way once much has been relayed.
        """
        self._health = health
        self._relay_after = relay_after
        self._may_relay = may_relay
        self._hinted = RELAYED_FIRST if relay_first and may_relay else 0
        """Relayed answers until the hint no longer counts."""
        self._direct_worked = False
        self._overdue: set[SpiffeId] = set()
        """Nodes to which a direct attempt has been under way for too long to wait for it."""
        self._unreached: dict[SpiffeId, float] = {}
        """Nodes that were not reached directly, and when (monotonic)."""

    @property
    def mode(self) -> RouteMode:
        """The mode to ask the coordinator for."""
        is_relayed = self._is_cut_off or self._overdue or self._hinted
        return RouteMode.RELAY if is_relayed else RouteMode.DIRECT

    @property
    def is_open(self) -> bool:
        """Whether direct attempts are still to show if there is a direct way, and relay is another."""
        return self._may_relay and not self._direct_worked and not self._is_cut_off

    @property
    def _is_cut_off(self) -> bool:
        if self._direct_worked or not self._may_relay:
            return False
        since_s = self._health.now_s() - CUT_OFF_FOR_S
        return sum(at_s >= since_s for at_s in self._unreached.values()) >= self._relay_after

    def is_outdated(self, route: Route) -> bool:
        """Whether ``route`` begins at a node, where it was found meanwhile that none can be reached.

        One that passes a coordinator never is: to a peer's nodes there may be no other.
        """
        return route.mode is RouteMode.DIRECT and self.mode is RouteMode.RELAY

    def worked(self, mode: RouteMode) -> None:
        """Note that the first hop of a route of ``mode`` answered."""
        if mode is RouteMode.DIRECT:
            self._direct_worked = True
            self._unreached.clear()
            self._overdue.clear()
            self._hinted = 0
        elif self._hinted:
            self._hinted -= 1

    def overdue(self, node: SpiffeId) -> None:
        """Relay until the direct attempt to reach ``node``, which takes long, comes to its end."""
        if self.is_open:
            self._overdue.add(node)
            self._forgive()

    def missed(self, node: SpiffeId) -> None:
        """Note that a direct attempt has come to its end without ``node``."""
        self._overdue.discard(node)
        self.unreachable(RouteMode.DIRECT, node)

    def unreachable(self, mode: RouteMode, node: SpiffeId | None) -> None:
        """Note that ``node`` could not be reached; it is avoided unless it is reached by relay from now on."""
        if node is None:
            return
        if mode is RouteMode.RELAY:
            if self.mode is mode:  # else it goes another way by now, which says nothing against it
                self._health.avoid(node)
            return
        was_cut_off = self._is_cut_off
        self._unreached[node] = self._health.now_s()
        if self._direct_worked and self._health.are_all_out_of_reach(self._unreached):
            self._direct_worked = False  # this machine may be in another network by now
        if self.mode is RouteMode.DIRECT:
            self._health.avoid(node)
        elif not was_cut_off:
            self._forgive()

    def relay_to_the_rest(self) -> bool:
        """Relay from now on if nodes were not reached, fewer than it takes, and none ever was.

        For when there are too few without them: whether they are dead is then the coordinator's to find out.
        Return whether it begins.
        """
        if self.mode is RouteMode.RELAY or not self._unreached:
            return False
        self._relay_after = min(self._relay_after, len(self._unreached))
        if not self._is_cut_off:
            return False
        self._forgive()
        return True

    def _forgive(self) -> None:
        for node in self._unreached:
            self._health.forgive(node)
