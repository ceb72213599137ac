"""Connections that lie, dribble, flood or do nothing at all."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import psutil
import pytest

from collective.client.joining import redeem
from collective.core.clock import SystemClock
from collective.core.errors import UsageError
from collective.pki import invite_code
from collective.pki.certificates import new_private_key
from collective.pki.credentials import Credentials
from collective.rpc.gen.collective.v1 import files as pb
from collective.rpc.tls.contexts import ALPN_CHUNK, ALPN_GRPC
from collective.transfer.stream.frames import FrameType, encode_head
from tests.integration.cluster import PATIENCE_S
from tests.integration.hostile.attacker import Target, Wire
from tests.integration.processes import wait_for
from tests.worlds import LINKS, REAL

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ANSWER_S = 0.15
"""Junk gets an answer or a close within that, or none."""
MORE_FLOODS_MAX_BYTES = 16 * 1024 * 1024


def h2_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes((kind, flags))
        + struct.pack(">I", stream)
        + payload
    )


SETTINGS = h2_frame(4, 0, 0)
JUNK = {
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "random": os.urandom(4096),
    "HTTP/1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
    "TLS in TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 100,
    "preface, then junk": PREFACE + os.urandom(4096),
    "settings, then junk": PREFACE + SETTINGS + b"\xff" * 4096,
    "largest frame": PREFACE + SETTINGS + b"\xff\xff\xff\0\0\0\0\0\1" + bytes(4096),
    "bad header block": PREFACE + SETTINGS + h2_frame(1, 4, 1, b"\xff" * 500),
}


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("alpn", [ALPN_GRPC, ALPN_CHUNK])
async def test_junk_after_the_handshake(target: Target, name: str, alpn: str) -> None:
    for port in (target.cluster.coordinator_port, target.node_port()):
        with target.wire(target.mallory, port, alpn) as wire, suppress(OSError):
            wire.send(JUNK[name])
            wire.sock.settimeout(ANSWER_S)
            while wire.sock.recv(65536):
                pass


@pytest.mark.parametrize("name", JUNK)
async def test_junk_at_the_bootstrap(target: Target, name: str) -> None:
    port = target.cluster.bootstrap_port
    with target.wire(None, port, ALPN_GRPC) as wire, suppress(OSError):
        wire.send(JUNK[name])
        wire.sock.settimeout(ANSWER_S)
        while wire.sock.recv(65536):
            pass
    with socket.create_connection(("127.0.0.1", port), timeout=120) as plain, suppress(OSError):
        plain.sendall(JUNK[name])  # and before the handshake
        plain.settimeout(ANSWER_S)
        while plain.recv(65536):
            pass


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(encode_head(FrameType.PUT, 1, b"", 5) + b"abcde", id="put without a header"),
        pytest.param(encode_head(FrameType.PUT, 1, b"\xff" * 99, 5) + b"abcde", id="junk header"),
        pytest.param(encode_head(FrameType.GET, 1, b"\xff" * 99, 0), id="get with a junk header"),
        pytest.param(struct.pack(">BBHIII", 1, 0, 0, 1, 1 << 31, 5), id="header of 2 GiB"),
        pytest.param(struct.pack(">BBHIII", 1, 0, 0, 1, 4, (1 << 32) - 1), id="payload of 4 GiB"),
        pytest.param(struct.pack(">BBHIII", 99, 0, 0, 1, 0, 0), id="unknown type"),
        pytest.param(struct.pack(">BBHIII", 7, 255, 0, 0, 0, 0), id="unknown flags"),
        pytest.param(struct.pack(">BBHIII", 7, 0, 9, 0, 0, 0), id="reserved field"),
        pytest.param(encode_head(FrameType.PUT_RESULT, 1, b"x", 0), id="an answer as a question"),
        pytest.param(encode_head(FrameType.DATA, 5, b"", 5) + b"abcde", id="data of no request"),
        pytest.param(encode_head(FrameType.CANCEL, 5, b"", 0) * 1000, id="cancel of no request"),
        pytest.param(encode_head(FrameType.ERROR, 0, b"\xff" * 50, 0), id="junk error"),
    ],
)
async def test_frames_that_mean_nothing(target: Target, raw: bytes) -> None:
    for port in (target.cluster.coordinator_port, target.node_port()):
        with target.wire(target.mallory, port) as wire, suppress(OSError):
            wire.send(raw)
            wire.sock.settimeout(ANSWER_S)
            got = b""
            while piece := wire.sock.recv(65536):
                got += piece
            assert b"Traceback" not in got
            assert b"/collective/" not in got  # no paths of our files


async def test_a_ping_flood_that_reads_no_answers(target: Target) -> None:
    with target.wire(target.mallory, target.node_port()) as wire:
        wire.sock.settimeout(5.0)
        ping = encode_head(FrameType.PING, 0, b"", 0) * 65536
        with pytest.raises(OSError):  # noqa: PT011 - reset, broken pipe or a full pipe
            wire.send(ping * 200)


async def test_a_put_that_stops_in_the_middle(target: Target) -> None:
    """Half of a frame, then silence: the connection costs nothing, others go on."""
    with ExitStack() as open_ones:
        for _ in range(20):
            wire = open_ones.enter_context(target.wire(target.mallory, target.node_port()))
            wire.send(encode_head(FrameType.PUT, 1, b"\x0a\x20" + bytes(32), 1 << 20)[:-7])
        target.cluster.write("/by/meanwhile", b"goes on")


async def test_half_open_handshakes(target: Target) -> None:
    """Plain TCP that never says hello is closed by the handshake's deadline; others get in."""
    ports = (target.cluster.coordinator_port, target.node_port(), target.cluster.bootstrap_port)
    with ExitStack() as open_ones:
        silent = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=120))
            for port in ports
            for _ in range(40)
        ]
        for number, sock in enumerate(silent):
            if number % 2:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        target.cluster.write("/by/meanwhile", b"goes on")
        for sock in silent:
            sock.settimeout(PATIENCE_S)  # it would stay open for good
            with suppress(ConnectionError):
                while sock.recv(4096):
                    pass


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 6000)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def silent_flood(ports: Sequence[int], count: int) -> Iterator[None]:
    """Hold ``count`` connections that say nothing, and make new ones in place of the oldest.

    However slowly the rest goes, the flood is never over before it.
    """
    held: deque[socket.socket] = deque()
    stop, full = threading.Event(), threading.Event()

    def come() -> None:
        for port in itertools.cycle(ports):
            if stop.is_set():
                return
            with suppress(OSError):
                held.append(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
            if len(held) > count:
                full.set()
                held.popleft().close()

    thread = threading.Thread(target=come)
    thread.start()
    try:
        assert full.wait(PATIENCE_S)
        yield
    finally:
        stop.set()
        thread.join()
        for one in held:
            one.close()


@pytest.mark.usefixtures("many_files")
async def test_two_thousand_silent_connections_keep_nobody_out(target: Target) -> None:
    """Neither descriptors nor the way in: the oldest handshakes give way, clients go on."""
    process = psutil.Process(target.cluster.coordinator.pid)
    before = process.num_fds()
    ports = (target.cluster.coordinator_port, target.cluster.bootstrap_port)
    target.cluster.write("/by/meanwhile", b"before")
    with silent_flood(ports, 2000):
        with target.wire(target.mallory, ports[0], ALPN_GRPC):
            pass
        target.cluster.write("/by/meanwhile", b"goes on")
        assert target.cluster.read("/by/meanwhile") == b"goes on"
        made = target.cluster.cli("invite", "generate", "--grant", "/by:read", "--json").json()
        code = invite_code.parse(made["code"])
        await redeem(
            code,
            new_private_key(REAL.randomness),
            clock=SystemClock(),
            wish="meanwhile@home.alice",
            links=LINKS,
        )
        assert process.num_fds() - before < 600


@pytest.mark.usefixtures("many_files")
def test_silent_connections_to_the_metrics_keep_nobody_out(target: Target) -> None:
    service = target.cluster.coordinator
    process = psutil.Process(service.pid)
    before = process.num_fds()
    with silent_flood([service.metrics_port], 1000):
        assert service.page("/readyz")[0] == 200
        assert service.page("/metrics")[0] == 200
        assert process.num_fds() - before < 160


async def test_headers_that_dribble(target: Target) -> None:
    """A header block byte by byte on 30 connections; others do not wait for it."""
    with ExitStack() as open_ones:
        wires = [
            open_ones.enter_context(
                target.wire(target.mallory, target.cluster.coordinator_port, ALPN_GRPC)
            )
            for _ in range(30)
        ]
        for wire in wires:
            wire.send(PREFACE + SETTINGS + b"\0\1\0\1")
        for _ in range(10):
            for wire in wires:
                wire.send(b"\0")
            await asyncio.sleep(0.05)
        target.cluster.write("/by/meanwhile", b"goes on")


async def test_three_hundred_idle_connections(target: Target) -> None:
    with ExitStack() as open_ones:
        for number in range(300):
            alpn = ALPN_CHUNK if number % 2 else ALPN_GRPC
            port = target.cluster.coordinator_port if number % 3 else target.node_port()
            open_ones.enter_context(target.wire(target.mallory, port, alpn))
        target.cluster.write("/by/meanwhile", b"goes on")
        assert target.cluster.read("/by/meanwhile") == b"goes on"


def flood(target: Target, credentials: Credentials | None, port: int, raw: bytes) -> Wire:
    wire = target.wire(credentials, port, ALPN_GRPC)
    wire.sock.settimeout(5.0)
    with suppress(OSError):
        wire.send(PREFACE + SETTINGS + raw)
    return wire


def has_closed(target: Target, port: int) -> bool:
    """Tell whether the coordinator has ended the connection that came from ``port``."""
    found = psutil.Process(target.cluster.coordinator.pid).net_connections("tcp")
    return not any(one.raddr and one.raddr.port == port for one in found)


@pytest.mark.parametrize(
    ("where", "rounds"),
    [
        pytest.param("coordinator", 1, marks=pytest.mark.smoke),
        pytest.param("bootstrap", 1, marks=pytest.mark.smoke),
        pytest.param("coordinator", 12, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
        pytest.param("bootstrap", 12, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
async def test_floods_of_http2_frames(target: Target, where: str, rounds: int) -> None:
    """Rapid resets, pings, settings, window updates, streams without end, on one connection each.

    The first half of the rounds fills what allocator and collector keep; later ones add nothing.
    """
    from hpack import Encoder  # noqa: PLC0415

    is_bootstrap = where == "bootstrap"
    port = target.cluster.bootstrap_port if is_bootstrap else target.cluster.coordinator_port
    who = None if is_bootstrap else target.mallory
    path = (
        "/collective.v1.bootstrap.Bootstrap/BeginJoin"
        if is_bootstrap
        else "/collective.v1.files.Files/List"
    )
    headers = Encoder().encode(
        [
            (":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "x"),
            ("content-type", "application/grpc"), ("te", "trailers"),
        ],
        huffman=False,
    )  # fmt: skip
    resets = b"".join(
        h2_frame(1, 4, stream, headers) + h2_frame(3, 0, stream, struct.pack(">I", 8))
        for stream in range(1, 6001, 2)
    )
    unfinished = b"".join(h2_frame(1, 4, stream, headers) for stream in range(1, 1001, 2))
    floods = {
        "rapid reset": resets,
        "pings": h2_frame(6, 0, 0, bytes(8)) * 20_000,
        "settings": h2_frame(4, 0, 0) * 20_000,
        "window updates": h2_frame(8, 0, 0, struct.pack(">I", 1)) * 20_000,
        "streams without end": unfinished,
        "empty data": h2_frame(1, 4, 1, headers) + h2_frame(0, 0, 1) * 20_000,
        "continuations": h2_frame(1, 0, 1, headers) + h2_frame(9, 0, 1, b"\0" * 16) * 5000,
        "priorities": h2_frame(2, 0, 1, bytes(5)) * 20_000,
    }
    resident = []
    for _ in range(rounds):
        for name, raw in floods.items():
            wire = flood(target, who, port, raw)
            assert target.cluster.coordinator.page("/readyz")[0] == 200, name
            own_port = wire.sock.getsockname()[1]
            wire.sock.close()
            # on a busy machine floods would pile up, and what is measured would be several at once
            wait_for(partial(has_closed, target, own_port), f"the end of {name}")
        target.cluster.write("/by/meanwhile", b"goes on")
        resident.append(target.memory()["coordinator"])
    assert resident[-1] - resident[rounds // 2] < MORE_FLOODS_MAX_BYTES, resident


@pytest.mark.parametrize("size", [4 * 1024 * 1024 + 1, 64 * 1024 * 1024, (1 << 32) - 1])
async def test_a_message_longer_than_a_message_may_be(target: Target, size: int) -> None:
    """Refused by its announced length, before its bytes are kept."""
    from hpack import Encoder  # noqa: PLC0415

    headers = Encoder().encode(
        [
            (":method", "POST"), (":scheme", "https"), (":path", "/collective.v1.files.Files/Stat"),
            (":authority", "x"), ("content-type", "application/grpc"), ("te", "trailers"),
        ],
        huffman=False,
    )  # fmt: skip
    data = b"\0" + struct.pack(">I", size) + bytes(1000)
    wire = flood(
        target,
        target.mallory,
        target.cluster.coordinator_port,
        h2_frame(1, 4, 1, headers) + h2_frame(0, 0, 1, data),
    )
    got = b""
    with wire, suppress(TimeoutError):
        while b"collective-error-bin" not in got and b"over the limit" not in got:
            piece = wire.sock.recv(65536)
            if not piece:
                break
            got += piece
            if len(got) > 300:
                break
    assert len(got) > 30, "no answer"


async def test_an_oversized_message_of_our_own_client(target: Target) -> None:
    async with target.channel(target.mallory) as channel:
        with pytest.raises(UsageError, match="over the limit"):
            await channel.stub(pb.FilesStub).stat(pb.StatRequest(path="/" + "x" * (5 << 20)))
