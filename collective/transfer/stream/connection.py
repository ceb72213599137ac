"""One connection of the chunk stream: frames over an asyncio transport, without copies.

Payload is received straight into the buffer where it stays.  Every frame is written whole, in pieces of
at most :data:`~.frames.PIECE_BYTES`, so an abandoned transfer never leaves half a frame behind and needs
no lock.  Small frames of one turn of the event loop are written together.  A sender of payload awaits
:meth:`ChunkConnection.writable` before each piece; that is the back-pressure.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol, cast

import betterproto2

from collective.core.errors import CollectiveError, UnreachableError
from collective.core.limits import KIB, MIB
from collective.rpc.errors import to_detail
from collective.rpc.http2.closing import OpenTransports
from collective.rpc.wire.encoding import encode
from collective.rpc.wire.gathered_writes import GatheredWrites
from collective.transfer.stream.frames import (
    PIECE_BYTES,
    Blocked,
    Frame,
    FrameFlag,
    FrameReader,
    FrameType,
    FramingError,
    PayloadTarget,
    encode_head,
)

WRITE_HIGH_BYTES: Final = 512 * KIB
_BACKLOG_MAX_BYTES: Final = 4 * MIB
_TRASH_BYTES: Final = 4 * KIB
_GATHERED_BYTES: Final = 8 * KIB
"""Payload that is copied so that its frame goes together with others."""


@dataclass(frozen=True, slots=True)
class WriteBounds:
    """What may wait on a connection until the other end takes it, in bytes."""

    high_bytes: int = WRITE_HIGH_BYTES
    """Where payload waits."""
    backlog_max_bytes: int = _BACKLOG_MAX_BYTES
    """Unread answers after which a peer that only asks and never reads is dropped."""
    piece_bytes: int = PIECE_BYTES
    """What is written at once."""


class ConnectionHandler(Protocol):
    """What a connection serves: the requests of a client, or those of a server."""

    def frame_begun(self, frame: Frame, head: bytes) -> PayloadTarget | Blocked | None:
        """Hear of a frame (never PING or PONG); see :class:`~.frames.FrameSink`.

        May raise FramingError to end the connection.
        """
        ...

    def connection_lost(self, error: CollectiveError) -> None:
        """Hear, once, that nothing more will come."""
        ...


class ChunkConnection(asyncio.BufferedProtocol):
    """Frames of one connection.  Give it a ``handler`` before it is connected."""

    handler: ConnectionHandler

    def __init__(self, bounds: WriteBounds | None = None) -> None:
        """Be not connected yet; ``bounds`` are those of the own member unless given."""
        self._bounds = bounds or WriteBounds()
        self._reader = FrameReader(self)
        self._transport: asyncio.Transport | None = None
        self._out: GatheredWrites | None = None
        """Writes to the transport."""
        self._lost: CollectiveError | None = None
        self._write_paused = False
        self._writers: list[asyncio.Future[None]] = []
        self._listeners: list[asyncio.Future[None]] = []
        """Who waits for the first frame."""
        self._trash: memoryview | None = None
        self.frames_received = 0
        """Liveness: goes up with every frame but a farewell."""
        self.open_transports: OpenTransports | None = None
        """Told of the transport, if set before the connection is made."""

    @property
    def source(self) -> str:
        """The host at the other end; empty if that is not known."""
        found = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(found[0]) if isinstance(found, tuple) and found else ""

    @property
    def piece_bytes(self) -> int:
        """What is written at once, at most."""
        return self._bounds.piece_bytes

    @property
    def open(self) -> bool:
        """Whether frames can be sent."""
        return self._transport is not None and self._lost is None

    @property
    def write_paused(self) -> bool:
        """Whether the peer has not taken what was sent to it."""
        return self._write_paused

    # --- sending ---

    async def writable(self, stall_s: float) -> None:
        """Wait until the peer has taken enough of what was sent; lets others run in any case.

        Raises:
            UnreachableError: it took too little for ``stall_s`` seconds, or is gone.
        """
        if self.open and not self._write_paused:
            await asyncio.sleep(0)
        while self.open and self._write_paused:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._writers.append(future)
            try:
                async with asyncio.timeout(stall_s):
                    await future
            except TimeoutError as error:
                raise UnreachableError(
                    f"The peer took no data for {stall_s:g} s; try again or another way."
                ) from error
            finally:
                if future in self._writers:
                    self._writers.remove(future)
        if self._lost is not None:
            raise self._lost

    async def heard(self, within_s: float) -> None:
        """Return once the peer has sent a frame on this connection, if need be because it is asked to.

        Raises:
            UnreachableError: the connection ended before, or nothing came for ``within_s`` seconds.
        """
        if not self.frames_received:
            self.send(FrameType.PING, 0)
        try:
            async with asyncio.timeout(within_s):
                while not self.frames_received and self._lost is None:
                    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._listeners.append(future)
                    await future
        except TimeoutError as error:
            raise UnreachableError(
                f"The peer sent nothing for {within_s:g} s; try again or another way."
            ) from error
        if not self.frames_received and self._lost is not None:
            raise self._lost

    def send(
        self,
        kind: FrameType,
        request_id: int,
        message: betterproto2.Message | None = None,
        payload: tuple[memoryview, ...] = (),
        flags: FrameFlag = FrameFlag.NONE,
    ) -> None:
        """Send one frame, by the end of this turn of the loop; nothing is sent on a lost connection.

        ``payload`` (at most PIECE_BYTES in all) is copied or encrypted before this returns.
        """
        if self._out is None or self._lost is not None:
            return
        length = sum(map(len, payload))
        assert length <= PIECE_BYTES
        head = encode(message) if message is not None else b""
        begin = encode_head(kind, request_id, head, length, flags)
        if length > _GATHERED_BYTES:
            self._out.write_through([begin, *payload])
        else:
            self._out.write(b"".join([begin, *payload]) if payload else begin)

    def answer(
        self,
        kind: FrameType,
        request_id: int,
        message: betterproto2.Message | None = None,
        flags: FrameFlag = FrameFlag.NONE,
    ) -> None:
        """Send a frame that a frame of the peer caused; drop a peer that reads none of them."""
        self.send(kind, request_id, message, flags=flags)
        if (
            self._out is not None
            and self._out.get_write_buffer_size() > self._bounds.backlog_max_bytes
        ):
            self.abort(UnreachableError("The peer reads no answers."))

    def answer_error(self, request_id: int, error: CollectiveError, trace: str = "") -> None:
        """End request ``request_id`` by ``error``; ``trace`` is the id that logs know it by."""
        self.answer(FrameType.ERROR, request_id, to_detail(error, trace))

    def unblock(self, landing: PayloadTarget | None) -> None:
        """Say where the payload lands that the handler was :data:`~.frames.BLOCKED` on."""
        if self._lost is not None or self._transport is None:
            return
        try:
            self._reader.unblock(landing)
        except FramingError as error:
            self._fail(error)
            return
        self._transport.resume_reading()

    def abandon(self, landing: PayloadTarget) -> None:
        """Let nothing more land in ``landing``; the rest of its payload is discarded."""
        self._reader.abandon(landing)

    def close(self) -> None:
        """Close after what was sent; later frames are not delivered."""
        self._drop(UnreachableError("The connection was closed."))
        if self._out is not None:
            self._out.close()

    def abort(self, error: CollectiveError) -> None:
        """Close at once because of ``error``."""
        self._drop(error)
        if self._out is not None:
            self._out.abort()

    def _fail(self, error: FramingError) -> None:
        self.send(FrameType.ERROR, 0, to_detail(error))
        self._drop(error)
        if self._out is not None:
            self._out.close()

    def _drop(self, error: CollectiveError) -> None:
        if self._lost is not None:
            return
        self._lost = error
        self._wake_writers()
        self._wake_listeners()
        self.handler.connection_lost(error)

    # --- asyncio.BufferedProtocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._out = GatheredWrites(self._transport)
        self._transport.set_write_buffer_limits(high=self._bounds.high_bytes)
        if self.open_transports is not None:
            self.open_transports.made(self._transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the frame knows better
        """Return where the next bytes belong."""
        if self._lost is not None or self._reader.blocked:
            if self._trash is None:
                self._trash = memoryview(bytearray(_TRASH_BYTES))
            return self._trash
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Act on received bytes."""
        if self._lost is not None:
            return
        if self._reader.blocked:
            self.abort(FramingError("Bytes came while reading was paused."))
            return
        try:
            blocked = self._reader.received(nbytes)
        except FramingError as error:
            self._fail(error)
            return
        if blocked and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The peer sends no more: nothing can be answered usefully either."""
        self._drop(UnreachableError("The peer closed the connection."))

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        lost = UnreachableError("The connection broke; try again.")
        lost.__cause__ = exc
        self._drop(lost)
        if self.open_transports is not None and self._transport is not None:
            self.open_transports.gone(self._transport)
        self._transport = self._out = None

    def pause_writing(self) -> None:
        """Too much is unsent."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Enough was sent."""
        self._write_paused = False
        self._wake_writers()

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        _wake(writers)

    def _wake_listeners(self) -> None:
        listeners, self._listeners = self._listeners, []
        _wake(listeners)

    # --- FrameSink ---

    def frame_begun(self, frame: Frame, head: bytes) -> PayloadTarget | Blocked | None:
        """Answer PING, pass the rest to the handler."""
        if frame.type is FrameType.ERROR and not frame.request_id:  # a farewell
            return self.handler.frame_begun(frame, head)
        self.frames_received += 1
        if self._listeners:
            self._wake_listeners()
        if frame.type is FrameType.PING:
            self.answer(FrameType.PONG, 0)
            return None
        if frame.type is FrameType.PONG:
            return None
        return self.handler.frame_begun(frame, head)


def _wake(waiting: list[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
