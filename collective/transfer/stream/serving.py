"""What every request of a chunk server needs: its surroundings, limits and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from collective.chunking.store.capacity import Reservation
from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, Domain, Generation, SpiffeId
from collective.core.log_rate import LogRate
from collective.core.tasks import TaskScope
from collective.rpc.gen.collective.v1.transfer import Ticket
from collective.transfer.buffers import BufferPool
from collective.transfer.stream.chunk_client import ChunkClient
from collective.transfer.stream.kept_links import Moved
from collective.transfer.tickets.keys import KeySource


class ChunkStorage(Protocol):
    """The store behind a server; ``chunking.store.ChunkStore`` is one.

    Calls are not cancelled while they use a buffer.
    """

    def reserve(self, length: int) -> Reservation:
        """Set ``length`` bytes aside, or raise NoSpaceError."""
        ...

    def length_of(self, chunk: ChunkId) -> int:
        """Return the stored length in bytes, or raise NotFoundError; reads nothing."""
        ...

    async def put(
        self,
        chunk: ChunkId,
        generation: Generation,
        parts: Sequence[bytes | memoryview] | bytes | memoryview,
        *,
        reservation: Reservation | None = None,
    ) -> None:
        """Verify that ``parts`` are ``chunk``, store and flush them.

        Raises:
            CorruptionError: the bytes are not the chunk.
            NoSpaceError, OperatorError: it cannot be kept.
        """
        ...

    async def get_into(self, chunk: ChunkId, buffer: memoryview) -> int:
        """Read and verify the whole chunk into ``buffer``; return its length.

        Raises:
            NotFoundError: it is not here.
            CorruptionError: it is damaged.
        """
        ...


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """Bounds of a server and of its forwarding; seconds unless named otherwise."""

    requests_per_connection: int = 64
    buffer_wait_s: float = 5.0
    stall_s: float = 10.0
    """No payload byte for so long ends a transfer."""
    hop_result_s: float = 30.0
    """A later hop that has the whole payload answers within this."""
    store_s: float = 60.0
    idle_s: float = 300.0
    """A connection without requests is closed after this."""


@dataclass(slots=True)
class TransferCounts:
    """What a server did since its start."""

    stored: int = 0
    read: int = 0
    forwarded: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    refused: int = 0


class TicketRefusals(Protocol):
    """Hears of requests whose ticket was forged, or for something or somebody else."""

    def ticket(self, peer: SpiffeId, source: str, error: CollectiveError, request_id: str) -> None:
        """Hear of a request of ``peer`` at the host ``source``; ``request_id`` is as they sent it."""
        ...


class ForeignPools:
    """A pool of memory for each other member: none can use up another's, or that of the own people.

    Of members that were not heard of for long the pools are forgotten, the oldest first.
    """

    def __init__(self, size_bytes: int, most: int) -> None:
        """Give each member ``size_bytes``; remember ``most`` of them."""
        self._size_bytes = size_bytes
        self._most = most
        self._pools: dict[Domain, BufferPool] = {}

    def of(self, domain: Domain) -> BufferPool:
        """Return the pool of a member."""
        pool = self._pools.pop(domain, None) or BufferPool(self._size_bytes)
        self._pools[domain] = pool
        while len(self._pools) > self._most:
            del self._pools[next(iter(self._pools))]
        return pool


@dataclass(frozen=True, slots=True)
class Serving:
    """The surroundings of a request."""

    identity: SpiffeId
    store: ChunkStorage | None
    keys: KeySource
    client: ChunkClient
    """Towards next hops."""
    pool: BufferPool
    limits: TransferLimits
    storing: TaskScope
    """Store calls: they outlive a cancelled request, since threads use its buffer."""
    counts: TransferCounts
    refusals: TicketRefusals | None = None
    foreign_pools: ForeignPools | None = None
    moved: Moved | None = None
    """Told of payload that came from others, and went to them."""
    lines: LogRate = field(default_factory=LogRate)
    """Of requests that are refused."""

    def moved_by(self, ticket: Ticket, *, sent_bytes: int = 0, received_bytes: int = 0) -> None:
        """Tell of payload that went to, or came from, the holder of ``ticket``."""
        if self.moved is not None:
            self.moved(SpiffeId.parse(ticket.holder), sent_bytes, received_bytes)

    def pool_for(self, ticket: Ticket) -> BufferPool:
        """Return the memory for what ``ticket`` allows: a peer's, where it comes from one or goes to one."""
        if self.foreign_pools is None:
            return self.pool
        own = f"spiffe://{self.identity.trust_domain}/"
        for party in (ticket.holder, ticket.next_node):
            if party and not party.startswith(own):
                return self.foreign_pools.of(SpiffeId.parse(party).trust_domain)
        return self.pool
