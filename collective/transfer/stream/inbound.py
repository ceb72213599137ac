"""A payload on its way into its buffer, which others may follow as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from collective.core.errors import CollectiveError, UnreachableError
from collective.transfer.buffers import PooledBuffer


class Inbound:
    """``total`` bytes landing in ``buffer``; the :class:`~.frames.PayloadTarget` of a transfer.

    Followers wait for a number of bytes.  Invariant: bytes below ``received`` never change again.
    """

    def __init__(
        self, buffer: PooledBuffer, total: int, on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Land in the first ``total`` (> 0) bytes of ``buffer``; tell ``on_progress`` of each."""
        assert 0 < total <= len(buffer)
        self.total = total
        self.received = 0
        self.error: CollectiveError | None = None
        self._view = buffer.view[:total]
        self._on_progress = on_progress
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def complete(self) -> bool:
        """Whether everything is here."""
        return self.received == self.total

    def free(self) -> memoryview:
        """Return the rest of the place."""
        return self._view[self.received :]

    def landed(self, count: int) -> None:
        """Account for ``count`` more bytes and wake whom they were awaited by."""
        self.received += count
        assert self.received <= self.total
        if self._on_progress is not None:
            self._on_progress(count)
        if self._waiters:
            self._wake()

    def slices(self, begin: int, end: int) -> tuple[memoryview, ...]:
        """Return bytes that are here."""
        assert 0 <= begin <= end <= self.received
        return (self._view[begin:end],)

    def fail(self, error: CollectiveError) -> None:
        """End the wait of all followers by ``error``, unless everything is here."""
        if self.complete or self.error is not None:
            return
        self.error = error
        self._wake()

    async def wait_for(self, count: int, stall_s: float) -> None:
        """Wait until ``count`` bytes (at most ``total``) are here.

        Raises:
            UnreachableError: not one byte came for ``stall_s`` seconds.
            CollectiveError: what :meth:`fail` was given.
        """
        count = min(count, self.total)
        while self.received < count:
            if self.error is not None:
                raise self.error
            seen = self.received
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (count, future)
            self._waiters.append(entry)
            try:
                async with asyncio.timeout(stall_s):
                    await future
            except TimeoutError as error:
                if self.received == seen:
                    raise UnreachableError(
                        f"No payload came for {stall_s:g} s; try again or another way."
                    ) from error
            finally:
                if entry in self._waiters:
                    self._waiters.remove(entry)

    def _wake(self) -> None:
        waiting = []
        for count, future in self._waiters:
            if self.error is not None or count <= self.received:
                if not future.done():
                    future.set_result(None)
            else:
                waiting.append((count, future))
        self._waiters = waiting
