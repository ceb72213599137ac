"""Routes to a peer's nodes that pass this member's coordinator first.

Where a client cannot reach a peer's nodes itself, the owner's coordinator plans a route that begins at
itself, with this coordinator as the holder of its first ticket.  For the client, a hop of this coordinator
comes before that one; what this coordinator carries itself needs none.  What a peer says of its routes is
believed as far as it concerns itself: the first hop is a node of its own, or its coordinator, which is
looked for where its bundle says, and all that store are its nodes.  Nodes are for clients to dial: this
coordinator goes to the peer's alone, and so to no address that a route names.
"""

from __future__ import annotations

from collections.abc import Sequence

from collective.core import limits
from collective.core.errors import RejectedError
from collective.core.ids import ChunkId, SpiffeId
from collective.core.units import Address
from collective.federation.links.peer_link import PeerLink
from collective.model.calls import Call
from collective.model.routes import Operation, Route
from collective.transfer.tickets.key_ring import KeyRing
from collective.transfer.tickets.making import Hop, through_relay


class RelayedRoutes:
    """Makes the routes of one peer usable here."""

    def __init__(
        self, own: SpiffeId, addresses: Sequence[Address], keys: KeyRing, link: PeerLink
    ) -> None:
        """Pass on as ``own``, found at ``addresses``, what goes to the peer of ``link``."""
        self._relay = Hop(own, tuple(addresses), is_relay=True)
        self._keys = keys
        self._link = link

    def of(
        self,
        call: Call,
        routes: Sequence[Route],
        operation: Operation,
        chunk: ChunkId,
        transfer_id: str,
    ) -> Sequence[Route]:
        """Return ``routes`` of ``chunk`` as the holder of ``call`` is to take them.

        Raises:
            RejectedError: a route is for another chunk, or begins at none of the peer's.

        """
        for route in routes:
            if route.chunk != chunk or not self._is_theirs(route, call):
                raise RejectedError(f"{self._link.domain} answers with a route of another's.")
            if not 0 < route.stored_length <= limits.CHUNK_STORED_MAX_BYTES:
                raise RejectedError(f"{self._link.domain} answers with a chunk of no such length.")
            if len(route.hops) >= limits.ROUTE_MAX_HOPS:
                raise RejectedError(f"{self._link.domain} answers with a route that is too long.")
        return [self._usable(call, route, operation, transfer_id) for route in routes]

    def _is_theirs(self, route: Route, call: Call) -> bool:
        """Tell whether a route begins at the peer's, and blames none but its nodes for what fails."""
        first = route.first
        is_node = self._is_node(first) and call.holder != self._relay.node
        begins = first == self._link.identity or is_node
        return begins and all(map(self._is_node, route.storing))

    def _is_node(self, one: SpiffeId) -> bool:
        return one.role == "node" and one.trust_domain == self._link.domain

    def _usable(self, call: Call, route: Route, operation: Operation, transfer_id: str) -> Route:
        if route.first != self._link.identity:  # straight to a node, for the caller itself
            return route
        if call.holder == self._relay.node:
            return route._replace(addresses=self._link.addresses)
        return through_relay(
            route,
            self._relay,
            self._link.addresses,
            self._keys,
            operation=operation,
            holder=call.holder,
            transfer_id=transfer_id,
        )
