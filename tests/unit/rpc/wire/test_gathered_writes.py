"""What one turn of the loop writes goes out together, in order, and before the end."""

from __future__ import annotations

import asyncio
from typing import Any

from collective.rpc.wire.gathered_writes import GATHERED_MAX_BYTES, GatheredWrites


class Wire(asyncio.Transport):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.done: list[Any] = []
        self.unsent = 0
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.closing = True
        self.done.append("close")

    def abort(self) -> None:
        self.closing = True
        self.done.append("abort")

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.unsent


async def test_one_turn_is_one_write() -> None:
    wire = Wire()
    writes = GatheredWrites(wire)
    for piece in (b"headers ", b"data ", b"trailers"):
        writes.write(piece)
    assert wire.done == []
    await asyncio.sleep(0)
    assert wire.done == [b"headers data trailers"]
    writes.write(b"next")
    await asyncio.sleep(0)
    assert wire.done == [b"headers data trailers", b"next"]
    await asyncio.sleep(0)
    assert len(wire.done) == 2, "an empty write ends a TLS stream or costs a record"


async def test_what_was_written_goes_before_the_connection_ends() -> None:
    wire = Wire()
    writes = GatheredWrites(wire)
    writes.write(b"last word")
    writes.close()
    await asyncio.sleep(0)
    assert wire.done == [b"last word", "close"]


async def test_a_connection_that_is_cut_off_gets_nothing_more() -> None:
    wire = Wire()
    writes = GatheredWrites(wire)
    writes.write(b"too late")
    writes.abort()
    await asyncio.sleep(0)
    assert wire.done == ["abort"]


async def test_nothing_is_written_to_a_connection_that_ended_meanwhile() -> None:
    wire = Wire()
    writes = GatheredWrites(wire)
    writes.write(b"answer")
    wire.closing = True
    await asyncio.sleep(0)
    assert wire.done == []


async def test_much_goes_out_at_once_and_counts_as_unsent() -> None:
    wire = Wire()
    wire.unsent = 7
    writes = GatheredWrites(wire)
    writes.write(b"x")
    assert writes.get_write_buffer_size() == 8
    writes.write(bytes(GATHERED_MAX_BYTES))
    assert [len(one) for one in wire.done] == [GATHERED_MAX_BYTES + 1]
    assert writes.get_write_buffer_size() == 7
    await asyncio.sleep(0)
    assert len(wire.done) == 1
    assert writes.get_extra_info("peername") == ("127.0.0.1", 1)
