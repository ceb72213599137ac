"""Routes: which hops a chunk takes, and the ticket that each hop carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.catalog.interface.values import Allocation
from collective.core import limits
from collective.core.clock import Clock
from collective.core.ids import ChunkId, NodeId, SpiffeId
from collective.core.randomness import Randomness
from collective.core.units import Address
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.copies import Copy
from collective.model.nodes import NodeState
from collective.rpc.conversions.addresses import address_messages
from collective.rpc.gen.collective.v1 import transfer as pb
from collective.transfer.tickets.key_ring import KeyRing
from collective.transfer.tickets.making import sign_ticket

_READ_ORDER: Final = {
    NodeState.UP: 0,
    NodeState.DRAINING: 1,
    NodeState.SUSPECT: 2,
    NodeState.DOWN: 3,
}
"""States a copy may be read in, best first; others give no route."""


_WRITE_ORDER: Final[dict[NodeState | None, int]] = {
    NodeState.UP: 0,
    NodeState.DRAINING: 1,
    NodeState.SUSPECT: 2,
}
"""States a chunk may be sent to; a doubtful hop comes last, so that it holds nobody up."""


class RouteMaker:
    """Signs the tickets of every hop of a transfer."""

    def __init__(
        self,
        own: SpiffeId,
        addresses: Sequence[Address],
        table: LiveNodes,
        keys: KeyRing,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        """Make routes for the coordinator ``own``, reachable for relay at ``addresses``."""
        self._own = own
        self._addresses = tuple(addresses)
        self._table = table
        self._keys = keys
        self._clock = clock
        self._randomness = randomness

    def put(
        self, allocation: Allocation, *, holder: SpiffeId, transfer_id: str, relay: bool
    ) -> list[pb.Route]:
        """Return routes that together reach every target of ``allocation`` that can be reached."""
        states = self._table.states()
        reachable = [
            copy
            for copy in allocation.targets
            if _WRITE_ORDER.get(states.get(copy.node)) is not None and self._can_sign(copy.node)
        ]
        # The sort is stable: placement decided the order among those that are well.
        reachable.sort(key=lambda copy: _WRITE_ORDER[states[copy.node]])
        size = limits.ROUTE_MAX_HOPS - 1 if relay else limits.ROUTE_MAX_HOPS
        return [
            self._route(
                pb.ChunkOperation.PUT,
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
    ) -> list[pb.Route]:
        """Return one route for each copy that may be read, best first, those in doubt last."""
        states = self._table.states()
        usable = [
            copy
            for copy in copies
            if states.get(copy.node) in _READ_ORDER and self._can_sign(copy.node)
        ]
        usable.sort(
            key=lambda copy: (
                copy.is_doubted,
                _READ_ORDER[states[copy.node]],
                self._randomness.uniform(),
            )
        )
        return [
            self._route(
                pb.ChunkOperation.GET,
                chunk,
                stored_length,
                [copy],
                holder=holder,
                transfer_id=transfer_id,
                relay=relay,
            )
            for copy in usable
        ]

    def repair(
        self, chunk: ChunkId, stored_length: int, *, source: NodeId, target: Copy, repair_id: str
    ) -> pb.Route | None:
        """Return the route from ``source`` to the node of ``target``; None without its key."""
        if not self._can_sign(target.node):
            return None
        return self._route(
            pb.ChunkOperation.PUT,
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
        operation: pb.ChunkOperation,
        chunk: ChunkId,
        stored_length: int,
        copies: Sequence[Copy],
        *,
        holder: SpiffeId,
        transfer_id: str,
        relay: bool,
    ) -> pb.Route:
        hops: list[tuple[SpiffeId, Sequence[Address], int]] = [
            (self._table.identity(copy.node), self._addresses_of(copy.node), copy.generation)
            for copy in copies
        ]
        if relay:
            hops.insert(0, (self._own, self._addresses, 0))
        expires_ms = self._keys.coordinator_now_ms() + int(limits.TICKET_LIFE_S * 1000)
        signed = []
        for index, (identity, _, generation) in enumerate(hops):
            last = index + 1 == len(hops)
            key = self._keys.signing_key(identity)
            assert key is not None, "reachable hops have keys"
            ticket = pb.Ticket(
                operation=operation,
                chunk_id=chunk,
                length_limit=stored_length,
                transfer_id=transfer_id,
                node=str(identity),
                holder=str(holder if index == 0 else hops[index - 1][0]),
                generation=generation,
                next_node="" if last else str(hops[index + 1][0]),
                next_addresses=[] if last else address_messages(hops[index + 1][1]),
                revocation_epoch=self._keys.epoch,
                expires_ms=expires_ms,
                forward_only=relay and index == 0,
            )
            signed.append(sign_ticket(key, ticket))
        return pb.Route(
            chunk_id=chunk,
            hops=signed,
            first_node=str(hops[0][0]),
            first_addresses=address_messages(hops[0][1]),
        )

    def _addresses_of(self, node: NodeId) -> Sequence[Address]:
        live = self._table.get(node)
        return live.reachable if live else ()
