"""Bare grpclib over mutual TLS: what our own numbers are compared with.

A server process with two methods: ``Echo`` (a small unary call) and the same chunk work as a node
does (``Put``: receive a stream of 1 MiB messages, hash, write and flush; ``Get``: read, hash, send),
by grpclib streaming.  No code of ours takes part.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import ssl
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpclib.const
import grpclib.server
import uvloop
from blake3 import blake3
from grpclib.client import Channel
from grpclib.encoding.base import CodecBase

from tests.bench.ceiling import payload
from tests.bench.certificates import BenchCertificates
from tests.bench.pacing import at_once

if TYPE_CHECKING:
    from grpclib.server import Stream

CHUNK_BYTES = 4 << 20
MESSAGE_BYTES = 1 << 20


class RawCodec(CodecBase):
    """Messages are bytes already."""

    __content_subtype__ = "proto"

    def encode(self, message: object, message_type: object) -> bytes:
        """Return the message."""
        return bytes(message)  # type: ignore[call-overload,no-any-return]

    def decode(self, data: bytes, message_type: object) -> bytes:
        """Return the bytes."""
        return data


class BareService:
    """The baseline's server side."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    async def echo(self, stream: Stream[bytes, bytes]) -> None:
        """Answer with the request."""
        message = await stream.recv_message()
        await stream.send_message(message or b"")

    async def put(self, stream: Stream[bytes, bytes]) -> None:
        """Receive one chunk, hash, write, flush."""
        parts = [part async for part in stream]
        await asyncio.to_thread(self._store, parts)
        await stream.send_message(b"ok")

    def _store(self, parts: list[bytes]) -> None:
        hasher = blake3()
        for part in parts:
            hasher.update(part)
        temporary = os.path.join(self.directory, f"{time.monotonic_ns()}.tmp")
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.writev(fd, parts)
        os.fdatasync(fd)
        os.close(fd)
        os.rename(temporary, os.path.join(self.directory, hasher.hexdigest()))

    async def get(self, stream: Stream[bytes, bytes]) -> None:
        """Read one chunk, hash, send it in 1 MiB messages."""
        name = (await stream.recv_message() or b"").decode()
        data = await asyncio.to_thread(self._load, name)
        for offset in range(0, len(data), MESSAGE_BYTES):
            await stream.send_message(data[offset : offset + MESSAGE_BYTES])

    def _load(self, name: str) -> bytes:
        data = Path(self.directory, name).read_bytes()
        assert blake3(data).hexdigest() == name
        return data

    def __mapping__(self) -> Mapping[str, grpclib.const.Handler]:
        """Return the routes grpclib dispatches by."""
        cardinality = grpclib.const.Cardinality
        handlers: dict[str, tuple[Callable[..., object], grpclib.const.Cardinality]] = {
            "/bench.Bare/Echo": (self.echo, cardinality.UNARY_UNARY),
            "/bench.Bare/Put": (self.put, cardinality.STREAM_UNARY),
            "/bench.Bare/Get": (self.get, cardinality.UNARY_STREAM),
        }
        return {
            path: grpclib.const.Handler(handler, kind, bytes, bytes)
            for path, (handler, kind) in handlers.items()
        }


def _context(certificates: BenchCertificates, *, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates.certificate, certificates.key)
    context.load_verify_locations(certificates.authority)
    context.set_alpn_protocols(["h2"])
    return context


def _serve(certificates: BenchCertificates, directory: str, pipe: Connection) -> None:
    async def run() -> None:
        server = grpclib.server.Server([BareService(directory)], codec=RawCodec())
        await server.start("127.0.0.1", 0, ssl=_context(certificates, server=True))
        listening: Any = server._server  # grpclib shows its port nowhere else
        pipe.send(listening.sockets[0].getsockname()[1])
        await asyncio.to_thread(pipe.recv)
        server.close()

    uvloop.run(run())


@dataclass(frozen=True, slots=True)
class GrpclibFigures:
    """What bare grpclib does on this machine."""

    unary_ms: float
    """Median of one small unary call at a time."""
    unary_per_s: float
    """Calls in a second, 16 at once."""
    put_mb_s: float
    get_mb_s: float


class BareClient:
    """The baseline's client side."""

    def __init__(self, port: int, certificates: BenchCertificates) -> None:
        context = _context(certificates, server=False)
        self.channel = Channel("127.0.0.1", port, ssl=context, codec=RawCodec())

    async def echo(self) -> None:
        """Make one small unary call."""
        async with self.channel.request(
            "/bench.Bare/Echo", grpclib.const.Cardinality.UNARY_UNARY, bytes, bytes
        ) as stream:
            await stream.send_message(b"x" * 64, end=True)
            await stream.recv_message()

    async def put(self, block: bytes) -> None:
        """Stream one chunk in."""
        async with self.channel.request(
            "/bench.Bare/Put", grpclib.const.Cardinality.STREAM_UNARY, bytes, bytes
        ) as stream:
            for offset in range(0, CHUNK_BYTES, MESSAGE_BYTES):
                await stream.send_message(
                    block[offset : offset + MESSAGE_BYTES],
                    end=offset + MESSAGE_BYTES == CHUNK_BYTES,
                )
            assert await stream.recv_message() == b"ok"

    async def get(self, name: bytes) -> None:
        """Stream one chunk out and verify it."""
        async with self.channel.request(
            "/bench.Bare/Get", grpclib.const.Cardinality.UNARY_STREAM, bytes, bytes
        ) as stream:
            await stream.send_message(name, end=True)
            hasher = blake3()
            async for part in stream:
                hasher.update(part)
            assert hasher.hexdigest().encode() == name


async def _measure(port: int, certificates: BenchCertificates, chunks: int) -> GrpclibFigures:
    client = BareClient(port, certificates)
    data = [bytes([index]) + bytes(payload(CHUNK_BYTES))[1:] for index in range(4)]
    names = [blake3(block).hexdigest().encode() for block in data]
    await at_once([client.echo] * 50, 1)
    times = []
    for _ in range(500):
        begin = time.perf_counter()
        await client.echo()
        times.append(time.perf_counter() - begin)
    many_s = await at_once([client.echo] * 1500, 16)
    put_s = await at_once([partial(client.put, data[i % 4]) for i in range(chunks)], 4)
    get_s = await at_once([partial(client.get, names[i % 4]) for i in range(chunks)], 4)
    client.channel.close()
    return GrpclibFigures(
        unary_ms=statistics.median(times) * 1e3,
        unary_per_s=1500 / many_s,
        put_mb_s=chunks * CHUNK_BYTES / put_s / 1e6,
        get_mb_s=chunks * CHUNK_BYTES / get_s / 1e6,
    )


def measure_grpclib(
    certificates: BenchCertificates, directory: Path, *, chunks: int
) -> GrpclibFigures:
    """Run the baseline's server as a process and measure it from this one."""
    directory.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(
        target=_serve, args=(certificates, str(directory), theirs), daemon=True
    )
    server.start()
    try:
        return uvloop.run(_measure(ours.recv(), certificates, chunks))
    finally:
        ours.send("stop")
        server.join(10)
