"""Framing: round trips under any split, typed errors for any bytes, bounded memory."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collective.core.limits import CHUNK_STORED_MAX_BYTES
from collective.transfer.stream.frames import (
    BLOCKED,
    FRAME_HEADER_BYTES,
    HEAD_MAX_BYTES,
    Blocked,
    Frame,
    FrameFlag,
    FrameReader,
    FrameType,
    FramingError,
    PayloadTarget,
    decode_frame,
    encode_head,
)


class Place:
    def __init__(self, size: int) -> None:
        self.memory = bytearray(size)
        self.at = 0

    def free(self) -> memoryview:
        return memoryview(self.memory)[self.at :]

    def landed(self, count: int) -> None:
        self.at += count


class Sink:
    """Records frames; every payload gets a place of its own, or is discarded."""

    def __init__(self, *, discard: bool = False, block: bool = False) -> None:
        self.frames: list[tuple[Frame, bytes, Place | None]] = []
        self.discard = discard
        self.block = block

    def frame_begun(self, frame: Frame, head: bytes) -> PayloadTarget | Blocked | None:
        place = Place(frame.payload_length) if frame.payload_length else None
        self.frames.append((frame, head, place))
        if self.block and place is not None:
            return BLOCKED
        return None if self.discard else place


def feed(reader: FrameReader, data: bytes, cuts: list[int], sink: Sink) -> None:
    """Give ``data`` in reads of the sizes in ``cuts``, over and over."""
    sizes = itertools.cycle(cuts or [1 << 20])
    at = 0
    while at < len(data):
        if reader.blocked:
            reader.unblock(sink.frames[-1][2])
        view = reader.buffer()
        assert 0 < len(view) <= CHUNK_STORED_MAX_BYTES
        count = min(len(view), next(sizes), len(data) - at)
        view[:count] = data[at : at + count]
        at += count
        reader.received(count)


@st.composite
def frames(draw: st.DrawFn) -> tuple[FrameType, int, FrameFlag, bytes, bytes]:
    kind = draw(st.sampled_from(FrameType))
    has_head = kind not in {FrameType.CANCEL, FrameType.PING, FrameType.PONG, FrameType.DATA}
    has_payload = kind in {FrameType.PUT, FrameType.GET_RESULT, FrameType.DATA}
    head = draw(st.binary(max_size=60)) if has_head else b""
    least = 1 if kind is FrameType.DATA else 0
    payload = draw(st.binary(min_size=least, max_size=300)) if has_payload else b""
    flag = draw(st.sampled_from(FrameFlag)) if kind is FrameType.PUT_RESULT else FrameFlag.NONE
    return kind, draw(st.integers(1, 2**32 - 1)), flag, head, payload


SOME_FRAMES = st.lists(frames(), max_size=8)
CUTS = st.lists(st.integers(1, 80), max_size=60)


@given(SOME_FRAMES, CUTS, st.booleans())
def test_round_trip_under_any_split(
    sent: list[tuple[FrameType, int, FrameFlag, bytes, bytes]], cuts: list[int], block: bool
) -> None:
    sink = Sink(block=block)
    reader = FrameReader(sink)
    data = b"".join(
        encode_head(kind, number, head, len(payload), flag) + payload
        for kind, number, flag, head, payload in sent
    )
    feed(reader, data, cuts, sink)
    got = [
        (frame.type, frame.request_id, frame.flags, head, bytes(place.memory) if place else b"")
        for frame, head, place in sink.frames
    ]
    assert got == sent


@given(SOME_FRAMES)
def test_discarded_payload_keeps_the_framing(
    sent: list[tuple[FrameType, int, FrameFlag, bytes, bytes]],
) -> None:
    sink = Sink(discard=True)
    reader = FrameReader(sink)
    data = b"".join(
        encode_head(kind, number, head, len(payload), flag) + payload
        for kind, number, flag, head, payload in sent
    )
    feed(reader, data, [], sink)
    assert [frame.request_id for frame, _, _ in sink.frames] == [number for _, number, *_ in sent]


@settings(max_examples=400)
@given(st.binary(max_size=400), CUTS)
def test_arbitrary_bytes_give_frames_or_a_typed_error(data: bytes, cuts: list[int]) -> None:
    sink = Sink(discard=True)
    reader = FrameReader(sink)
    try:
        feed(reader, data, cuts, sink)
    except FramingError:
        with pytest.raises(FramingError):
            reader.buffer()
        with pytest.raises(FramingError):
            reader.received(1)


@given(st.binary(min_size=FRAME_HEADER_BYTES, max_size=FRAME_HEADER_BYTES))
def test_decoded_header_encodes_to_the_same_bytes(raw: bytes) -> None:
    try:
        frame = decode_frame(raw)
    except FramingError:
        return
    assert frame.encode() == raw


def header(kind: int, flags: int = 0, reserved: int = 0, number: int = 1, *lengths: int) -> bytes:
    head, payload = lengths or (0, 0)
    return (
        bytes([kind, flags])
        + reserved.to_bytes(2, "big")
        + number.to_bytes(4, "big")
        + head.to_bytes(4, "big")
        + payload.to_bytes(4, "big")
    )


@pytest.mark.parametrize(
    "raw",
    [
        header(0),
        header(10),
        header(255),
        header(1, 2),
        header(1, 1),
        header(2, 0, 1),
        header(2, 0, 0, 0),
        header(2, 0, 0, 1, HEAD_MAX_BYTES + 1, 0),
        header(1, 0, 0, 1, 1, CHUNK_STORED_MAX_BYTES + 1),
        header(2, 0, 0, 1, 1, 1),
        header(6, 0, 0, 1, 1, 0),
        header(7, 0, 0, 0, 0, 1),
        header(9, 0, 0, 1, 0, 0),
        header(9, 0, 0, 1, 1, 1),
    ],
)
def test_malformed_header_is_refused(raw: bytes) -> None:
    with pytest.raises(FramingError):
        decode_frame(raw)


def test_layout_is_frozen() -> None:
    raw = encode_head(FrameType.PUT, 0x01020304, b"head", 0x10, FrameFlag.NONE)
    assert raw.hex() == "01000000010203040000000400000010" + b"head".hex()


def test_payload_longer_than_its_place_is_refused() -> None:
    class Narrow(Sink):
        def frame_begun(self, frame: Frame, head: bytes) -> PayloadTarget | Blocked | None:
            return Place(9)

    sink = Narrow()
    with pytest.raises(FramingError, match="longer"):
        feed(FrameReader(sink), encode_head(FrameType.DATA, 1, b"", 10) + bytes(10), [], sink)


def test_abandoned_place_is_not_written_any_more() -> None:
    sink = Sink()
    reader = FrameReader(sink)
    feed(reader, encode_head(FrameType.DATA, 1, b"", 10) + b"abcd", [], sink)
    place = sink.frames[0][2]
    assert place is not None
    reader.abandon(place)
    feed(reader, b"efghij" + encode_head(FrameType.PING, 0), [], sink)
    assert place.memory == b"abcd" + bytes(6)
    assert sink.frames[-1][0].type is FrameType.PING
