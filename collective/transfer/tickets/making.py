"""Making tickets: at the coordinator alone.

A route is made at once, since each of its tickets says who holds it (the hop before) and who is next.
Which hops there are, and in which order, is the caller's decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collective.core import limits
from collective.core.ids import ChunkId, SpiffeId
from collective.core.units import Address
from collective.model.routes import Operation, Route, SignedTicket
from collective.rpc.conversions.addresses import address_messages
from collective.rpc.gen.collective.v1.transfer import ChunkOperation, Ticket
from collective.rpc.wire.encoding import encode
from collective.transfer.tickets.key_ring import KeyRing
from collective.transfer.tickets.keys import TicketKey
from collective.transfer.tickets.reading import TICKET_CONTEXT, TICKET_MAX_BYTES

_OPERATIONS = {Operation.PUT: ChunkOperation.PUT, Operation.GET: ChunkOperation.GET}


@dataclass(frozen=True, slots=True)
class Hop:
    """One station of a route."""

    node: SpiffeId
    addresses: Sequence[Address]
    generation: int = 0
    """Of the copy there."""
    is_relay: bool = False
    """Whether it only passes on, and keeps nothing."""


def make_route(
    hops: Sequence[Hop],
    keys: KeyRing,
    *,
    operation: Operation,
    chunk: ChunkId,
    stored_length: int,
    holder: SpiffeId,
    transfer_id: str,
) -> Route:
    """Return the route of one chunk over ``hops``, each with its ticket.

    Args:
        hops: in the order in which the bytes pass them; at least one, and each has a key to sign under.
        keys: the keys that the hops share with this coordinator.
        operation: what the tickets allow.
        chunk: the only one that they allow it for.
        stored_length: the most bytes that they allow.
        holder: whose connection may use the first ticket.
        transfer_id: of the upload, lease or repair that they belong to.
    """
    expires_ms = keys.coordinator_now_ms() + int(limits.TICKET_LIFE_S * 1000)
    signed = []
    for index, hop in enumerate(hops):
        following = hops[index + 1] if index + 1 < len(hops) else None
        key = keys.signing_key(hop.node)
        assert key is not None, "reachable hops have keys"
        ticket = Ticket(
            operation=_OPERATIONS[operation],
            chunk_id=chunk,
            length_limit=stored_length,
            transfer_id=transfer_id,
            node=str(hop.node),
            holder=str(hops[index - 1].node if index else holder),
            generation=hop.generation,
            next_node=str(following.node) if following else "",
            next_addresses=address_messages(following.addresses) if following else [],
            revocation_epoch=keys.epoch,
            expires_ms=expires_ms,
            forward_only=hop.is_relay,
        )
        signed.append(sign_ticket(key, ticket))
    return Route(
        chunk=chunk,
        stored_length=stored_length,
        hops=tuple(signed),
        first=hops[0].node,
        addresses=tuple(hops[0].addresses),
        storing=tuple(hop.node for hop in hops if not hop.is_relay),
    )


def through_relay(
    route: Route,
    relay: Hop,
    onward: Sequence[Address],
    keys: KeyRing,
    *,
    operation: Operation,
    holder: SpiffeId,
    transfer_id: str,
) -> Route:
    """Return ``route`` with ``relay`` before its hops, whose tickets are another coordinator's.

    That coordinator made them for ``relay`` as their holder.

    Args:
        route: as another coordinator made it.
        relay: passes on, and has a key to sign under.
        onward: where the relay finds the first hop of ``route``; what the route says of that is not used.
        keys: of the relay's own coordinator.
        operation: what the tickets allow.
        holder: whose connection may use the new first ticket.
        transfer_id: of the upload or lease that they belong to.
    """
    key = keys.signing_key(relay.node)
    assert key is not None, "a coordinator has a key of its own"
    ticket = Ticket(
        operation=_OPERATIONS[operation],
        chunk_id=route.chunk,
        length_limit=route.stored_length,
        transfer_id=transfer_id,
        node=str(relay.node),
        holder=str(holder),
        next_node=str(route.first),
        next_addresses=address_messages(onward),
        revocation_epoch=keys.epoch,
        expires_ms=keys.coordinator_now_ms() + int(limits.TICKET_LIFE_S * 1000),
        forward_only=True,
    )
    return Route(
        chunk=route.chunk,
        stored_length=route.stored_length,
        hops=(sign_ticket(key, ticket), *route.hops),
        first=relay.node,
        addresses=tuple(relay.addresses),
        storing=route.storing,
    )


def sign_ticket(key: TicketKey, ticket: Ticket) -> SignedTicket:
    """Return ``ticket`` serialised and signed under ``key``."""
    body = encode(ticket)
    assert len(body) <= TICKET_MAX_BYTES
    return SignedTicket(body=body, key_id=key.key_id, mac=key.mac(TICKET_CONTEXT, body))
