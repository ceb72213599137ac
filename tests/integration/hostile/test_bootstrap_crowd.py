"""Whoever has no certificate finishes handshakes at the bootstrap, as many as he can, and stays."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest

from collective.client.joining import redeem
from collective.core.clock import SystemClock
from collective.pki import invite_code
from collective.pki.certificates import new_private_key
from collective.rpc.server.acceptor import HANDSHAKES_MAX
from collective.rpc.server.connection_limits import UNCERTIFIED
from collective.rpc.tls.contexts import ALPN_GRPC, client_context
from tests.integration.hostile.attacker import Target
from tests.integration.hostile.test_connections import PREFACE, SETTINGS
from tests.worlds import LINKS, REAL

CONNECTIONS = 1100
"""More than a usual limit of open files, and than any listener takes."""


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 6000)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def come(target: Target, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return one more connection that has greeted as HTTP/2 does, and asks for nothing."""
    plain = socket.create_connection(("127.0.0.1", target.cluster.bootstrap_port), timeout=120)
    secured = context.wrap_socket(plain)
    secured.sendall(PREFACE + SETTINGS)
    return secured


async def join(target: Target, name: str) -> None:
    made = target.cluster.cli("invite", "generate", "--grant", "/by:read", "--json").json()
    await redeem(
        invite_code.parse(made["code"]),
        new_private_key(REAL.randomness),
        clock=SystemClock(),
        wish=f"{name}@home.alice",
        links=LINKS,
    )


async def test_a_thousand_finished_connections_without_a_certificate_stop_nobody(
    target: Target,
) -> None:
    """They get few descriptors, and neither joins nor the main listener wait for them."""
    process = psutil.Process(target.cluster.coordinator.pid)
    before = process.num_fds()
    context = client_context(None, target.trust, (ALPN_GRPC,))
    with ExitStack() as open_ones:
        for _ in range(CONNECTIONS):
            open_ones.enter_context(await asyncio.to_thread(come, target, context))
        assert process.num_fds() - before <= UNCERTIFIED.in_all + HANDSHAKES_MAX
        await join(target, "finished")
        target.cluster.write("/by/meanwhile", b"goes on")
        assert target.cluster.coordinator.page("/readyz")[0] == 200


async def test_joins_go_through_while_connections_without_a_certificate_keep_coming(
    target: Target,
) -> None:
    context = client_context(None, target.trust, (ALPN_GRPC,))
    stop = threading.Event()
    made = 0

    def keep_coming() -> None:
        nonlocal made
        with ExitStack() as open_ones:
            while not stop.is_set():
                with suppress(OSError):
                    open_ones.enter_context(come(target, context))
                    made += 1

    flood = asyncio.create_task(asyncio.to_thread(keep_coming))
    try:
        async with asyncio.timeout(120):
            while made < CONNECTIONS:
                await asyncio.sleep(0.1)
        for number in range(3):
            await join(target, f"flooded{number}")
        target.cluster.write("/by/meanwhile", b"goes on")
    finally:
        stop.set()
        await flood


async def test_the_soft_limit_of_open_files_is_raised(target: Target) -> None:
    for service in target.cluster.services.values():
        soft, hard = psutil.Process(service.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert soft == min(hard, 1 << 20)
