"""The requesting side of the chunk stream: puts and gets along routes, over kept connections.

Used by the client library, by repair, and by every hop to pass a transfer on.  Owns connections to
peers by SPIFFE id; refuses to mix peers.  Invariant: a cancelled or failed transfer never disturbs
the others of its connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from blake3 import blake3

from collective.core.errors import CorruptionError, UsageError
from collective.core.ids import Domain, SpiffeId
from collective.core.limits import CHUNK_STORED_MAX_BYTES, HASH_INLINE_MAX_BYTES, ROUTE_MAX_HOPS
from collective.core.world import Runs
from collective.model.progress import Progress
from collective.model.routes import PutAnswer, Route
from collective.rpc.conversions.addresses import addresses_from
from collective.rpc.conversions.transfers import answer_from, ticket_messages
from collective.rpc.gen.collective.v1 import Address as AddressMessage
from collective.rpc.gen.collective.v1.transfer import GetHeader, PutHeader
from collective.rpc.headers import current_request_id
from collective.rpc.links import Dialer
from collective.transfer.buffers import BufferPool, PooledBuffer
from collective.transfer.stream.kept_links import KeptLinks, LinkLimits, Moved
from collective.transfer.stream.outbound import (
    GetTransfer,
    PartsSource,
    Patience,
    Peer,
    PutTransfer,
    Source,
)

__all__ = ["ChunkClient", "ClientLimits", "GetTransfer", "Put", "PutTransfer", "WrongBytesError"]


class WrongBytesError(CorruptionError):
    """A node sent other bytes than the chunk's: an honest one compares them with the id before."""

    code = "wrong_bytes"


@dataclass(frozen=True, slots=True)
class ClientLimits(LinkLimits):
    """Bounds of a client; seconds unless named otherwise."""

    buffer_wait_s: float = 30.0
    patience: Patience = field(default_factory=Patience)


class Put(AsyncIterator[PutAnswer]):
    """A put under way, as its caller sees it: iterate for each hop's answer, as they come.

    Raises and ends as :class:`PutTransfer` does; RejectedError also where an answer is malformed.
    """

    def __init__(self, transfer: PutTransfer) -> None:
        """Only a client makes these."""
        self._transfer = transfer

    @property
    def last_progress_s(self) -> float:
        """Loop time of the last byte sent, or answer."""
        return self._transfer.last_progress_s

    @property
    def sent_bytes(self) -> int:
        """Payload bytes handed to the connection."""
        return self._transfer.sent_bytes

    async def __anext__(self) -> PutAnswer:
        return answer_from(await anext(self._transfer))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel the put if it is not finished; afterwards the parts may be reused."""
        await self._transfer.aclose()


class ChunkClient:
    """Moves chunks to and from peers.  An async context manager: closes its connections."""

    def __init__(
        self,
        dialer: Dialer,
        pool: BufferPool,
        threads: Runs,
        *,
        home: Domain,
        limits: ClientLimits | None = None,
        moved: Moved | None = None,
    ) -> None:
        """Transfer within bounds.

        Args:
            dialer: for new connections.
            pool: memory for what is received.
            threads: verify what was received.
            home: the own member.
            limits: bounds.
            moved: told of the payload of each transfer, when it ends.
        """
        self._pool = pool
        self._limits = limits or ClientLimits()
        self._threads = threads
        self._links = KeptLinks(dialer, home=home, limits=self._limits, moved=moved)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def put(
        self,
        route: Route,
        parts: Sequence[memoryview | bytes],
        *,
        request_id: str = "",
        on_progress: Progress | None = None,
    ) -> Put:
        """Send the chunk made of ``parts`` along ``route``; iterate the result.

        Args:
            route: as the coordinator gave it.
            parts: the stored bytes in order (header, body); must not change until the end.
            request_id: for logs at every hop; empty: the one of the operation that this is part of.
            on_progress: told the number of payload bytes each time some were sent; 0 while the
                put waits for its turn and others of its connection move.

        Raises:
            UsageError: ``route`` or ``parts`` are unusable; all else is raised by the iteration.
        """
        source = PartsSource(parts)
        if not 0 < source.total <= CHUNK_STORED_MAX_BYTES:
            raise UsageError(f"A stored chunk has 1 to {CHUNK_STORED_MAX_BYTES} bytes.")
        header = PutHeader(
            chunk_id=route.chunk,
            length=source.total,
            hops=ticket_messages(route.hops),
            request_id=request_id or current_request_id() or "",
        )
        return Put(self.put_through(_first_peer(route), header, source, on_progress=on_progress))

    def put_through(
        self,
        peer: Peer,
        header: PutHeader,
        source: Source,
        *,
        patience: Patience | None = None,
        on_progress: Progress | None = None,
    ) -> PutTransfer:
        """Send what ``source`` has and will have to ``peer``: how a hop forwards a put."""
        return PutTransfer(
            self._links, peer, patience or self._limits.patience, header, source, on_progress
        )

    async def reach(self, route: Route, *, stands: Callable[[], None]) -> None:
        """Return when the first hop of ``route`` has answered; the connection is kept for a while.

        Args:
            route: as the coordinator gave it.
            stands: called when there is a connection.  By TLS 1.3 the hop has not said by then whether it
                admits this certificate, so a connection alone shows nothing.

        Raises:
            UnreachableError: none can be opened within the deadline, or it is closed without an answer.
            RejectedError: somebody else answers.
        """
        peer = _first_peer(route)
        link = await self._links.reach(peer.identity, peer.addresses)
        stands()
        await link.connection.heard(self._limits.dial_s)

    async def get(
        self,
        route: Route,
        offset: int = 0,
        length: int = 0,
        *,
        request_id: str = "",
        on_progress: Progress | None = None,
    ) -> PooledBuffer:
        """Fetch stored bytes along ``route`` into a pooled buffer that the caller releases.

        A whole chunk (offset 0, length 0) is verified against its id, a large one in a thread.  Cancellation
        releases everything.

        Args:
            route: as the coordinator gave it.
            offset: first stored byte wanted.
            length: stored bytes wanted; 0: to the end.
            request_id: for logs at every hop; empty: the one of the operation that this is part of.
            on_progress: told the number of payload bytes each time some arrived; 0 while the get
                waits for room at the peer and others move.

        Raises:
            UnreachableError: no connection, or no byte within the stall time.
            WrongBytesError: the bytes that came do not match the chunk id.
            CorruptionError: the hop says that its copy is damaged.
            NotFoundError, BusyError, RejectedError, ...: as the hop answered.
        """
        peer = _first_peer(route)
        limit = min(route.stored_length, CHUNK_STORED_MAX_BYTES)
        header = GetHeader(
            chunk_id=route.chunk,
            offset=offset,
            length=length,
            hops=ticket_messages(route.hops),
            request_id=request_id or current_request_id() or "",
        )
        buffer = await self._pool.acquire(
            min(length or limit, limit), timeout_s=self._limits.buffer_wait_s
        )
        try:
            transfer = self.get_through(peer, header, buffer, on_progress=on_progress)
            try:
                inbound = await transfer.begin()
                await inbound.wait_for(inbound.total, self._limits.patience.stall_s)
            finally:
                transfer.end()
            buffer.shrink(inbound.total)
            if not offset and not length:
                await self._verify(buffer, route.chunk)
        except BaseException:
            buffer.release()
            raise
        return buffer

    def get_through(
        self,
        peer: Peer,
        header: GetHeader,
        buffer: PooledBuffer,
        *,
        patience: Patience | None = None,
        on_progress: Progress | None = None,
    ) -> GetTransfer:
        """Prepare a get into ``buffer`` that can be followed: how a relay passes a get on."""
        return GetTransfer(
            self._links, peer, patience or self._limits.patience, header, buffer, on_progress
        )

    async def close(self) -> None:
        """Close all connections; transfers under way fail with UnreachableError."""
        await self._links.close()

    async def _verify(self, buffer: PooledBuffer, chunk_id: bytes) -> None:
        view = buffer.view
        if len(view) <= HASH_INLINE_MAX_BYTES:
            found = blake3(view).digest()
        else:
            found = await self._threads.run_to_end(lambda: blake3(view).digest())
        if found != chunk_id:
            raise WrongBytesError("A node sent a damaged chunk; another copy must be read.")


def peer_of(identity: str, addresses: Sequence[AddressMessage]) -> Peer:
    """Return whom ``identity`` at ``addresses`` names, or raise UsageError."""
    return Peer(SpiffeId.parse(identity), addresses_from(addresses))


def _first_peer(route: Route) -> Peer:
    if not 1 <= len(route.hops) <= ROUTE_MAX_HOPS:
        raise UsageError(f"A route has 1 to {ROUTE_MAX_HOPS} hops.")
    return Peer(route.first, route.addresses)
