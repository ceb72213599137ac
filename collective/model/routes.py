"""The hops of one chunk's transfer, and what each may do: tickets, receipts and what a hop answers.

Tickets and receipts are bytes that a holder cannot check.  What it needs of them (where to begin, which
nodes keep a copy, how long the chunk is) stands beside them in a :class:`Route`.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, SpiffeId
from collective.core.units import Address


class RouteMode(Enum):
    """Where a route begins."""

    DIRECT = "direct"
    """At a node."""
    RELAY = "relay"
    """At the coordinator, which passes on."""


class Operation(Enum):
    """What a ticket allows."""

    PUT = "put"
    GET = "get"


class SignedTicket(NamedTuple):
    """What one hop may do, under a key that it shares with the coordinator."""

    body: bytes
    key_id: int
    mac: bytes


class SignedReceipt(NamedTuple):
    """A node's word that it has flushed a copy, under a key that it shares with the coordinator."""

    body: bytes
    key_id: int
    mac: bytes
    node: SpiffeId
    """Who is said to have signed it."""


class Route(NamedTuple):
    """The hops of one transfer of one chunk, the first first."""

    chunk: ChunkId
    stored_length: int
    """Bytes of the chunk as it is stored."""
    hops: tuple[SignedTicket, ...]
    first: SpiffeId
    addresses: tuple[Address, ...]
    """Where the first hop is."""
    storing: tuple[SpiffeId, ...]
    """The hops that keep or hold a copy, in order."""

    @property
    def mode(self) -> RouteMode:
        """What the route was planned for."""
        return RouteMode.DIRECT if self.storing[:1] == (self.first,) else RouteMode.RELAY


class PutAnswer(NamedTuple):
    """One hop's answer to a put: a receipt, or why there is none."""

    node: SpiffeId
    receipt: SignedReceipt | None = None
    error: CollectiveError | None = None
