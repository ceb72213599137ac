"""What all transfers of one :class:`Collective` share, and what they ask of the chunk stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from collective.client.control import Control
from collective.client.leases import LeaseReturns
from collective.client.model import TransferOptions
from collective.client.routing import NodeHealth, RouteChoice
from collective.core.clock import Clock
from collective.core.randomness import Randomness
from collective.core.world import Pool, World
from collective.rpc.gen.collective.v1.reads import ReadsStub
from collective.rpc.gen.collective.v1.transfer import PutResult, Route
from collective.rpc.gen.collective.v1.uploads import UploadsStub

Result = TypeVar("Result")


class Buffer(Protocol):
    """Bytes borrowed from a pool."""

    view: memoryview
    """Exactly as long as what was asked for or received."""

    def release(self) -> None:
        """Give the buffer back; no view of it may be used afterwards."""
        ...


class Buffers(Protocol):
    """Where buffers come from; bounded, first come first served."""

    async def acquire(self, size: int) -> Buffer:
        """Return a buffer of ``size`` bytes, waiting until there is room."""
        ...


class Sending(Protocol):
    """A put under way: yields each hop's answer."""

    @property
    def last_progress_s(self) -> float:
        """A time that grows whenever a byte left or an answer came."""
        ...

    def __aiter__(self) -> AsyncIterator[PutResult]:
        """Iterate the answers in the order in which they come."""
        ...

    async def aclose(self) -> None:
        """Cancel what is not finished; afterwards the parts may be reused."""
        ...


class ChunkTransport(Protocol):
    """The chunk stream as transfers use it; ``transfer.stream.chunk_client.ChunkClient`` is one."""

    def put(self, route: Route, parts: Sequence[memoryview | bytes]) -> Sending:
        """Send a chunk along ``route``."""
        ...

    async def get(
        self, route: Route, *, on_progress: Callable[[int], None] | None = None
    ) -> Buffer:
        """Return the stored bytes of a chunk, verified against its id.

        ``on_progress`` is told of bytes as they arrive.
        """
        ...

    async def close(self) -> None:
        """Close all connections; return when they have gone."""
        ...


@dataclass(frozen=True, slots=True)
class Session:
    """Shared by all transfers; owned by the Collective."""

    control: Control
    uploads: UploadsStub
    reads: ReadsStub
    transport: ChunkTransport
    buffers: Buffers
    pool: Pool
    """For hashing and local files."""
    world: World
    options: TransferOptions
    health: NodeHealth
    choice: RouteChoice
    leases: LeaseReturns
    slots: asyncio.Semaphore
    """Chunks in memory, over all transfers; each transfer takes its slots in order of offset,
    which is why two transfers can never wait for each other."""

    @property
    def clock(self) -> Clock:
        """The world's clock."""
        return self.world.clock

    @property
    def randomness(self) -> Randomness:
        """The world's randomness."""
        return self.world.randomness

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Run blocking ``work`` on the session's threads; cancellation as :meth:`Pool.run`."""
        return await self.pool.run(work)

    async def to_the_end(self, work: Callable[[], Result]) -> Result:
        """Run blocking ``work`` that uses a buffer: when cancelled, wait for it before leaving."""
        return await self.pool.run_to_end(work)
