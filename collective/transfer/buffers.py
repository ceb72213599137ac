"""Payload memory: page-faulted buffers that are used again, under one bound for the process.

A fresh 4 MiB buffer costs milliseconds of page faults, so buffers are kept and handed out again;
those unused for ``idle_s`` go back to the system.  Invariants: bytes handed out plus bytes kept
never exceed ``limit_bytes``; a buffer returns to the pool exactly when its last reference is
released; waiters are served first come, first served.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import deque
from typing import Final, Self

from collective.core.errors import BusyError, UsageError
from collective.core.limits import CHUNK_SIZE_BYTES, CHUNK_STORED_MAX_BYTES, KIB

_HEADER_ROOM: Final = 4 * KIB
"""A page: a stored chunk is a little longer than what is in it, and files of round sizes are common."""
_SMALL_CLASS: Final = 64 * KIB + _HEADER_ROOM
_MEDIUM_CLASS: Final = 1024 * KIB + _HEADER_ROOM
_CHUNK_CLASS: Final = CHUNK_SIZE_BYTES + 64 * KIB
_LARGE_CLASS: Final = CHUNK_STORED_MAX_BYTES
_CLASSES: Final = (
    _SMALL_CLASS,
    _MEDIUM_CLASS,
    _CHUNK_CLASS,
    8 * 1024 * KIB + 64 * KIB,
    _LARGE_CLASS,
)


class PooledBuffer:
    """``size`` bytes of the pool; counts its references and goes home with the last.

    Also a context manager (sync) that releases on exit.
    """

    __slots__ = ("_home", "_memory", "_references", "view")

    def __init__(self, home: BufferPool, memory: mmap.mmap, size: int) -> None:
        """Only the pool makes these."""
        self._home = home
        self._memory = memory
        self._references = 1
        self.view = memoryview(memory)[:size]
        """Writable, exactly the size asked for."""

    def __len__(self) -> int:
        return len(self.view)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def shrink(self, size: int) -> None:
        """Cut ``view`` to its first ``size`` bytes."""
        assert 0 <= size <= len(self.view)
        self.view = self.view[:size]

    def retain(self) -> Self:
        """Take one more reference (for a thread, or a second reader) and return self."""
        assert self._references > 0
        self._references += 1
        return self

    def release(self) -> None:
        """Give one reference back; after the last one ``view`` must not be used."""
        assert self._references > 0, "a buffer was released twice"
        self._references -= 1
        if self._references == 0:
            self.view = self.view[:0]
            self._home._take_back(self._memory)  # noqa: SLF001 - two halves of one thing


class BufferPool:
    """Hands out buffers up to ``limit_bytes`` in all.  For one event loop; not for threads."""

    def __init__(self, limit_bytes: int, *, idle_s: float = 10.0) -> None:
        """Bound the pool.

        Args:
            limit_bytes: for all buffers, in use or kept; at least one largest chunk.
            idle_s: seconds after which kept buffers are given back to the system.
        """
        if limit_bytes < _LARGE_CLASS:
            raise UsageError(f"A buffer pool needs at least {_LARGE_CLASS} bytes.")
        self.limit_bytes: Final = limit_bytes
        self._idle_s = idle_s
        self._kept: dict[int, list[mmap.mmap]] = {size: [] for size in _CLASSES}
        self._kept_bytes = 0
        self._used_bytes = 0
        self._outstanding = 0
        self._waiters: deque[tuple[int, asyncio.Future[PooledBuffer]]] = deque()
        self._trim_timer: asyncio.TimerHandle | None = None
        self._touched = False

    @property
    def outstanding(self) -> int:
        """Buffers in use."""
        return self._outstanding

    @property
    def used_bytes(self) -> int:
        """Bytes of buffers in use."""
        return self._used_bytes

    @property
    def kept_bytes(self) -> int:
        """Bytes of buffers kept for the next use."""
        return self._kept_bytes

    def try_acquire(self, size: int) -> PooledBuffer | None:
        """Return a buffer of ``size`` bytes at once, or None if one must wait.

        Raises:
            UsageError: ``size`` is above the largest stored chunk.
        """
        if self._waiters:
            memory_bytes(size)
            return None
        return self._allocate(size)

    async def acquire(self, size: int, *, timeout_s: float = 30.0) -> PooledBuffer:
        """Return a buffer of ``size`` bytes, waiting for memory in turn.

        Cancellation leaves nothing behind.

        Raises:
            BusyError: none came free within ``timeout_s``.
            UsageError: ``size`` is above the largest stored chunk.
        """
        at_once = self.try_acquire(size)
        if at_once is not None:
            return at_once
        future: asyncio.Future[PooledBuffer] = asyncio.get_running_loop().create_future()
        entry = (size, future)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            self._forsake(entry)
            raise BusyError("All transfer memory is in use; try again in a moment.") from error
        except asyncio.CancelledError:
            self._forsake(entry)
            raise

    def _forsake(self, entry: tuple[int, asyncio.Future[PooledBuffer]]) -> None:
        _, future = entry
        if future.done() and not future.cancelled():
            future.result().release()
        elif entry in self._waiters:  # else it was passed over already
            self._waiters.remove(entry)
            self._serve()

    def trim(self) -> None:
        """Give every kept buffer back to the system now."""
        for kept in self._kept.values():
            kept.clear()
        self._kept_bytes = 0

    def _allocate(self, size: int) -> PooledBuffer | None:
        class_bytes = memory_bytes(size)
        kept = self._kept[class_bytes]
        if kept:
            memory = kept.pop()
            self._kept_bytes -= class_bytes
        else:
            if self._used_bytes + class_bytes > self.limit_bytes:
                return None
            self._make_room(class_bytes)
            memory = mmap.mmap(-1, class_bytes)
        self._used_bytes += class_bytes
        self._outstanding += 1
        self._touched = True
        return PooledBuffer(self, memory, size)

    def _make_room(self, class_bytes: int) -> None:
        for size, kept in self._kept.items():
            while kept and self._used_bytes + self._kept_bytes + class_bytes > self.limit_bytes:
                kept.pop()
                self._kept_bytes -= size

    def _take_back(self, memory: mmap.mmap) -> None:
        class_bytes = len(memory)
        self._used_bytes -= class_bytes
        self._outstanding -= 1
        self._kept[class_bytes].append(memory)
        self._kept_bytes += class_bytes
        self._serve()
        if self._kept_bytes and self._trim_timer is None:
            self._touched = True
            self._trim_later()

    def _serve(self) -> None:
        while self._waiters:
            size, future = self._waiters[0]
            if future.done():
                self._waiters.popleft()
                continue
            buffer = self._allocate(size)
            if buffer is None:
                return
            self._waiters.popleft()
            future.set_result(buffer)

    def _trim_later(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._trim_timer = loop.call_later(self._idle_s, self._trim_if_idle)

    def _trim_if_idle(self) -> None:
        self._trim_timer = None
        if self._touched:
            self._touched = False
            if self._kept_bytes:
                self._trim_later()
            return
        self.trim()


def memory_bytes(size: int) -> int:
    """Return what a buffer of ``size`` bytes takes of memory; UsageError above the largest stored chunk."""
    for class_bytes in _CLASSES:
        if size <= class_bytes:
            return class_bytes
    raise UsageError(f"No chunk has more than {_LARGE_CLASS} bytes.")
