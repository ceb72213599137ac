"""Making tickets: at the coordinator alone."""

from __future__ import annotations

from collective.rpc.encoding import encode
from collective.rpc.gen.collective.v1.transfer import SignedTicket, Ticket
from collective.transfer.tickets.keys import TicketKey
from collective.transfer.tickets.reading import TICKET_CONTEXT, TICKET_MAX_BYTES


def sign_ticket(key: TicketKey, ticket: Ticket) -> SignedTicket:
    """Return ``ticket`` serialised and signed under ``key``."""
    body = encode(ticket)
    assert len(body) <= TICKET_MAX_BYTES
    return SignedTicket(body=body, key_id=key.key_id, mac=key.mac(TICKET_CONTEXT, body))
