"""One node, 4 MiB chunks, over the chunk stream: a real store and server in a process of its own.

The coordinator is left out: this process signs the tickets itself, so that the figures are those
of the data path alone.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import structlog
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.envelope import encode_header
from collective.chunking.store import ChunkStore
from collective.core.clock import SystemClock
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.core.units import Address
from collective.model.routes import Route
from collective.pki.ca import CertificateAuthority
from collective.pki.credentials import Credentials, load_credentials, save_credentials
from collective.pki.revocation import RevocationSet
from collective.rpc.client.dial import TlsDialer
from collective.rpc.gen.collective.v1.transfer import ChunkOperation, Ticket
from collective.rpc.server.listener import TlsListener
from collective.rpc.tls import contexts
from collective.rpc.tls.contexts import TlsConfig
from collective.rpc.tls.gate import PeerGate
from collective.transfer.buffers import BufferPool
from collective.transfer.stream.chunk_client import ChunkClient
from collective.transfer.stream.server import ChunkServer
from collective.transfer.tickets.keys import TicketKey
from collective.transfer.tickets.making import sign_ticket
from tests.bench.ceiling import payload
from tests.bench.pacing import at_once
from tests.worlds import REAL

DOMAIN = Domain("home.bench")
NODE = SpiffeId.node(DOMAIN, NodeId("bench-node-01"))
HOLDER = SpiffeId.coordinator(DOMAIN)
KEY = TicketKey(1, b"k" * 32)
PLAIN_BYTES = 4 << 20
DIFFERENT_CHUNKS = 4
POOL_BYTES = 96 << 20
SMALL_BYTES = 4096
SMALL_PUTS = 200


class FixedKeys:
    """The one key of this measurement."""

    def key(self, key_id: int) -> TicketKey | None:
        """Return the key."""
        return KEY if key_id == KEY.key_id else None

    def revocation_epoch(self) -> int:
        """Return 0."""
        return 0

    def coordinator_now_ms(self) -> int:
        """Return this machine's time."""
        return int(time.time() * 1e3)


def _credentials(directory: Path) -> dict[SpiffeId, Credentials]:
    authority = CertificateAuthority.create(MemberId("bench"), DOMAIN, REAL)
    found = {}
    for identity in (NODE, HOLDER):
        key = ec.generate_private_key(ec.SECP256R1())
        base = str(directory / identity.role)
        found[identity] = save_credentials(
            f"{base}.crt",
            f"{base}.key",
            f"{base}-ca.crt",
            certificate=authority.issue(identity, key.public_key()),
            private_key=key,
            authority=authority.certificate,
            disk=REAL.disk,
        )
    return found


def _gate(credentials: Credentials) -> PeerGate:
    return PeerGate(credentials.trust(), RevocationSet.of(0, ()), SystemClock())


def _dialer(credentials: Credentials) -> TlsDialer:
    make = partial(contexts.client_context, alpn=(contexts.ALPN_CHUNK,))
    config = TlsConfig(make, credentials, credentials.trust())
    return TlsDialer(config, _gate(credentials), timeout_s=3.0)


def _serve(base: str, directory: str, pipe: Connection) -> None:
    credentials = load_credentials(f"{base}.crt", f"{base}.key", f"{base}-ca.crt", disk=REAL.disk)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    async def run() -> None:
        store = await ChunkStore.open(directory, REAL, capacity_bytes=1 << 40)
        server = ChunkServer(
            identity=NODE,
            store=store,
            keys=FixedKeys(),
            dialer=_dialer(credentials),
            pool=BufferPool(POOL_BYTES),
            threads=REAL.threads,
        )
        listener = TlsListener(
            [],
            _gate(credentials),
            partial(contexts.server_context, credentials, credentials.trust()),
            REAL,
            chunk_factory=lambda peer: server.protocol(peer.identity),
        )
        address = await listener.listen(Address("127.0.0.1", 0))
        pipe.send(address.port)
        await asyncio.to_thread(pipe.recv)
        await server.close(0)
        await listener.shut(0)
        await store.close()

    uvloop.run(run())


@dataclass(frozen=True, slots=True)
class OneNodeFigures:
    """MB/s (10^6 bytes) of plain payload, CPU seconds a GiB, memory in MB."""

    put_mb_s: float
    get_mb_s: float
    put_client_cpu_s_gib: float
    put_node_cpu_s_gib: float
    get_client_cpu_s_gib: float
    get_node_cpu_s_gib: float
    client_rss_mb: float
    node_rss_mb: float
    small_put_ms: float
    """Median of one put of 4 KiB at a time: a call and a flush."""


class _Stored:
    """One chunk to be moved: its parts, its id."""

    def __init__(self, marker: int, plain_bytes: int = PLAIN_BYTES) -> None:
        body = payload(plain_bytes)
        body[:8] = marker.to_bytes(8, "big")
        self.parts: Sequence[memoryview | bytes] = [encode_header(plain_bytes), memoryview(body)]
        self.length = sum(len(part) for part in self.parts)
        self.id = chunk_id(self.parts)

    def route(self, operation: ChunkOperation, generation: int, port: int) -> Route:
        """Return a route of one hop with a fresh ticket."""
        ticket = Ticket(
            operation=operation,
            chunk_id=self.id,
            length_limit=self.length,
            transfer_id="0" * 32,
            node=str(NODE),
            holder=str(HOLDER),
            generation=generation,
            expires_ms=int(time.time() * 1e3) + 60_000,
        )
        return Route(
            chunk=self.id,
            stored_length=self.length,
            hops=(sign_ticket(KEY, ticket),),
            first=NODE,
            addresses=(Address("127.0.0.1", port),),
            storing=(NODE,),
        )


async def _measure(
    credentials: Credentials, port: int, server_pid: int, chunks: int, width: int
) -> OneNodeFigures:
    stored = [_Stored(index) for index in range(DIFFERENT_CHUNKS)]
    ourselves, node = psutil.Process(), psutil.Process(server_pid)
    generations = iter(range(1, 1 << 30))

    def cpu() -> tuple[float, float]:
        return sum(ourselves.cpu_times()[:2]), sum(node.cpu_times()[:2])

    dialer, pool = _dialer(credentials), BufferPool(POOL_BYTES)
    async with ChunkClient(dialer, pool, REAL.threads, home=DOMAIN) as client:

        async def put(chunk: _Stored) -> None:
            route = chunk.route(ChunkOperation.PUT, next(generations), port)
            async with aclosing(client.put(route, chunk.parts)) as results:
                answers = [result async for result in results]
            assert answers[0].receipt is not None, answers

        async def get(chunk: _Stored) -> None:
            route = chunk.route(ChunkOperation.GET, 1, port)
            (await client.get(route)).release()

        def many(
            act: Callable[[_Stored], Coroutine[Any, Any, None]], count: int
        ) -> list[Callable[[], Coroutine[Any, Any, None]]]:
            return [lambda i=i: act(stored[i % DIFFERENT_CHUNKS]) for i in range(count)]  # type: ignore[misc]

        await at_once(many(put, 2 * width), width)
        before = cpu()
        put_s = await at_once(many(put, chunks), width)
        middle = cpu()
        await at_once(many(get, 2 * width), width)
        between = cpu()
        get_s = await at_once(many(get, chunks), width)
        after = cpu()
        small = [_Stored(index, SMALL_BYTES) for index in range(SMALL_PUTS)]
        small_times = []
        for one in small:
            begin = time.perf_counter()
            await put(one)
            small_times.append(time.perf_counter() - begin)
        megabytes = chunks * PLAIN_BYTES / 1e6
        gibibytes = chunks * PLAIN_BYTES / (1 << 30)
        return OneNodeFigures(
            put_mb_s=megabytes / put_s,
            get_mb_s=megabytes / get_s,
            put_client_cpu_s_gib=(middle[0] - before[0]) / gibibytes,
            put_node_cpu_s_gib=(middle[1] - before[1]) / gibibytes,
            get_client_cpu_s_gib=(after[0] - between[0]) / gibibytes,
            get_node_cpu_s_gib=(after[1] - between[1]) / gibibytes,
            client_rss_mb=ourselves.memory_info().rss / 1e6,
            node_rss_mb=node.memory_info().rss / 1e6,
            small_put_ms=statistics.median(small_times) * 1e3,
        )


def measure_one_node(directory: Path, *, chunks: int, width: int = 4) -> OneNodeFigures:
    """Put and get ``chunks`` chunks of 4 MiB at one node, ``width`` at once."""
    directory.mkdir(parents=True, exist_ok=True)
    credentials = _credentials(directory)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(
        target=_serve,
        args=(str(directory / NODE.role), str(directory / "store"), theirs),
        daemon=True,
    )
    server.start()
    try:
        port = ours.recv()
        assert server.pid is not None
        return uvloop.run(_measure(credentials[HOLDER], port, server.pid, chunks, width))
    finally:
        ours.send("stop")
        server.join(10)
