"""Routes: which hops a chunk takes.  Their tickets are made by ``transfer.tickets.making``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.catalog.interface.values import Allocation
from collective.core import limits
from collective.core.ids import ChunkId, NodeId, SpiffeId
from collective.core.randomness import Randomness
from collective.core.units import Address
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.copies import Copy
from collective.model.routes import Operation, Route
from collective.placement.copy_order import to_read, to_write
from collective.transfer.tickets.key_ring import KeyRing
from collective.transfer.tickets.making import Hop, make_route

_STORING_MAX: Final = limits.ROUTE_MAX_HOPS - 1
"""Nodes that one route passes: before them there is room for the relay of another member."""


class RouteMaker:
    """Chooses the hops of every transfer of this member."""

    def __init__(
        self,
        own: SpiffeId,
        addresses: Sequence[Address],
        table: LiveNodes,
        keys: KeyRing,
        randomness: Randomness,
    ) -> None:
        """Make routes for the coordinator ``own``, reachable for relay at ``addresses``."""
        self._own = own
        self._addresses = tuple(addresses)
        self._table = table
        self._keys = keys
        self._randomness = randomness

    def move(self, addresses: Sequence[Address]) -> None:
        """Be reachable for relay at ``addresses`` from now on."""
        self._addresses = tuple(addresses)

    def put(
        self, allocation: Allocation, *, holder: SpiffeId, transfer_id: str, relay: bool
    ) -> list[Route]:
        """Return routes that together reach every target of ``allocation`` that can be reached."""
        states = self._table.states()
        targets = [copy for copy in allocation.targets if self._can_sign(copy.node)]
        reachable = to_write(targets, states)
        size = _STORING_MAX - 1 if relay else _STORING_MAX
        return [
            self._route(
                Operation.PUT,
                allocation.chunk,
                allocation.stored_length,
                reachable[first : first + size],
                holder=holder,
                transfer_id=transfer_id,
                relay=relay,
            )
            for first in range(0, len(reachable), size)
        ]

    def get(
        self,
        chunk: ChunkId,
        stored_length: int,
        copies: Sequence[Copy],
        *,
        holder: SpiffeId,
        transfer_id: str,
        relay: bool,
    ) -> list[Route]:
        """Return one route for each copy that may be read, best first, those in doubt last."""
        states = self._table.states()
        known = [copy for copy in copies if self._can_sign(copy.node)]
        return [
            self._route(
                Operation.GET,
                chunk,
                stored_length,
                [copy],
                holder=holder,
                transfer_id=transfer_id,
                relay=relay,
            )
            for copy in to_read(known, states, self._randomness.uniform)
        ]

    def repair(
        self, chunk: ChunkId, stored_length: int, *, source: NodeId, target: Copy, repair_id: str
    ) -> Route | None:
        """Return the route from ``source`` to the node of ``target``; None without its key."""
        if not self._can_sign(target.node):
            return None
        return self._route(
            Operation.PUT,
            chunk,
            stored_length,
            [target],
            holder=self._table.identity(source),
            transfer_id=repair_id,
            relay=False,
        )

    def _can_sign(self, node: NodeId) -> bool:
        live = self._table.get(node)
        return (
            live is not None
            and bool(live.reachable)
            and self._keys.signing_key(self._table.identity(node)) is not None
        )

    def _route(
        self,
        operation: Operation,
        chunk: ChunkId,
        stored_length: int,
        copies: Sequence[Copy],
        *,
        holder: SpiffeId,
        transfer_id: str,
        relay: bool,
    ) -> Route:
        hops = [
            Hop(self._table.identity(copy.node), self._addresses_of(copy.node), copy.generation)
            for copy in copies
        ]
        if relay:
            hops.insert(0, Hop(self._own, self._addresses, is_relay=True))
        return make_route(
            hops,
            self._keys,
            operation=operation,
            chunk=chunk,
            stored_length=stored_length,
            holder=holder,
            transfer_id=transfer_id,
        )

    def _addresses_of(self, node: NodeId) -> Sequence[Address]:
        live = self._table.get(node)
        return live.reachable if live else ()
