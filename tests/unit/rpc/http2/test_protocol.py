"""The bounds of one HTTP/2 connection, without a network."""

from __future__ import annotations

import asyncio
from typing import Any

from grpclib.config import Configuration
from grpclib.server import Handler
from h2.config import H2Configuration

from collective.rpc.http2.protocol import UNREAD_MAX_BYTES, BoundedH2Protocol

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
PING = b"\0\0\x08\6\0\0\0\0\0" + b"pingping"


class Unread(asyncio.Transport):
    """A transport whose peer may or may not read."""

    def __init__(self, *, is_read: bool) -> None:
        super().__init__()
        self.is_read = is_read
        self.kept = self.written = 0
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += len(data)
        self.kept += 0 if self.is_read else len(data)

    def get_write_buffer_size(self) -> int:
        return self.kept

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True


def connected(transport: Unread) -> BoundedH2Protocol:
    config = Configuration(_keepalive_time=1e6).__for_server__()
    made = BoundedH2Protocol(
        Handler({}, None, None, None),  # type: ignore[arg-type]
        config,
        H2Configuration(client_side=False, header_encoding="ascii"),
    )
    made.connection_made(transport)
    made.data_received(PREFACE)
    return made


async def test_a_peer_that_asks_and_never_reads_is_cut_off() -> None:
    transport = Unread(is_read=False)
    protocol = connected(transport)
    transport.kept = UNREAD_MAX_BYTES - 1000
    for _ in range(1000):
        protocol.data_received(PING)
        if transport.aborted:
            break
    assert transport.aborted
    assert transport.kept < UNREAD_MAX_BYTES + 1000
    protocol.connection_lost(None)


async def test_a_peer_that_reads_may_ask_as_often_as_it_likes() -> None:
    transport = Unread(is_read=True)
    protocol = connected(transport)
    for _ in range(2000):
        protocol.data_received(PING)
    await asyncio.sleep(0)
    assert transport.written > 2000 * len(PING)
    assert not transport.aborted
    protocol.connection_lost(None)


async def test_what_was_written_goes_out_before_the_connection_ends() -> None:
    transport = Unread(is_read=True)
    protocol = connected(transport)
    await asyncio.sleep(0)
    before = transport.written
    protocol.data_received(PING)
    protocol.end()
    assert transport.written == before + len(PING)
    assert transport.aborted
    protocol.connection_lost(None)
