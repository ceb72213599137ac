"""Transfers that this process asks for: one put or get on a link, as a state of its own.

Both end exactly once, leave their link then, and cancel at the peer what is not over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from collective.core.errors import CollectiveError, RejectedError, UnreachableError
from collective.core.ids import SpiffeId
from collective.core.limits import KIB
from collective.core.units import Address
from collective.model.progress import Progress
from collective.rpc.errors import from_detail
from collective.rpc.gen.collective.v1 import ErrorDetail
from collective.rpc.gen.collective.v1.transfer import GetHeader, GetResult, PutHeader, PutResult
from collective.transfer.buffers import PooledBuffer
from collective.transfer.stream.frames import (
    PIECE_BYTES,
    Frame,
    FrameFlag,
    FrameType,
    PayloadTarget,
    parse_head,
)
from collective.transfer.stream.inbound import Inbound
from collective.transfer.stream.kept_links import KeptLinks
from collective.transfer.stream.link import Link

FOLLOW_BYTES: Final = 64 * KIB
"""Least piece that is passed on before more arrives."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to ask: SPIFFE id and where to try."""

    identity: SpiffeId
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Patience:
    """Deadlines of an outbound transfer, in seconds."""

    stall_s: float = 10.0
    """Without one payload byte taken or given."""
    answer_s: float = 30.0
    """Without an answer, after everything was sent."""


class Source(Protocol):
    """Payload to be sent, perhaps still growing."""

    total: int

    async def wait_for(self, count: int, stall_s: float) -> None:
        """Wait until ``count`` bytes are there."""
        ...

    def slices(self, begin: int, end: int) -> tuple[memoryview, ...]:
        """Return bytes that are there, without copying."""
        ...

    @property
    def received(self) -> int:
        """Bytes there."""
        ...


class PartsSource:
    """Payload wholly in memory, in parts."""

    def __init__(self, parts: Sequence[memoryview | bytes | bytearray]) -> None:
        """Send ``parts`` one after the other."""
        self._parts = [memoryview(part).cast("B") for part in parts if len(part)]
        self.total = sum(map(len, self._parts))

    @property
    def received(self) -> int:
        """Everything is there."""
        return self.total

    async def wait_for(self, count: int, stall_s: float) -> None:
        """Return at once."""

    def slices(self, begin: int, end: int) -> tuple[memoryview, ...]:
        """Return views of the parts between ``begin`` and ``end``."""
        found = []
        for part in self._parts:
            if begin < len(part) and end > 0:
                found.append(part[max(begin, 0) : end])
            begin -= len(part)
            end -= len(part)
            if end <= 0:
                break
        return tuple(found)


class _Outbound:
    """What puts and gets share: a place on a link, an error, and being woken."""

    def __init__(self, links: KeptLinks, peer: Peer, patience: Patience) -> None:
        self._links = links
        self._peer = peer
        self._patience = patience
        self._link: Link | None = None
        self._request_id = 0
        self._error: CollectiveError | None = None
        self._over = False
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self.last_progress_s: float = asyncio.get_running_loop().time()
        """Loop time of the last byte sent or received, or result."""

    async def _enter(self) -> Link:
        identity, addresses = self._peer.identity, self._peer.addresses
        self._link, self._request_id = await self._links.enter(identity, addresses, self)
        return self._link

    def _moved(self) -> tuple[int, int]:
        """Return the payload bytes sent, and those received."""
        raise NotImplementedError

    def _end(self) -> None:
        """Leave the link; idempotent."""
        self._ended = True
        if self._link is not None:
            if self._links.moved is not None:
                self._links.moved(self._peer.identity, *self._moved())
            self._link.leave(self._request_id, over=self._over)
            self._link = None

    async def _wait(self, timeout_s: float) -> None:
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError as error:
            raise UnreachableError(
                f"{self._peer.identity} gave no answer for {timeout_s:g} s; try again or another way."
            ) from error
        finally:
            self._waiter = None

    def _wake(self) -> None:
        self.last_progress_s = asyncio.get_running_loop().time()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def failed(self, error: CollectiveError) -> None:
        """No answer will come."""
        self._over = True
        self._error = self._error or error
        self._wake()

    def neighbour_moved(self) -> None:
        """Another exchange with the peer moved."""

    def answered(self, frame: Frame, head: bytes) -> PayloadTarget | None:
        """Take an answer."""
        raise NotImplementedError


class PutTransfer(_Outbound, AsyncIterator[PutResult]):
    """One put under way: iterate for each hop's result, in the order in which they come.

    The iteration ends after the last hop's result.  It raises UnreachableError when the connection
    fails or stalls, or the error with which the first hop refused the request as a whole.  Leaving
    early needs :meth:`aclose` (or ``async with``), which cancels what is not finished.  One task
    at a time may iterate.
    """

    def __init__(
        self,
        links: KeptLinks,
        peer: Peer,
        patience: Patience,
        header: PutHeader,
        source: Source,
        on_progress: Progress | None,
    ) -> None:
        """Only a client makes these."""
        super().__init__(links, peer, patience)
        self._header = header
        self._source = source
        self._on_progress = on_progress
        self._results: deque[PutResult] = deque()
        self._results_left = max(1, len(header.hops))
        self._begun = False
        self._waits_for_turn = True
        self.sent_bytes = 0
        """Payload bytes handed to the connection."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel the transfer if it is not finished; afterwards the parts may be reused."""
        self._end()

    async def __anext__(self) -> PutResult:
        if self._ended and not self._results:
            raise StopAsyncIteration
        try:
            if not self._begun:
                self._begun = True
                await self._send()
            while not (self._results or self._over):
                await self._wait(self._patience.answer_s)
        except BaseException:
            self._end()
            raise
        if self._results:
            return self._results.popleft()
        self._end()
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def _moved(self) -> tuple[int, int]:
        return self.sent_bytes, 0

    def _wanted(self) -> bool:
        """Whether the peer still waits for payload."""
        return not self._over

    async def _send(self) -> None:
        link = await self._enter()
        if self._source.received < self._source.total:
            self._waits_for_turn = False
            await self._send_pieces(link)  # still growing: nobody waits for its other end
            return
        async with link.turn:
            self._waits_for_turn = False
            await self._send_pieces(link)

    async def _send_pieces(self, link: Link) -> None:
        source, total, stall_s = self._source, self._source.total, self._patience.stall_s
        while self.sent_bytes < total and self._wanted():
            await source.wait_for(min(self.sent_bytes + FOLLOW_BYTES, total), stall_s)
            await link.connection.writable(stall_s)
            if not self._wanted():
                break
            end = min(source.received, self.sent_bytes + PIECE_BYTES)
            first = self.sent_bytes == 0
            link.connection.send(
                FrameType.PUT if first else FrameType.DATA,
                self._request_id,
                self._header if first else None,
                source.slices(self.sent_bytes, end),
            )
            sent, self.sent_bytes = end - self.sent_bytes, end
            self._progressed(sent)
            link.moved(self._request_id)

    def _progressed(self, sent: int) -> None:
        self.last_progress_s = asyncio.get_running_loop().time()
        if self._on_progress is not None:
            self._on_progress(sent)

    def neighbour_moved(self) -> None:
        """While this put waits for room or its turn, what others move is its progress."""
        if self._waits_for_turn:
            self._progressed(0)

    def answered(self, frame: Frame, head: bytes) -> PayloadTarget | None:
        """Take a hop's result, or the error of the whole."""
        if frame.type is FrameType.ERROR:
            self.failed(from_detail(parse_head(ErrorDetail, head)))
        elif frame.type is FrameType.PUT_RESULT and self._results_left and not self._over:
            self._results_left -= 1
            self._results.append(parse_head(PutResult, head))
            if FrameFlag.LAST in frame.flags or not self._results_left:
                self._over = True
            self._wake()
        return None


class GetTransfer(_Outbound):
    """One get under way: :meth:`begin`, then follow ``inbound``, then :meth:`end` in any case."""

    inbound: Inbound

    def __init__(
        self,
        links: KeptLinks,
        peer: Peer,
        patience: Patience,
        header: GetHeader,
        buffer: PooledBuffer,
        on_progress: Progress | None,
    ) -> None:
        """Receive into ``buffer``, which stays the caller's."""
        super().__init__(links, peer, patience)
        self._header = header
        self._buffer = buffer
        self._on_progress = on_progress
        self._inbound: Inbound | None = None
        self._waits_for_room = True
        self.total_length = 0
        """Stored length of the whole chunk, known after :meth:`begin`."""

    def _moved(self) -> tuple[int, int]:
        return 0, 0 if self._inbound is None else self._inbound.received

    async def begin(self) -> Inbound:
        """Ask, and return what comes once its beginning is here.

        Raises:
            UnreachableError: no answer in time.
            CollectiveError: the peer's refusal.
        """
        link = await self._enter()
        self._waits_for_room = False
        await link.connection.writable(self._patience.stall_s)
        link.connection.send(FrameType.GET, self._request_id, self._header)
        while self._inbound is None:
            if self._error is not None:
                raise self._error
            await self._wait(self._patience.answer_s)
        return self._inbound

    def end(self) -> None:
        """Let nothing more land in the buffer, and cancel what is not over; idempotent."""
        if self._inbound is not None:
            if self._inbound.complete:
                self._over = True
            elif self._link is not None:
                self._link.connection.abandon(self._inbound)
        self._end()

    def failed(self, error: CollectiveError) -> None:
        """No answer, or no further payload, will come."""
        super().failed(error)
        if self._inbound is not None:
            self._inbound.fail(error)

    def neighbour_moved(self) -> None:
        """While this get waits for room, what others move is a sign of life."""
        if self._waits_for_room and self._on_progress is not None:
            self._on_progress(0)

    def answered(self, frame: Frame, head: bytes) -> PayloadTarget | None:
        """Take the beginning, the next piece, or the error of the whole."""
        if self._over:
            return None
        if frame.type is FrameType.ERROR:
            self.failed(from_detail(parse_head(ErrorDetail, head)))
            return None
        if frame.type is FrameType.GET_RESULT and self._inbound is None and frame.payload_length:
            self._inbound = self._accept(parse_head(GetResult, head))
            self._wake()
        elif frame.type is not FrameType.DATA:
            self.failed(RejectedError("The peer answered a get with something else."))
        return self._inbound

    def _accept(self, result: GetResult) -> Inbound | None:
        asked = self._header
        length = min(asked.length or result.total_length, result.total_length - asked.offset)
        if (
            result.chunk_id != asked.chunk_id
            or result.offset != asked.offset
            or not 0 < length <= len(self._buffer)
        ):
            self.failed(RejectedError("The peer answered with other bytes than were asked for."))
            return None
        self.total_length = result.total_length
        return Inbound(self._buffer, length, self._on_progress)
