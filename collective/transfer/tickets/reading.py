"""Reading a ticket without its key: for holders, who cannot check it."""

from __future__ import annotations

import functools
from typing import Final

from collective.core.errors import RejectedError
from collective.rpc.gen.collective.v1.transfer import Ticket
from collective.rpc.wire.decoding import parse_message
from collective.rpc.wire.encoding import encode
from collective.transfer.tickets.keys import Sealed
from collective.transfer.tickets.refusals import TicketRefusedError

TICKET_MAX_BYTES: Final = 4096


PARSED_MAX: Final = 512
"""Tickets kept in parsed form, of at most TICKET_MAX_BYTES each."""
TICKET_CONTEXT: Final = b"collective ticket 1\0"


def read_ticket(signed: Sealed) -> Ticket:
    """Return the ticket in ``signed`` WITHOUT checking its MAC: for holders, who cannot check it."""
    if len(signed.body) > TICKET_MAX_BYTES:
        raise TicketRefusedError("The ticket is malformed; ask the coordinator for a new one.")
    return parse_ticket(signed.body)


@functools.lru_cache(maxsize=PARSED_MAX)
def parse_ticket(body: bytes) -> Ticket:
    """Return the ticket in ``body``, which nobody changes: each hop looks at each several times."""
    try:
        ticket = parse_message(Ticket, body)
    except RejectedError as error:
        raise TicketRefusedError("The ticket does not parse; ask for a new one.") from error
    if encode(ticket) != body:
        raise TicketRefusedError("The ticket is not canonical; ask for a new one.")
    return ticket
