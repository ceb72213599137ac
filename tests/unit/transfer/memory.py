"""Connections over memory, and a chunk store in memory, for tests of the chunk stream."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from blake3 import blake3

from collective.chunking.store.capacity import Capacity, Reservation
from collective.core.errors import CollectiveError, CorruptionError, NotFoundError, UnreachableError
from collective.core.ids import ChunkId, Domain, Generation, GlobalId, NodeId, SpiffeId
from collective.core.limits import MIB
from collective.core.units import Address
from collective.model.routes import Route
from collective.rpc.gen.collective.v1 import Address as AddressMessage
from collective.rpc.gen.collective.v1.transfer import ChunkOperation, Ticket
from collective.rpc.links import Keeper, ProtocolFactory
from collective.transfer.buffers import BufferPool
from collective.transfer.stream.server import ChunkServer, TransferLimits
from collective.transfer.tickets.keys import TicketKey
from collective.transfer.tickets.making import sign_ticket
from tests.worlds import REAL

DOMAIN = Domain("home.alice")
USER = SpiffeId.user(DOMAIN, GlobalId("bob", DOMAIN))
COORDINATOR = SpiffeId.coordinator(DOMAIN)
NOW_MS = 1_800_000_000_000


class Silent:
    """The other end of a connection, which hears of nothing; pings are answered before it."""

    def frame_begun(self, *_: object) -> None: ...
    def connection_lost(self, *_: object) -> None: ...


class Overheard:
    """An exchange that notes what it hears."""

    def __init__(self) -> None:
        self.error: CollectiveError | None = None
        self.neighbours_moved = 0

    def answered(self, *_: object) -> None: ...

    def failed(self, error: CollectiveError) -> None:
        self.error = error

    def neighbour_moved(self) -> None:
        self.neighbours_moved += 1


def node(name: str) -> SpiffeId:
    return SpiffeId.node(DOMAIN, NodeId(name))


class MemoryTransport(asyncio.Transport):
    """One end of a pair: what is written arrives at the other end's protocol, in loop steps."""

    def __init__(self, protocol: asyncio.BufferedProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.other: MemoryTransport
        self.stuck = False
        """A peer that is stopped: takes nothing, says nothing."""
        self.step_bytes = 256 * 1024
        self._inbox: deque[memoryview] = deque()
        self._inbox_bytes = 0
        self._reading = True
        self._scheduled = False
        self._high = 64 * 1024
        self._paused_writer = False
        self._closing = False
        self._lost = False

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        for data in list_of_data:
            self.write(data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not len(data):
            return
        self.other._inbox.append(memoryview(bytes(data)))
        self.other._inbox_bytes += len(data)
        if self.get_write_buffer_size() > self._high and not self._paused_writer:
            self._paused_writer = True
            self.protocol.pause_writing()
        self.other._schedule()

    def get_write_buffer_size(self) -> int:
        return self.other._inbox_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else 64 * 1024

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._schedule()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._schedule()
            self.other._schedule()

    def abort(self) -> None:
        self._closing = True
        self._inbox.clear()
        self._inbox_bytes = 0
        self._lose()
        self.other._inbox.clear()
        self.other._inbox_bytes = 0
        self.other._schedule()

    def unstick(self) -> None:
        self.stuck = False
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._lost:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._step)

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def _step(self) -> None:
        self._scheduled = False
        if self._lost or self.stuck:
            return
        if self._inbox and self._reading and not self._closing:
            data = self._inbox[0]
            view = memoryview(self.protocol.get_buffer(-1))
            count = min(len(view), len(data), self.step_bytes)
            assert count > 0
            view[:count] = data[:count]
            self._inbox_bytes -= count
            if count == len(data):
                self._inbox.popleft()
            else:
                self._inbox[0] = data[count:]
            self.protocol.buffer_updated(count)
            if self.other._paused_writer and self._inbox_bytes <= self.other._high // 4:
                self.other._paused_writer = False
                self.other.protocol.resume_writing()
            self._schedule()
        elif self._closing and not self.other._inbox:
            self._lose()
        elif self.other._closing and not self._inbox:
            self.protocol.eof_received()
            self._closing = True
            self._lose()
            self.other._schedule()


def connect(
    a: asyncio.BufferedProtocol, b: asyncio.BufferedProtocol
) -> tuple[MemoryTransport, MemoryTransport]:
    left, right = MemoryTransport(a), MemoryTransport(b)
    left.other, right.other = right, left
    a.connection_made(left)
    b.connection_made(right)
    return left, right


class MemoryDialer:
    """Connects to servers of a :class:`Net` as one identity."""

    def __init__(self, net: Net, identity: SpiffeId) -> None:
        self.net = net
        self.identity = identity
        self.dials = 0
        self.generation = 0
        self.keepers: list[Keeper] = []
        self.transports: list[tuple[MemoryTransport, MemoryTransport]] = []

    def attach(self, keeper: Keeper) -> None:
        self.keepers.append(keeper)

    def renew(self) -> None:
        """Show another certificate from now on."""
        self.generation += 1
        for keeper in self.keepers:
            keeper.retire()

    async def dial(
        self, peer: SpiffeId, addresses: Sequence[Address], factory: ProtocolFactory
    ) -> None:
        self.dials += 1
        await asyncio.sleep(0)
        server = self.net.servers.get(peer)
        if server is None:
            raise UnreachableError(f"No connection to {peer}.")
        protocol = factory()
        assert isinstance(protocol, asyncio.BufferedProtocol)
        self.transports.append(connect(protocol, server.protocol(self.identity)))


@dataclasses.dataclass
class Keys:
    """A hop's keys."""

    known: dict[int, TicketKey]
    epoch: int = 0
    now_ms: int = NOW_MS

    def key(self, key_id: int) -> TicketKey | None:
        return self.known.get(key_id)

    def revocation_epoch(self) -> int:
        return self.epoch

    def coordinator_now_ms(self) -> int:
        return self.now_ms


class MemoryStore:
    """A chunk store in memory whose calls can be held back."""

    def __init__(self) -> None:
        self.chunks: dict[ChunkId, bytes] = {}
        self.generations: dict[ChunkId, Generation] = {}
        self.capacity = Capacity(100 * MIB, 0, lambda: 1 << 40)
        self.gate = asyncio.Event()
        self.gate.set()
        self.puts_begun = 0

    def reserve(self, length: int) -> Reservation:
        return self.capacity.reserve(length)

    def length_of(self, chunk: ChunkId) -> int:
        if chunk not in self.chunks:
            raise NotFoundError("The chunk is not here.")
        return len(self.chunks[chunk])

    async def put(
        self,
        chunk: ChunkId,
        generation: Generation,
        parts: Sequence[bytes | memoryview] | bytes | memoryview,
        *,
        reservation: Reservation | None = None,
    ) -> None:
        self.puts_begun += 1
        assert isinstance(parts, memoryview)
        await self.gate.wait()
        if blake3(parts).digest() != chunk:
            raise CorruptionError("The bytes are not the chunk.")
        self.chunks[chunk] = bytes(parts)
        self.generations[chunk] = generation

    async def get_into(self, chunk: ChunkId, buffer: memoryview) -> int:
        data = self.chunks[chunk]
        await self.gate.wait()
        buffer[: len(data)] = data
        if blake3(data).digest() != chunk:
            raise CorruptionError("The copy is damaged.")
        return len(data)


class Hop:
    """One server with its key, store, pool and dialer."""

    def __init__(
        self, net: Net, identity: SpiffeId, *, relay: bool, limits: TransferLimits, pool_bytes: int
    ) -> None:
        number = len(net.hops) + 1
        self.identity = identity
        self.key = TicketKey(number, bytes([number]) * 32)
        self.keys = Keys({number: self.key})
        self.store = MemoryStore()
        self.pool = BufferPool(pool_bytes)
        self.dialer = MemoryDialer(net, identity)
        self.server = ChunkServer(
            identity=identity,
            store=None if relay else self.store,
            keys=self.keys,
            dialer=self.dialer,
            pool=self.pool,
            limits=limits,
            threads=REAL.threads,
        )


FAST = TransferLimits(buffer_wait_s=0.3, stall_s=0.3, hop_result_s=0.3, store_s=5.0, idle_s=60.0)


class Net:
    """Servers that reach each other over memory."""

    def __init__(self) -> None:
        self.servers: dict[SpiffeId, ChunkServer] = {}
        self.hops: list[Hop] = []

    def add(
        self,
        identity: SpiffeId,
        *,
        relay: bool = False,
        limits: TransferLimits = FAST,
        pool_bytes: int = 64 * MIB,
    ) -> Hop:
        hop = Hop(self, identity, relay=relay, limits=limits, pool_bytes=pool_bytes)
        self.hops.append(hop)
        self.servers[identity] = hop.server
        return hop

    async def close(self) -> None:
        for hop in self.hops:
            await hop.server.close(0.0)
        for hop in self.hops:
            assert hop.pool.outstanding == 0, f"{hop.identity} keeps buffers"
            assert hop.store.capacity.reserved_bytes == 0, f"{hop.identity} keeps reservations"


def ticket_for(
    hops: Sequence[Hop], at: int, chunk: ChunkId, operation: ChunkOperation, length: int
) -> Ticket:
    following = hops[at + 1] if at + 1 < len(hops) else None
    relay = hops[at].server._serving.store is None
    return Ticket(
        operation=operation,
        chunk_id=chunk,
        length_limit=length,
        transfer_id="ab" * 16,
        node=str(hops[at].identity),
        holder=str(hops[at - 1].identity if at else USER),
        generation=0 if relay else 7,
        next_node=str(following.identity) if following else "",
        next_addresses=[AddressMessage(host="127.0.0.1", port=1)] if following else [],
        expires_ms=NOW_MS + 60_000,
        forward_only=relay,
    )


def route(
    hops: Sequence[Hop],
    chunk: ChunkId,
    length: int,
    operation: ChunkOperation = ChunkOperation.PUT,
) -> Route:
    return Route(
        chunk=chunk,
        stored_length=length,
        hops=tuple(
            sign_ticket(hop.key, ticket_for(hops, at, chunk, operation, length))
            for at, hop in enumerate(hops)
        ),
        first=hops[0].identity,
        addresses=(Address("127.0.0.1", 1),),
        storing=tuple(hop.identity for hop in hops if hop.server._serving.store is not None),
    )


def chunk_of(data: bytes) -> ChunkId:
    return ChunkId(blake3(data).digest())
