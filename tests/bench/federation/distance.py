"""A large file at a peer that is far away, beside what one connection's window gives over the same link.

The owner's coordinator and nodes are found over a link with a delay; the reader and its member are at the
near end.  What the window gives is measured by blocking sockets, with TLS as in ``ceiling`` and plain, on
connections that stand already; the product's stand as well, from a read that does not count.
"""

from __future__ import annotations

import multiprocessing
import socket
import ssl
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import uvloop

from collective.client.collective import Collective
from tests.bench.ceiling import SEND_BYTES, payload, tls_context
from tests.bench.certificates import BenchCertificates, make_certificates
from tests.bench.federation.far import FAR, FarLink
from tests.bench.federation.files import MIB, SETTINGS, median_ratio, read_mb_s
from tests.bench.member import Synthetic
from tests.bench.report import Row
from tests.integration.cluster import Cluster
from tests.integration.federation.houses import Person, running_houses

ONE_WAY_S: Final = 0.04
LEAST: Final = 0.8
"""Of the rate of one TLS connection."""
_OWNER_HOST: Final = 2
_PLAIN_HOST: Final = 4


@dataclass(slots=True)
class DistanceFigures:
    """Rates in MB/s, one for each round."""

    size_bytes: int
    connect_ms: float
    """What a TCP connection takes to stand: the round trip."""
    tcp: list[float]
    tls: list[float]
    read: list[float]


def measure_distance(
    folder: Path, *, size_bytes: int, rounds: int, link: FarLink
) -> DistanceFigures:
    """Start two members, and measure; the link is as it was afterwards."""

    def prepare(member: Cluster) -> None:
        if member.member == "bob":
            _move_far(member)

    with running_houses(folder, "alice", "bob", extra=SETTINGS, prepare=prepare) as houses:
        houses.peer("alice", "bob")
        alice, bob = houses["alice"], houses["bob"]
        alice.cli("mkdir", "/shared")
        bob.cli("mkdir", "/media")
        bob.use(lambda home: home.write("/media/large", Synthetic(size_bytes)))
        una = houses.person("alice", "una", "/shared:read")
        bob.cli("grant", "add", "/media:read", "una@home.alice")
        link.delay(ONE_WAY_S)
        try:
            return uvloop.run(_measure(una, folder, size_bytes, rounds))
        finally:
            link.delay(0.0)


def _move_far(member: Cluster) -> None:
    """Let others find coordinator and nodes at the far end alone."""
    for service in member.services.values():
        settings = service.environment
        port = member.node_ports.get(service.name, member.coordinator_port)
        name = "NODE_ADDRESS" if service.name in member.node_ports else "COORDINATOR_ADDRESS"
        settings[f"COLLECTIVE_{name}"] = f"0.0.0.0:{port}"
        settings["COLLECTIVE_ADVERTISE_ADDRESS"] = f"{FAR}.{_OWNER_HOST}:{port}"


async def _measure(una: Person, folder: Path, size_bytes: int, rounds: int) -> DistanceFigures:
    certificates = make_certificates(folder / "certificates")
    credentials, addresses = una.login()
    path = "/@home.bob/media/large"
    with _sender(certificates, is_tls=False) as plain, _sender(certificates, is_tls=True) as secure:
        figures = DistanceFigures(size_bytes, _connect_ms(), [], [], [])
        async with Collective.connect(credentials, addresses) as home:
            await read_mb_s(home, path, size_bytes)
            received_mb_s(plain, size_bytes)
            received_mb_s(secure, size_bytes)
            for _ in range(rounds):
                figures.tcp.append(received_mb_s(plain, size_bytes))
                figures.tls.append(received_mb_s(secure, size_bytes))
                figures.read.append(await read_mb_s(home, path, size_bytes))
    return figures


def _connect_ms() -> float:
    """Return the median time in which a connection stands; the listener need not accept it."""
    times = []
    with socket.create_server(("0.0.0.0", 0)) as listener:
        for _ in range(5):
            begin_s = time.perf_counter()
            where = (f"{FAR}.{_PLAIN_HOST}", listener.getsockname()[1])
            socket.create_connection(where, timeout=30).close()
            times.append((time.perf_counter() - begin_s) * 1e3)
    return statistics.median(times)


@contextmanager
def _sender(certificates: BenchCertificates, *, is_tls: bool) -> Iterator[socket.socket]:
    """Yield a connection over the link to a process that sends what it is asked for."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_sender, args=(certificates, is_tls, theirs), daemon=True)
    process.start()
    raw = socket.create_connection((f"{FAR}.{_PLAIN_HOST}", ours.recv()), timeout=120)
    with tls_context(certificates, server=False).wrap_socket(raw) if is_tls else raw as connection:
        yield connection
    process.join(10)


def serve_sender(certificates: BenchCertificates, is_tls: bool, pipe: Connection) -> None:
    listener = socket.create_server(("0.0.0.0", 0))
    pipe.send(listener.getsockname()[1])
    raw, _ = listener.accept()
    data = payload(SEND_BYTES)
    connection: socket.socket = raw
    if is_tls:
        connection = tls_context(certificates, server=True).wrap_socket(raw, server_side=True)
    with connection:
        try:
            while asked := connection.recv(8):
                for _ in range(int.from_bytes(asked, "big") // SEND_BYTES):
                    connection.sendall(data)
        except (ssl.SSLError, ConnectionError):
            pass


def received_mb_s(connection: socket.socket, size_bytes: int) -> float:
    begin_s = time.perf_counter()
    connection.sendall(size_bytes.to_bytes(8, "big"))
    buffer = bytearray(SEND_BYTES)
    left = size_bytes
    while left:
        count = connection.recv_into(buffer, min(left, SEND_BYTES))
        assert count
        left -= count
    return size_bytes / (time.perf_counter() - begin_s) / 1e6


def distance_rows(figures: DistanceFigures) -> list[Row]:
    """Return the lines of the table."""
    name = f"{ONE_WAY_S * 1e3:.0f} ms away"
    ratio = median_ratio(figures.read, figures.tls)
    return [
        Row(f"{name}: a connection stands", f"{figures.connect_ms:.0f} ms", "", "", None),
        Row(
            f"{name}: one TCP connection",
            f"{statistics.median(figures.tcp):.1f} MB/s",
            "",
            "",
            None,
        ),
        Row(
            f"{name}: one TLS connection",
            f"{statistics.median(figures.tls):.1f} MB/s",
            "",
            "",
            None,
        ),
        Row(
            f"{name}: {figures.size_bytes // MIB} MiB at a peer: read",
            f"{statistics.median(figures.read):.1f} MB/s",
            f"{ratio:.2f} TLS",
            f">= {LEAST:g} TLS",
            ratio >= LEAST,
        ),
    ]
