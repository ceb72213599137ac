"""Reading what is to be written: bytes, an async iterator of bytes, or a file object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Protocol

from collective.client.model import Readable, Source


class BlockSource(Protocol):
    """Fills buffers in order."""

    async def fill(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its start; less than its length only at the end of the source."""
        ...

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call ``then`` when nothing writes to a buffer any more, after a cancelled ``fill``."""
        ...


class _InLoop:
    """Sources that fill in the loop's own thread, where a cancelled fill has ended."""

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

    def __init__(self, file: Readable, executor: Executor) -> None:
        self._file = file
        self._executor = executor
        self._reading: Future[int] | None = None

    async def fill(self, buffer: memoryview) -> int:
        self._reading = self._executor.submit(self._fill, buffer)
        return await asyncio.wrap_future(self._reading)

    def _fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer):
            count = self._file.readinto(buffer[filled:])
            if not count:
                break
            filled += count
        return filled

    def when_idle(self, then: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def idle(_: Future[int]) -> None:
            with suppress(RuntimeError):  # the loop has ended, and the buffers with it
                loop.call_soon_threadsafe(then)

        if self._reading is None or self._reading.done():
            then()
        else:
            self._reading.add_done_callback(idle)


def open_source(source: Source, executor: Executor) -> BlockSource:
    """Return a block source over ``source``; file objects are read on ``executor``."""
    if isinstance(source, bytes | bytearray | memoryview):
        return _BytesSource(bytes(source))
    if isinstance(source, AsyncIterator):
        return _IteratorSource(source)
    return _FileSource(source, executor)
