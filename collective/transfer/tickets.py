"""Tickets: what one hop of a transfer may do, and the check that a hop makes before it acts.

A ticket is a BLAKE3 keyed MAC by the coordinator, under a key it shares with one hop only.  Pure:
keys and time are passed in.  Refuses anything that does not match in every field; the sentence says
which, since a ticket holds no secret.  Invariant: no field is read before the MAC was found good.
"""

from __future__ import annotations

import functools
import hmac
from dataclasses import dataclass, field
from typing import Final, Protocol

from blake3 import blake3

from collective.core.errors import BusyError, RejectedError
from collective.core.ids import CHUNK_ID_BYTES, ChunkId, SpiffeId
from collective.core.limits import CHUNK_STORED_MAX_BYTES, ROUTE_MAX_HOPS
from collective.rpc.decoding import parse_message
from collective.rpc.encoding import encode
from collective.rpc.gen.collective.v1.transfer import ChunkOperation, SignedTicket, Ticket

KEY_BYTES: Final = 32
MAC_BYTES: Final = 32
TICKET_MAX_BYTES: Final = 4096
NEXT_ADDRESSES_MAX: Final = 16
PARSED_MAX: Final = 512
"""Tickets kept in parsed form, of at most TICKET_MAX_BYTES each."""
_TICKET_CONTEXT: Final = b"collective ticket 1\0"


class TicketRefusedError(RejectedError):
    """The ticket is forged, malformed, or for something else; the same one will never do."""

    code = "ticket_refused"


class TicketExpiredError(RejectedError):
    """The ticket is too old, or from before a revocation; ask the coordinator for a new one."""

    code = "ticket_expired"
    retryable = True


class UnknownKeyError(BusyError):
    """The hop has not heard of the ticket's key yet; try again after its next heartbeat."""

    code = "unknown_key"


@dataclass(frozen=True, slots=True)
class TicketKey:
    """A key shared by the coordinator and one hop: ``key_id`` (u32) and 32 secret bytes."""

    key_id: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Hold the key's shape."""
        assert len(self.secret) == KEY_BYTES
        assert 0 <= self.key_id < 1 << 32

    def mac(self, context: bytes, body: bytes) -> bytes:
        """Return the 32-byte MAC of ``body`` in ``context`` (which ends with NUL)."""
        return blake3(context + body, key=self.secret).digest()


class KeySource(Protocol):
    """What a hop knows of its coordinator: keys, revocations and time (from heartbeats)."""

    def key(self, key_id: int) -> TicketKey | None:
        """Return the shared key of that id, or None if it is unknown here."""
        ...

    def revocation_epoch(self) -> int:
        """Return the newest revocation epoch known here."""
        ...

    def coordinator_now_ms(self) -> int:
        """Return coordinator time, Unix milliseconds, as well as it is known here."""
        ...


def sign_ticket(key: TicketKey, ticket: Ticket) -> SignedTicket:
    """Return ``ticket`` serialised and signed under ``key``."""
    body = encode(ticket)
    assert len(body) <= TICKET_MAX_BYTES
    return SignedTicket(body=body, key_id=key.key_id, mac=key.mac(_TICKET_CONTEXT, body))


def open_ticket(keys: KeySource, signed: SignedTicket) -> Ticket:
    """Return the ticket in ``signed`` if its MAC is good, and nothing more.

    Raises:
        UnknownKeyError: ``key_id`` is unknown here.
        TicketRefusedError: the MAC does not match or the body does not parse.
    """
    if len(signed.body) > TICKET_MAX_BYTES or len(signed.mac) != MAC_BYTES:
        raise TicketRefusedError("The ticket is malformed; ask the coordinator for a new one.")
    key = keys.key(signed.key_id)
    if key is None:
        raise UnknownKeyError("The ticket's key is not known here yet; try again in a moment.")
    if not hmac.compare_digest(key.mac(_TICKET_CONTEXT, signed.body), signed.mac):
        raise TicketRefusedError("The ticket's signature does not match; ask for a new one.")
    return _parse(signed.body)


def check_ticket(
    keys: KeySource,
    signed: SignedTicket,
    *,
    operation: ChunkOperation,
    chunk: ChunkId,
    length: int,
    node: SpiffeId,
    holder: SpiffeId,
    now_ms: int,
    revocation_epoch: int,
) -> Ticket:
    """Return the ticket in ``signed`` if it allows exactly this act, here, for this peer, now.

    Args:
        keys: where keys are looked up.
        signed: as received.
        operation: what is asked for.
        chunk: the chunk asked for.
        length: stored bytes to be moved: for a put exactly what the ticket says; 0 for a get
            whose length is not known yet.
        node: this process's own SPIFFE id.
        holder: the SPIFFE id that the connection's certificate proved.
        now_ms: coordinator time, Unix milliseconds.
        revocation_epoch: the newest known here; older tickets are refused.

    Raises:
        UnknownKeyError, TicketRefusedError, TicketExpiredError.
    """
    ticket = open_ticket(keys, signed)
    if ticket.operation != operation:
        raise TicketRefusedError("The ticket is for another operation.")
    if len(chunk) != CHUNK_ID_BYTES or ticket.chunk_id != chunk:
        raise TicketRefusedError("The ticket is for another chunk.")
    if not 0 <= length <= ticket.length_limit <= CHUNK_STORED_MAX_BYTES:
        raise TicketRefusedError("The chunk is longer than its ticket allows.")
    if operation == ChunkOperation.PUT and length != ticket.length_limit:
        # A receipt says what was stored: of another length than the ticket's, no honest node signs it.
        raise TicketRefusedError("The chunk is shorter than its ticket says; send the whole of it.")
    if ticket.node != str(node):
        raise TicketRefusedError("The ticket is for another node.")
    if ticket.holder != str(holder):
        raise TicketRefusedError("The ticket was given to another holder.")
    if ticket.forward_only and not ticket.next_node:
        raise TicketRefusedError("The ticket only forwards but names no next hop.")
    if ticket.revocation_epoch < revocation_epoch:
        raise TicketExpiredError("The ticket is from before a revocation; ask for a new one.")
    if now_ms >= ticket.expires_ms:
        raise TicketExpiredError("The ticket has expired; ask the coordinator for a new one.")
    return ticket


def check_following(ticket: Ticket, following: list[SignedTicket], node: SpiffeId) -> None:
    """Refuse hops after this one that the checked ``ticket`` of this hop (``node``) does not name.

    A route may end early (``following`` empty) except at a hop that only forwards.  The next
    ticket's MAC is for the next hop to check; only where it leads is compared here.
    """
    if not following:
        if ticket.forward_only:
            raise TicketRefusedError("The route ends at a hop that only forwards.")
        return
    if len(following) >= ROUTE_MAX_HOPS:
        raise TicketRefusedError(f"A route has at most {ROUTE_MAX_HOPS} hops.")
    if not ticket.next_node:
        raise TicketRefusedError("The ticket allows no next hop.")
    if not 0 < len(ticket.next_addresses) <= NEXT_ADDRESSES_MAX:
        raise TicketRefusedError("The ticket gives no usable address of the next hop.")
    onward = read_ticket(following[0])
    if onward.node != ticket.next_node:
        raise TicketRefusedError("The next ticket is for another hop than this one names.")
    if onward.holder != str(node):
        raise TicketRefusedError("The next ticket was given to another holder.")


def read_ticket(signed: SignedTicket) -> Ticket:
    """Return the ticket in ``signed`` WITHOUT checking its MAC: for holders, who cannot check it."""
    if len(signed.body) > TICKET_MAX_BYTES:
        raise TicketRefusedError("The ticket is malformed; ask the coordinator for a new one.")
    return _parse(signed.body)


@functools.lru_cache(maxsize=PARSED_MAX)
def _parse(body: bytes) -> Ticket:
    """Return the ticket in ``body``, which nobody changes: each hop looks at each several times."""
    try:
        ticket = parse_message(Ticket, body)
    except RejectedError as error:
        raise TicketRefusedError("The ticket does not parse; ask for a new one.") from error
    if encode(ticket) != body:
        raise TicketRefusedError("The ticket is not canonical; ask for a new one.")
    return ticket
