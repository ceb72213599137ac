"""Reading what is to be written: bytes, an async iterator of bytes, or a file object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from collective.client.model import Readable, Source

InThread = Callable[[Callable[[], int]], Awaitable[int]]


class BlockSource(Protocol):
    """Fills buffers in order."""

    async def fill(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its start; less than its length only at the end of the source."""
        ...


class _BytesSource:
    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    async def fill(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _IteratorSource:
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
    def __init__(self, file: Readable, in_thread: InThread) -> None:
        self._file = file
        self._in_thread = in_thread

    async def fill(self, buffer: memoryview) -> int:
        return await self._in_thread(lambda: self._fill(buffer))

    def _fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer):
            count = self._file.readinto(buffer[filled:])
            if not count:
                break
            filled += count
        return filled


def open_source(source: Source, in_thread: InThread) -> BlockSource:
    """Return a block source over ``source``; file objects are read by ``in_thread``."""
    if isinstance(source, bytes | bytearray | memoryview):
        return _BytesSource(bytes(source))
    if isinstance(source, AsyncIterator):
        return _IteratorSource(source)
    return _FileSource(source, in_thread)
