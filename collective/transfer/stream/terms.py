"""What a served connection may do, by whose it is: the own member's, or another's."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Final

from collective.core.ids import Domain
from collective.rpc.http2.closing import OpenTransports
from collective.rpc.http2.member_share import (
    FOREIGN_UNREAD_MAX_BYTES,
    FOREIGN_WRITE_BYTES,
    WIDE_STREAMS_MAX,
    WIDE_UNREAD_MAX_BYTES,
)
from collective.transfer.stream.connection import WriteBounds
from collective.transfer.stream.link import FOREIGN_EXCHANGES_MAX

LATE_REQUESTS: Final = 4
"""Taken beside those that a client may begin: to it a request is over with its last answer, which is a moment
before it is over here."""
FOREIGN_WRITES: Final = WriteBounds(
    FOREIGN_WRITE_BYTES, FOREIGN_UNREAD_MAX_BYTES, piece_bytes=FOREIGN_WRITE_BYTES
)
WIDE_FOREIGN_WRITES: Final = WriteBounds(FOREIGN_WRITE_BYTES, WIDE_UNREAD_MAX_BYTES)
"""Of the first WIDE_STREAMS_MAX connections that a member has open at once."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one connection may do."""

    requests_max: int
    """Under way at once."""
    writes: WriteBounds = field(default_factory=WriteBounds)
    transports: OpenTransports | None = None
    """Counts the connection as long as its transport is there; the connection holds it."""


class ServingTerms:
    """Tells the terms of each new connection, given those that its member has."""

    def __init__(self, home: Domain, requests_max: int) -> None:
        """Give connections of ``home`` ``requests_max`` requests at once."""
        self._home = home
        self._own = Terms(requests_max + LATE_REQUESTS)
        self._wide: weakref.WeakValueDictionary[Domain, OpenTransports] = (
            weakref.WeakValueDictionary()
        )

    def of(self, member: Domain) -> Terms:
        """Return the terms of a new connection of ``member``."""
        if member == self._home:
            return self._own
        most = FOREIGN_EXCHANGES_MAX + LATE_REQUESTS
        wide = self._wide.setdefault(member, OpenTransports())
        if len(wide) >= WIDE_STREAMS_MAX:
            return Terms(most, FOREIGN_WRITES)
        return Terms(most, WIDE_FOREIGN_WRITES, wide)
