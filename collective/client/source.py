"""Reading what is to be written: bytes, an async iterator of bytes, or a file object.

Only a local file has holes (``disk.holes``): everything else is data from its first byte to its last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Protocol

from collective.client.disk.holes import DataRuns
from collective.client.model import Readable, Source
from collective.core.world import Pool


class BlockSource(Protocol):
    """Fills buffers in order."""

    async def skip(self) -> int:
        """Pass the hole that begins here, if one does; return its length."""
        ...

    async def fill(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its start; less than its length only before a hole and at the end."""
        ...

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call ``then`` when nothing writes to a buffer any more, after a cancelled ``fill``."""
        ...


class _InLoop:
    """Sources without holes that fill in the loop's own thread, where a cancelled fill has ended."""

    async def skip(self) -> int:
        return 0

    def when_idle(self, then: Callable[[], None]) -> None:
        then()


class _BytesSource(_InLoop):
    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    async def fill(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _IteratorSource(_InLoop):
    def __init__(self, blocks: AsyncIterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    async def fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer):
            if not self._rest:
                try:
                    self._rest = memoryview(await anext(self._blocks))
                except StopAsyncIteration:
                    break
                continue
            count = min(len(buffer) - filled, len(self._rest))
            buffer[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        return filled


class _FileSource:
    """A file object, read in a thread; a read that waits (a pipe) outlives its cancellation."""

    def __init__(self, file: Readable, pool: Pool) -> None:
        self._file = file
        self._pool = pool
        self._is_reading = False
        self._then: list[Callable[[], None]] = []

    async def skip(self) -> int:
        file = self._file
        if not isinstance(file, DataRuns) or file.is_in_data:
            return 0
        return await self._pool.run_to_end(file.skip)

    async def fill(self, buffer: memoryview) -> int:
        loop = asyncio.get_running_loop()
        filled: asyncio.Future[int] = loop.create_future()
        self._is_reading = True
        self._pool.start(self._read, buffer, loop, filled)
        return await filled

    def when_idle(self, then: Callable[[], None]) -> None:
        if self._is_reading:
            self._then.append(then)
        else:
            then()

    def _read(
        self, buffer: memoryview, loop: asyncio.AbstractEventLoop, filled: asyncio.Future[int]
    ) -> None:
        outcome: int | Exception
        try:
            outcome = self._fill(buffer)
        except Exception as error:  # noqa: BLE001 - the edge of a thread: it goes to the caller
            outcome = error
        with suppress(RuntimeError):  # the loop has ended, and the buffers with it
            loop.call_soon_threadsafe(self._ended, filled, outcome)

    def _fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer):
            count = self._file.readinto(buffer[filled:])
            if not count:
                break
            filled += count
        return filled

    def _ended(self, filled: asyncio.Future[int], outcome: int | Exception) -> None:
        self._is_reading = False
        if not filled.done():
            if isinstance(outcome, Exception):
                filled.set_exception(outcome)
            else:
                filled.set_result(outcome)
        waiting, self._then = self._then, []
        for then in waiting:
            then()


def open_source(source: Source, pool: Pool) -> BlockSource:
    """Return a block source over ``source``; file objects are read on ``pool``."""
    if isinstance(source, bytes | bytearray | memoryview):
        return _BytesSource(bytes(source))
    if isinstance(source, AsyncIterator):
        return _IteratorSource(source)
    return _FileSource(source, pool)
