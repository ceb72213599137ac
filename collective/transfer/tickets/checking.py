"""The check that a hop makes before it acts.

Pure: keys and time are passed in.  Refuses what does not match in every field; the sentence
says which, since a ticket holds no secret.  No field is read before the MAC was found good.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from collective.core.ids import CHUNK_ID_BYTES, ChunkId, SpiffeId
from collective.core.limits import CHUNK_STORED_MAX_BYTES, ROUTE_MAX_HOPS
from collective.rpc.gen.collective.v1.transfer import ChunkOperation, Ticket
from collective.transfer.tickets.keys import KeySource, Sealed
from collective.transfer.tickets.reading import (
    TICKET_CONTEXT,
    TICKET_MAX_BYTES,
    parse_ticket,
    read_ticket,
)
from collective.transfer.tickets.refusals import (
    TicketExpiredError,
    TicketRefusedError,
    UnknownKeyError,
)

MAC_BYTES: Final = 32


NEXT_ADDRESSES_MAX: Final = 16


def open_ticket(keys: KeySource, signed: Sealed) -> Ticket:
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
    if not hmac.compare_digest(key.mac(TICKET_CONTEXT, signed.body), signed.mac):
        raise TicketRefusedError("The ticket's signature does not match; ask for a new one.")
    return parse_ticket(signed.body)


def check_ticket(
    keys: KeySource,
    signed: Sealed,
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


def check_following(ticket: Ticket, following: Sequence[Sealed], node: SpiffeId) -> None:
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
