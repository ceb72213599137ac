"""Waiting, for a bounded time, until closed connections have gone.

TLS closes in the background: a program that ends its loop at once leaves open sockets behind.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

LEAVE_S: Final = 1.0
"""For peers to answer that we close; one that has not then is cut off."""
_ABORT_S: Final = 0.2


class OpenTransports:
    """The transports of one client that have not gone yet."""

    def __init__(self) -> None:
        """Know of none."""
        self._open: set[asyncio.Transport] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()

    def __len__(self) -> int:
        return len(self._open)

    def made(self, transport: asyncio.Transport) -> None:
        """Hear of a connection that was made."""
        self._open.add(transport)
        self._none_open.clear()

    def gone(self, transport: asyncio.Transport) -> None:
        """Hear that its protocol's ``connection_lost`` was called."""
        self._open.discard(transport)
        if not self._open:
            self._none_open.set()

    async def leave(self, timeout_s: float = LEAVE_S) -> None:
        """Return when all have gone; cut off those that have not within ``timeout_s`` seconds.

        The caller has closed them.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._none_open.wait()
        if not self._open:
            return
        for transport in tuple(self._open):
            transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_S):
                await self._none_open.wait()
