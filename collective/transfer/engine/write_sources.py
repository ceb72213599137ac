"""Reading what is to be written: bytes, an async iterator of bytes, or a file object.

A file that can tell of its holes is a :class:`Holey`; everything else is data from its first byte to its
last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Protocol, runtime_checkable

from collective.core.world import Pool


class Readable(Protocol):
    """A binary file object that fills a buffer; called in a thread."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill ``buffer`` from its start; return the bytes read, 0 at the end."""
        ...


@runtime_checkable
class Holey(Readable, Protocol):
    """A file that knows where it has data; reading ends before a hole."""

    @property
    def is_in_data(self) -> bool:
        """Whether what comes next is data."""
        ...

    @property
    def left_bytes(self) -> int:
        """How far it is to the end; no more will be read."""
        ...

    def skip(self) -> int:
        """Pass the hole that comes next; return its length, 0 at the end.  Called in a thread."""
        ...


Source = bytes | AsyncIterator[bytes] | Readable
"""What a file is written from."""


class BlockSource(Protocol):
    """Fills buffers in order."""

    def at_most(self, size_bytes: int) -> int:
        """Return how much of the next ``size_bytes`` may come, as far as that is known; 0 at the end."""
        ...

    async def skip(self) -> int:
        """Pass the hole that begins here, if one does; return its length.

        A source whose next bytes may be long in coming waits for them here, where no buffer waits with it.
        """
        ...

    async def fill(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from its start; less than its length only before a hole and at the end."""
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

    def at_most(self, size_bytes: int) -> int:
        return min(size_bytes, len(self._rest))

    async def skip(self) -> int:
        return 0

    async def fill(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _IteratorSource(_InLoop):
    def __init__(self, blocks: AsyncIterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")
        self._ended = False

    def at_most(self, size_bytes: int) -> int:
        return 0 if self._ended and not self._rest else size_bytes

    async def skip(self) -> int:
        await self._is_more()
        return 0

    async def _is_more(self) -> bool:
        while not self._rest and not self._ended:
            try:
                self._rest = memoryview(await anext(self._blocks))
            except StopAsyncIteration:
                self._ended = True
        return not self._ended

    async def fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer) and await self._is_more():
            count = min(len(buffer) - filled, len(self._rest))
            buffer[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        return filled


class _FileSource:
    """A file object, read in a thread; a read that waits (a pipe) outlives its cancellation."""

    def __init__(self, file: Readable, pool: Pool) -> None:
        self._file = file
        self._holey = file if isinstance(file, Holey) else None
        self._pool = pool
        self._is_reading = False
        self._then: list[Callable[[], None]] = []

    def at_most(self, size_bytes: int) -> int:
        return size_bytes if self._holey is None else min(size_bytes, self._holey.left_bytes)

    async def skip(self) -> int:
        if self._holey is None or self._holey.is_in_data:
            return 0
        return await self._pool.run_to_end(self._holey.skip)

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


def stream_source(blocks: AsyncIterator[bytes]) -> BlockSource:
    """Return a block source over what arrives piece by piece."""
    return _IteratorSource(blocks)


def open_source(source: Source, pool: Pool) -> BlockSource:
    """Return a block source over ``source``; file objects are read on ``pool``."""
    if isinstance(source, bytes | bytearray | memoryview):
        return _BytesSource(bytes(source))
    if isinstance(source, AsyncIterator):
        return stream_source(source)
    return _FileSource(source, pool)
