"""How much of files is in memory at once, over all transfers that share a window.

Owns the count; the memory is the buffer pool's.  A piece takes part of the window by its size, so that many
small files are under way where a few large chunks are.  Pieces are let in strictly in the order in which
they asked, whatever their size, so none waits for ever; a transfer asks in order of offset, which is why two
can never wait for each other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from collective.core.limits import CHUNK_SIZE_BYTES
from collective.transfer.buffers import memory_bytes

CHUNK_SHARES: Final = 8
"""What a chunk takes of a window."""


def shares_of(size_bytes: int) -> int:
    """Return what a piece of ``size_bytes`` (0 or more) takes: as much as its buffer does of a chunk's.

    One larger than a chunk takes no more, or it would not fit into every window.
    """
    if size_bytes >= CHUNK_SIZE_BYTES:
        return CHUNK_SHARES
    return -(-memory_bytes(size_bytes) * CHUNK_SHARES // memory_bytes(CHUNK_SIZE_BYTES))


class Window:
    """Room for some chunks, or for more that is smaller.  For one event loop; not for threads."""

    def __init__(self, chunks: int) -> None:
        """Have room for ``chunks`` (1 or more)."""
        assert chunks > 0
        self._all = self._free = chunks * CHUNK_SHARES
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def chunks(self) -> int:
        """For how many chunks there is room in all."""
        return self._all // CHUNK_SHARES

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in the window, or waits for it."""
        return self._free == self._all and not self._waiting

    async def acquire(self, size_bytes: int) -> int:
        """Return the shares that a piece of ``size_bytes`` takes, once there is room; release them.

        Cancellation leaves nothing behind.
        """
        shares = shares_of(size_bytes)
        if not self._waiting and shares <= self._free:
            self._free -= shares
            return shares
        let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (shares, let_in)
        self._waiting.append(entry)
        try:
            await let_in
        except asyncio.CancelledError:
            if let_in.done() and not let_in.cancelled():
                self.release(shares)
            elif entry in self._waiting:  # else it was passed over already
                self._waiting.remove(entry)
                self._let_in()
            raise
        return shares

    def release(self, shares: int) -> None:
        """Give back what :meth:`acquire` returned."""
        self._free += shares
        assert self._free <= self._all, "shares were released twice"
        self._let_in()

    def widen(self, chunks: int) -> None:
        """Have room for ``chunks`` in all, where that was less."""
        more = max(0, chunks * CHUNK_SHARES - self._all)
        self._all += more
        self._free += more
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            shares, let_in = self._waiting.popleft()
            if not let_in.done():  # else its caller was cancelled, and is about to find that out
                self._free -= shares
                let_in.set_result(None)
