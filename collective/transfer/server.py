"""The serving side of the chunk stream: a node's, and (without a store) a coordinator's as relay.

Checks the ticket of every request before it takes any memory or touches the store; passes payload
on while it arrives; answers for its own copy as soon as that is durable, whatever later hops do.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from collective.core.ids import ChunkId, Generation, SpiffeId

if TYPE_CHECKING:
    from collective.transfer.buffers import BufferPool
    from collective.transfer.dial import Dialer
    from collective.transfer.tickets import KeySource


class ChunkStorage(Protocol):
    """The store behind a server.  Neither call is cancelled while it runs."""

    async def put(self, chunk: ChunkId, generation: Generation, view: memoryview) -> None:
        """Verify that ``view`` is ``chunk``, store it and flush it.

        Raises:
            CorruptionError: the bytes are not the chunk.
            NoSpaceError, ConflictError: it cannot be kept.
        """
        ...

    async def read(self, chunk: ChunkId, buffer: memoryview) -> int:
        """Read and verify the whole chunk into the beginning of ``buffer``; return its length.

        Raises:
            NotFoundError: it is not here.
            CorruptionError: it is damaged.
            RejectedError: it is longer than ``buffer``.
        """
        ...


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """Bounds of a server and of its forwarding; seconds unless named otherwise."""

    requests_per_connection: int = 64
    buffer_wait_s: float = 10.0
    stall_s: float = 10.0
    """No payload byte for so long ends a transfer."""
    hop_result_s: float = 30.0
    """A later hop that has the whole payload answers within this."""
    store_s: float = 60.0
    idle_s: float = 300.0
    """A connection without requests is closed after this."""


class ChunkServer:
    """Serves chunk-stream connections.  ``start`` / ``close`` within one event loop."""

    def __init__(
        self,
        *,
        identity: SpiffeId,
        store: ChunkStorage | None,
        keys: KeySource,
        dialer: Dialer,
        pool: BufferPool,
        limits: TransferLimits | None = None,
    ) -> None:
        """Serve as ``identity``; without ``store`` it only forwards."""
        raise NotImplementedError

    def protocol(self, peer: SpiffeId) -> asyncio.BufferedProtocol:
        """Return the protocol for a new connection whose certificate proved to be ``peer``."""
        raise NotImplementedError

    async def close(self, grace_s: float = 5.0) -> None:
        """Refuse new requests, let those under way finish for ``grace_s``, then close all."""
        raise NotImplementedError
