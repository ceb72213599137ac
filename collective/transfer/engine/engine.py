"""What all transfers of one process share, and what they ask of the chunk stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from collective.chunking.splitter import Splitter
from collective.core.clock import Clock
from collective.core.randomness import Randomness
from collective.core.world import Runs, World
from collective.model.routes import PutAnswer, Route
from collective.transfer.engine.direct_or_relay import RouteChoice
from collective.transfer.engine.direct_trial import DirectTrial
from collective.transfer.engine.node_health import NodeHealth
from collective.transfer.engine.options import TransferOptions


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

    def __aiter__(self) -> AsyncIterator[PutAnswer]:
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

    async def reach(self, route: Route, *, stands: Callable[[], None]) -> None:
        """Return when the first hop of ``route`` has answered; the connection is kept for what comes.

        ``stands`` is called when there is a connection, before the hop has said whether it admits us.
        """
        ...

    async def get(
        self, route: Route, *, on_progress: Callable[[int], None] | None = None
    ) -> Buffer:
        """Return the stored bytes of a chunk, verified against its id.

        ``on_progress`` is told of bytes as they arrive.
        """
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """Shared by all transfers; its owner closes what it was made of."""

    chunks: ChunkTransport
    buffers: Buffers
    threads: Runs
    """For hashing."""
    world: World
    options: TransferOptions
    health: NodeHealth
    choice: RouteChoice
    trial: DirectTrial
    splitter: Splitter

    @classmethod
    def of(
        cls,
        chunks: ChunkTransport,
        buffers: Buffers,
        threads: Runs,
        world: World,
        options: TransferOptions,
    ) -> Engine:
        """Return an engine that knows nothing of any node yet."""
        health = NodeHealth(world.clock)
        choice = RouteChoice(
            health,
            may_relay=options.may_relay,
            relay_after=options.relay_after,
            relay_first=options.relay_first,
        )
        return cls(
            chunks,
            buffers,
            threads,
            world,
            options,
            health,
            choice,
            DirectTrial(chunks, choice),
            Splitter(),
        )

    @property
    def clock(self) -> Clock:
        """The world's clock."""
        return self.world.clock

    @property
    def randomness(self) -> Randomness:
        """The world's randomness."""
        return self.world.randomness
