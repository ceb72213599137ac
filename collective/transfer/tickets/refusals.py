"""Why a ticket is not honoured."""

from __future__ import annotations

from collective.core.errors import BusyError, RejectedError


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
