"""Framing of the chunk stream, without I/O: bytes in, typed events out; bytes out from values.

A frame is a 16-byte big-endian header (type u8, flags u8, reserved u16 = 0, request id u32, head
length u32, payload length u32), a head (a serialised protobuf message) and a payload.  A payload
may come in pieces: the first in the PUT or GET_RESULT frame that describes it, the rest in DATA
frames of the same request id, so that frames of many requests share a connection fairly and an
aborted payload never breaks the framing.

The reader owns no payload memory: its sink gives it the place where payload bytes belong, and they
are received there.  Invariants: memory held is one frame header, one head (at most
:data:`HEAD_MAX_BYTES`) and one scratch piece for discarded payload; after an error it stays failed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, Protocol, TypeVar

import betterproto2

from collective.core.errors import RejectedError
from collective.core.limits import CHUNK_STORED_MAX_BYTES, KIB
from collective.rpc.wire.decoding import parse_message

M = TypeVar("M", bound=betterproto2.Message)

FRAME_HEADER_BYTES: Final = 16
HEAD_MAX_BYTES: Final = 16 * KIB
PIECE_BYTES: Final = 256 * KIB
"""Payload bytes our side puts in one frame; any size up to the largest chunk is accepted."""
_SCRATCH_BYTES: Final = 64 * KIB
_LAYOUT: Final = struct.Struct(">BBHIII")


class FramingError(RejectedError):
    """The peer sent bytes that are not frames; the connection cannot be used further."""

    code = "framing"


class FrameType(IntEnum):
    """What a frame is."""

    PUT = 1
    """PutHeader and the first piece of the chunk."""
    GET = 2
    """GetHeader."""
    PUT_RESULT = 3
    """PutResult of one hop; LAST on the final one of the request."""
    GET_RESULT = 4
    """GetResult and the first piece of what was asked for."""
    ERROR = 5
    """ErrorDetail: the request failed as a whole and is over; id 0: the connection is over."""
    CANCEL = 6
    """The requester wants nothing more of the request; nothing else answers it."""
    PING = 7
    PONG = 8
    DATA = 9
    """The next piece of a PUT or GET_RESULT payload; no head."""


class FrameFlag(IntFlag):
    """Flags of a frame; unknown ones are refused."""

    NONE = 0
    LAST = 1


_HAS_HEAD: Final = frozenset(
    {
        FrameType.PUT,
        FrameType.GET,
        FrameType.PUT_RESULT,
        FrameType.GET_RESULT,
        FrameType.ERROR,
    }
)
_HAS_PAYLOAD: Final = frozenset({FrameType.PUT, FrameType.GET_RESULT, FrameType.DATA})
_OF_CONNECTION: Final = frozenset({FrameType.PING, FrameType.PONG, FrameType.ERROR})


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame's header: lengths in bytes, ``request_id`` u32 (0 for PING, PONG, last ERROR)."""

    type: FrameType
    request_id: int
    flags: FrameFlag = FrameFlag.NONE
    head_length: int = 0
    payload_length: int = 0

    def encode(self) -> bytes:
        """Return the 16 bytes of the header."""
        return _LAYOUT.pack(
            self.type, self.flags, 0, self.request_id, self.head_length, self.payload_length
        )


def decode_frame(raw: bytes | bytearray | memoryview) -> Frame:
    """Return the frame header in the 16 bytes ``raw``, or raise :class:`FramingError`."""
    kind_code, flags_code, reserved, request_id, head_length, payload_length = _LAYOUT.unpack(raw)
    try:
        kind = FrameType(kind_code)
    except ValueError as error:
        raise FramingError(f"Frame type {kind_code} is unknown; is the peer newer?") from error
    if reserved or flags_code & ~FrameFlag.LAST:
        raise FramingError("A frame sets bits that have no meaning; is the peer newer?")
    if flags_code and kind is not FrameType.PUT_RESULT:
        raise FramingError(f"A {kind.name} frame has no flags.")
    if head_length > HEAD_MAX_BYTES or (head_length and kind not in _HAS_HEAD):
        raise FramingError(f"A {kind.name} frame has a head of {head_length} bytes.")
    if payload_length > CHUNK_STORED_MAX_BYTES or (payload_length and kind not in _HAS_PAYLOAD):
        raise FramingError(f"A {kind.name} frame has a payload of {payload_length} bytes.")
    if kind is FrameType.DATA and not payload_length:
        raise FramingError("A DATA frame is empty.")
    if not request_id and kind not in _OF_CONNECTION:
        raise FramingError(f"A {kind.name} frame belongs to no request.")
    return Frame(kind, request_id, FrameFlag(flags_code), head_length, payload_length)


def parse_head(message_class: type[M], head: bytes) -> M:
    """Return the message in a frame's head, or raise :class:`FramingError`."""
    try:
        return parse_message(message_class, head)
    except RejectedError as error:
        raise FramingError(f"The {message_class.__name__} of a frame does not parse.") from error


def encode_head(
    kind: FrameType,
    request_id: int,
    head: bytes = b"",
    payload_length: int = 0,
    flags: FrameFlag = FrameFlag.NONE,
) -> bytes:
    """Return a frame up to its payload: header and ``head`` (at most HEAD_MAX_BYTES)."""
    assert len(head) <= HEAD_MAX_BYTES
    return Frame(kind, request_id, flags, len(head), payload_length).encode() + head


class PayloadTarget(Protocol):
    """Where a payload lands: a transfer's final buffer."""

    def free(self) -> memoryview:
        """Return the writable rest of the place, empty when it is full."""
        ...

    def landed(self, count: int) -> None:
        """Hear that ``count`` more bytes stand in the place."""
        ...


class FrameSink(Protocol):
    """Who hears of frames."""

    def frame_begun(self, frame: Frame, head: bytes) -> PayloadTarget | Blocked | None:
        """Hear of a frame whose head is complete.

        Returns:
            where its payload lands; None to discard it; :data:`BLOCKED` to decide later by
            :meth:`FrameReader.unblock`.  Ignored for frames without payload.
        """
        ...


class Blocked:
    """The type of :data:`BLOCKED`."""


BLOCKED: Final = Blocked()


class FrameReader:
    """Turns received bytes into calls of a sink, and says where the next bytes belong.

    Use: ``view = reader.buffer()``; receive into it; ``reader.received(count)``; again.  While
    :attr:`blocked`, no bytes may be received.
    """

    def __init__(self, sink: FrameSink) -> None:
        """Deliver to ``sink``."""
        self._sink = sink
        self._small = memoryview(bytearray(FRAME_HEADER_BYTES + HEAD_MAX_BYTES))
        self._filled = 0
        self._wanted = FRAME_HEADER_BYTES
        self._frame: Frame | None = None
        self._payload_left = 0
        self._landing: PayloadTarget | None = None
        self._scratch: memoryview | None = None
        self._blocked = False
        self._failed = False

    @property
    def blocked(self) -> bool:
        """Whether the sink has yet to say where a payload lands."""
        return self._blocked

    def buffer(self) -> memoryview:
        """Return where the next bytes belong; never empty."""
        assert not self._blocked
        if self._failed:
            raise FramingError("The stream has failed already.")
        if not self._payload_left:
            return self._small[self._filled : self._wanted]
        if self._landing is not None:
            return self._landing.free()[: self._payload_left]
        if self._scratch is None:
            self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        return self._scratch[: self._payload_left]

    def received(self, count: int) -> bool:
        """Account for ``count`` bytes (> 0) placed at the beginning of :meth:`buffer`.

        Returns:
            :attr:`blocked`, as it is afterwards.

        Raises:
            FramingError: the bytes break the framing; nothing more can be read.
        """
        assert count > 0
        if self._failed:
            raise FramingError("The stream has failed already.")
        if self._payload_left:
            self._payload_left -= count
            assert self._payload_left >= 0
            landing = self._landing
            if not self._payload_left:
                self._next_frame()
            if landing is not None:
                landing.landed(count)
            return False
        self._filled += count
        if self._filled == self._wanted:
            try:
                self._small_complete()
            except FramingError:
                self._failed = True
                raise
        return self._blocked

    def unblock(self, landing: PayloadTarget | None) -> None:
        """Say where the payload lands that the sink was blocked on (None: discard it).

        Raises:
            FramingError: the payload does not fit there.
        """
        assert self._blocked
        self._blocked = False
        self._land(landing)

    def _small_complete(self) -> None:
        if self._frame is None:
            self._frame = decode_frame(self._small[:FRAME_HEADER_BYTES])
            self._wanted = FRAME_HEADER_BYTES + self._frame.head_length
            if self._frame.head_length:
                return
        frame = self._frame
        head = bytes(self._small[FRAME_HEADER_BYTES : self._wanted])
        self._payload_left = frame.payload_length
        if not self._payload_left:
            self._next_frame()
        answer = self._sink.frame_begun(frame, head)
        if frame.payload_length:
            if isinstance(answer, Blocked):
                self._blocked = True
            else:
                self._land(answer)

    def _land(self, landing: PayloadTarget | None) -> None:
        if landing is not None and len(landing.free()) < self._payload_left:
            self._failed = True
            raise FramingError("A payload is longer than its request allows.")
        self._landing = landing

    def abandon(self, landing: PayloadTarget) -> None:
        """Discard what is still to come of the current payload if it lands in ``landing``."""
        if self._landing is landing:
            self._landing = None

    def _next_frame(self) -> None:
        self._frame = None
        self._landing = None
        self._scratch = None
        self._filled = 0
        self._wanted = FRAME_HEADER_BYTES
