"""The requesting side of the chunk stream: puts and gets along routes, over kept connections.

Used by the client library, by repair, and by every hop to pass a transfer on.  Owns connections to
peers by SPIFFE id; refuses to mix peers.  Invariant: a cancelled or failed transfer never disturbs
the others of its connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collective.rpc.gen.collective.v1 import PutResult, Route
    from collective.transfer.buffers import BufferPool, PooledBuffer
    from collective.transfer.dial import Dialer


class PutTransfer(AsyncIterator["PutResult"]):
    """One put under way: iterate for each hop's result, in the order in which they come.

    The iteration ends after the last hop's result.  It raises UnreachableError when the connection
    fails or stalls, or the error with which the first hop refused the request as a whole.  Leaving
    early needs :meth:`aclose` (or ``async with``), which cancels what is not finished.
    """

    @property
    def sent_bytes(self) -> int:
        """Payload bytes handed to the connection."""
        raise NotImplementedError

    @property
    def last_progress_s(self) -> float:
        """Loop time (``loop.time()``) of the last byte sent or result received."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Cancel the transfer if it is not finished; afterwards the parts may be reused."""
        raise NotImplementedError


class ChunkClient:
    """Moves chunks to and from peers.  An async context manager: closes its connections."""

    def __init__(self, dialer: Dialer, pool: BufferPool) -> None:
        """Use ``dialer`` for new connections and ``pool`` for what is received."""
        raise NotImplementedError

    def put(
        self, route: Route, parts: Sequence[memoryview | bytes], *, request_id: str = ""
    ) -> PutTransfer:
        """Send the chunk made of ``parts`` along ``route``; iterate the result.

        Args:
            route: as the coordinator gave it.
            parts: the stored bytes in order (header, body); must not change until the end.
            request_id: for logs at every hop.
        """
        raise NotImplementedError

    async def get(
        self, route: Route, offset: int = 0, length: int = 0, *, request_id: str = ""
    ) -> PooledBuffer:
        """Fetch stored bytes along ``route`` into a pooled buffer that the caller releases.

        A whole chunk (offset 0, length 0) is verified against its id (in a thread).

        Raises:
            UnreachableError: no connection, or no byte within the stall time.
            CorruptionError: the bytes do not match the chunk id.
            NotFoundError, BusyError, RejectedError, ...: as the hop answered.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close all connections; transfers under way fail with UnreachableError."""
        raise NotImplementedError
