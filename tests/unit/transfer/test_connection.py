"""Frames of one connection: in order, whole, and each before the connection ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

import pytest

from collective.core.errors import CollectiveError, UnreachableError
from collective.core.limits import KIB
from collective.transfer.stream.connection import ChunkConnection, WriteBounds
from collective.transfer.stream.frames import FrameType
from tests.unit.transfer.memory import MemoryTransport, connect
from tests.unit.transfer.test_frames import Sink

SIZES: Final = (0, 1, 100, 8 * KIB, 8 * KIB + 1, 40_000, 64 * KIB)
"""Of payload: some is gathered, some is not."""


class Heard(Sink):
    """What one end hears."""

    lost: CollectiveError | None = None

    @property
    def payloads(self) -> dict[int, bytes]:
        return {
            frame.request_id: bytes(place.memory)
            for frame, _, place in self.frames
            if place is not None
        }

    def connection_lost(self, error: CollectiveError) -> None:
        self.lost = error


@dataclass
class End:
    """One end of a connection over memory."""

    connection: ChunkConnection = field(default_factory=ChunkConnection)
    heard: Heard = field(default_factory=Heard)
    transport: MemoryTransport = field(init=False)

    def __post_init__(self) -> None:
        self.connection.handler = self.heard


@pytest.fixture
async def ends() -> tuple[End, End]:
    here, there = End(), End(ChunkConnection(WriteBounds(1000, 100_000)))
    here.transport, there.transport = connect(here.connection, there.connection)
    return here, there


async def until_idle() -> None:
    """Let what was written arrive: a connection over memory moves at each turn of the loop."""
    for _ in range(2000):
        await asyncio.sleep(0)


async def test_frames_arrive_in_order_though_their_payload_is_reused_at_once(
    ends: tuple[End, End],
) -> None:
    here, there = ends
    lent = bytearray(max(SIZES))
    sent = {}
    for number in range(1, 200):
        size = SIZES[number * number % len(SIZES)]
        lent[:size] = bytes([number]) * size
        payload = (memoryview(lent)[:size],) if size else ()
        here.connection.send(FrameType.PUT, number, None, payload)
        sent[number] = bytes([number]) * size
        lent[:size] = b"\xee" * size
        if number % 7 == 0:
            await here.connection.writable(10)
    await until_idle()
    assert [frame.request_id for frame, _, _ in there.heard.frames] == list(sent)
    assert there.heard.payloads == {number: data for number, data in sent.items() if data}


async def test_small_frames_of_one_turn_are_written_together(ends: tuple[End, End]) -> None:
    here, there = ends
    for number in range(1, 17):
        here.connection.send(FrameType.PUT_RESULT, number)
    assert not there.transport._inbox
    await asyncio.sleep(0)
    assert len(there.transport._inbox) == 1
    await until_idle()
    assert len(there.heard.frames) == 16


async def test_the_last_frame_comes_before_the_connection_is_closed(ends: tuple[End, End]) -> None:
    here, there = ends
    here.connection.send(FrameType.PUT, 7, None, (memoryview(b"last"),))
    here.connection.close()
    await until_idle()
    assert there.heard.payloads == {7: b"last"}
    assert isinstance(there.heard.lost, UnreachableError)


async def test_a_peer_is_told_why_its_connection_ends(ends: tuple[End, End]) -> None:
    here, _ = ends
    here.transport.write(b"\xff" * 64)
    await until_idle()
    assert [frame.type for frame, _, _ in here.heard.frames] == [FrameType.ERROR]
    assert here.heard.lost is not None


async def test_a_peer_that_reads_no_answers_is_dropped(ends: tuple[End, End]) -> None:
    here, there = ends
    here.transport.stuck = True
    for number in range(100_000):
        there.connection.answer(FrameType.PUT_RESULT, number)
        if not there.connection.open:
            break
    assert isinstance(there.heard.lost, UnreachableError)
    assert "reads no answers" in there.heard.lost.message
