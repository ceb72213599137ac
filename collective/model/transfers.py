"""What passes between a member and the client that moves a file's bytes: plans, routes, receipts.

Tickets and receipts are bytes that a holder cannot check.  What it needs of them (where to begin, which
nodes keep a copy, how long the chunk is) stands beside them in a :class:`Route`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, LeaseId, SpiffeId, UploadId
from collective.core.units import Address
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole


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


class ChunkPlan(NamedTuple):
    """Where a chunk of an upload goes."""

    chunk: ChunkId
    is_stored: bool
    """It has its copies, and they are kept for this upload: send nothing."""
    routes: Sequence[Route]
    """Together they make the copies that are still wanted."""
    quorum: int
    """Copies that a commit needs, in all."""
    held: int
    """Copies that the coordinator has counted before."""


class ExtentPlan(NamedTuple):
    """A piece of a file and the ways to its copies, the best first."""

    extent: Extent
    routes: Sequence[Route]


@dataclass(frozen=True, slots=True)
class OpenedUpload:
    """An upload that has begun, with plans for its first chunks."""

    id: UploadId
    plans: Sequence[ChunkPlan]


@dataclass(frozen=True, slots=True)
class RecordedExtents:
    """What an upload has recorded, in order of offset; one page."""

    extents: Sequence[Extent]
    is_more: bool


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """A part of what a read under a lease goes over, in order of offset and without gaps."""

    pieces: Sequence[ExtentPlan | Hole]
    is_more: bool


@dataclass(frozen=True, slots=True)
class OpenedRead:
    """A version under a lease, with its first pieces."""

    entry: Entry
    lease: LeaseId
    plan: ReadPlan


class CopyProblem(Enum):
    """What is wrong with a copy, as a reader says."""

    CORRUPT = "corrupt"
    MISSING = "missing"
