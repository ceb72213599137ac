"""How much a connection of another member may have before it: as much as one's own, as long as these are few."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.rpc.http2.member_share import (
    FOREIGN_UNREAD_MAX_BYTES,
    FOREIGN_WRITE_BYTES,
    WIDE_STREAMS_MAX,
    WIDE_UNREAD_MAX_BYTES,
)
from collective.rpc.wire.gathered_writes import GATHERED_MAX_BYTES
from collective.transfer.stream.connection import ChunkConnection
from collective.transfer.stream.frames import PIECE_BYTES, FrameType

from .memory import USER, Net, Silent, connect, node

BOB = Domain("garage.bob")
BEN = SpiffeId.user(BOB, GlobalId("ben", BOB))
BEA = SpiffeId.user(BOB, GlobalId("bea", BOB))
CAROLS = SpiffeId.coordinator(Domain("studio.carol"))


class Served:
    """A connection of ``peer`` at a node of alice's."""

    def __init__(self, net: Net, peer: SpiffeId) -> None:
        here = net.hops[0].server.protocol(peer)
        assert isinstance(here, ChunkConnection)
        self.here = here
        there = ChunkConnection()
        there.handler = Silent()
        self.theirs, self.ours = connect(there, here)
        self.theirs.stuck = True

    def unread_bytes(self) -> int:
        """Send answers until the connection is given up; return how much waited at most."""
        most = 0
        while self.here.open:
            self.here.answer(FrameType.PONG, 0)
            most = max(most, self.ours.get_write_buffer_size())
        return most


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    net = Net()
    net.add(node("a"))
    yield net
    await net.close()


async def test_the_first_connections_of_a_member_get_pieces_as_large_as_the_own_peoples(
    net: Net,
) -> None:
    people = [BEN, BEA]
    bobs = [Served(net, people[n % 2]) for n in range(WIDE_STREAMS_MAX + 2)]
    pieces = [one.here.piece_bytes for one in bobs]
    assert pieces == [PIECE_BYTES] * WIDE_STREAMS_MAX + [FOREIGN_WRITE_BYTES] * 2
    assert Served(net, CAROLS).here.piece_bytes == PIECE_BYTES, "another member has its own"
    assert [Served(net, USER).here.piece_bytes for _ in range(20)] == [PIECE_BYTES] * 20


async def test_a_connection_that_ended_gives_its_place_to_the_next(net: Net) -> None:
    bobs = [Served(net, BEN) for _ in range(WIDE_STREAMS_MAX)]
    assert Served(net, BEN).here.piece_bytes == FOREIGN_WRITE_BYTES
    bobs[3].ours.abort()
    await asyncio.sleep(0)
    assert Served(net, BEN).here.piece_bytes == PIECE_BYTES
    assert Served(net, BEN).here.piece_bytes == FOREIGN_WRITE_BYTES


async def test_what_waits_on_a_connection_that_takes_nothing_is_bounded(net: Net) -> None:
    bobs = [Served(net, BEN) for _ in range(WIDE_STREAMS_MAX + 1)]
    for one, most in ((bobs[0], WIDE_UNREAD_MAX_BYTES), (bobs[-1], FOREIGN_UNREAD_MAX_BYTES)):
        assert most - GATHERED_MAX_BYTES <= one.unread_bytes() <= most


def test_a_piece_that_waits_is_no_reason_to_give_a_connection_up() -> None:
    """A full piece may be behind what was about to make the writer wait."""
    assert FOREIGN_WRITE_BYTES + PIECE_BYTES < WIDE_UNREAD_MAX_BYTES
    assert 2 * FOREIGN_WRITE_BYTES < FOREIGN_UNREAD_MAX_BYTES
