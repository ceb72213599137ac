"""A listener whose clients have no certificate: its connections are few and do not last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from h2.connection import H2Connection

from collective.core.clock import SystemClock
from collective.core.disk import OsDisk
from collective.core.randomness import SystemRandomness
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.pki.trust import TrustStore
from collective.roles.bootstrap.app import BootstrapRole, find_credentials
from collective.roles.runtime.lifecycle import Runtime, Supervisor
from collective.roles.runtime.metrics import Metrics
from collective.rpc.gen.collective.v1.status import Status
from collective.rpc.server.connection_limits import UNCERTIFIED, Bounds
from collective.rpc.server.listener import TlsListener
from collective.rpc.tls.contexts import ALPN_GRPC, client_context, server_context
from tests.integration.certificates import issued_bootstrap
from tests.integration.ports import free_port
from tests.integration.rpc.conftest import COORDINATOR, Overview, Pki
from tests.worlds import LINKS, REAL, world_of

PATH = "/collective.v1.status.MemberStatus/GetStatus"


class Lively(asyncio.Protocol):
    """Answers settings and pings as a good client does, and asks for as many calls as it is told."""

    def __init__(self, calls: int = 0) -> None:
        self.calls = calls
        self.h2 = H2Connection()
        self.opened_s = time.monotonic()
        self.ended_s: float | None = None
        self.lost = asyncio.Event()
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.h2.initiate_connection()
        for number in range(self.calls):
            headers = [(":method", "POST"), (":scheme", "https"), (":path", PATH)]
            headers += [
                (":authority", "x"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
            ]
            self.h2.send_headers(2 * number + 1, headers)
            self.h2.send_data(2 * number + 1, bytes(5), end_stream=True)
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        self.h2.receive_data(data)
        self.answers += 1
        self.transport.write(self.h2.data_to_send())

    def ping(self) -> None:
        if not self.transport.is_closing():
            self.h2.ping(bytes(8))
            self.transport.write(self.h2.data_to_send())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.ended_s = time.monotonic()
        self.lost.set()

    @property
    def lived_s(self) -> float:
        assert self.ended_s is not None
        return self.ended_s - self.opened_s


@asynccontextmanager
async def listening(
    pki: Pki, bounds: Bounds | None = None
) -> AsyncIterator[tuple[TlsListener, Overview, Address]]:
    overview = Overview()
    tls = server_context(
        pki.credentials(COORDINATOR), pki.trust, client_certificates=False, alpn=(ALPN_GRPC,)
    )
    listener = TlsListener([overview], None, lambda: tls, REAL, bounds=bounds)
    address = await listener.listen(Address("127.0.0.1", 0))
    try:
        yield listener, overview, address
    finally:
        await listener.shut(0.2)
        await asyncio.sleep(0)


async def connect(trust: TrustStore, address: Address, calls: int = 0) -> Lively:
    tls = client_context(None, trust, (ALPN_GRPC,))
    _, protocol = await asyncio.get_running_loop().create_connection(
        lambda: Lively(calls), address.host, address.port, ssl=tls, server_hostname=""
    )
    return protocol


def test_the_bounds_that_are_promised() -> None:
    assert UNCERTIFIED.in_all <= 128
    assert UNCERTIFIED.idle_s == 10
    assert UNCERTIFIED.life_s == 60


async def test_a_connection_that_answers_pings_and_asks_nothing_is_ended(pki: Pki) -> None:
    async with listening(pki, Bounds(9, 9, idle_s=1.0, life_s=60)) as (listener, _, address):
        lively = await connect(pki.trust, address)
        async with asyncio.timeout(120):
            while not lively.lost.is_set():
                lively.ping()
                await asyncio.sleep(0.1)
        assert lively.lived_s > 0.9
        assert listener.connections == ()


async def test_a_call_that_never_ends_is_ended_with_its_connection(pki: Pki) -> None:
    async with listening(pki, Bounds(9, 9, idle_s=1.0, life_s=3.0)) as (_, overview, address):

        async def never() -> Status:
            await asyncio.Event().wait()
            raise AssertionError

        overview.answer = never
        lively = await connect(pki.trust, address, calls=1)
        async with asyncio.timeout(120):
            await lively.lost.wait()
        assert lively.lived_s > 2.5


async def test_calls_in_time_keep_a_connection(pki: Pki) -> None:
    async with listening(pki, Bounds(9, 9, idle_s=2.0, life_s=60)) as (_, overview, address):
        release = asyncio.Event()

        async def slow() -> Status:
            await release.wait()
            return Status(member_id="alice")

        overview.answer = slow
        lively = await connect(pki.trust, address, calls=1)
        await asyncio.sleep(3.0)  # longer than a connection may be idle
        assert not lively.lost.is_set()
        before = lively.answers
        release.set()
        async with asyncio.timeout(120):
            while lively.answers == before:
                await asyncio.sleep(0.1)


async def test_a_standalone_bootstrap_takes_few_connections_and_the_newest_always(
    tmp_path: Path,
) -> None:
    out = issued_bootstrap(tmp_path)
    trust = find_credentials(out, OsDisk()).trust()
    address = Address("127.0.0.1", free_port())
    settings = ServeSettings(
        roles=frozenset(("bootstrap",)),
        bootstrap_address=address,
        coordinator_address=Address("127.0.0.1", 1),
        cert_dir=out,
    )
    role = BootstrapRole(
        Runtime(settings, Metrics(), world_of(SystemClock(), SystemRandomness()), LINKS, {})
    )
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group)
        await role.start(supervisor)
        held = [await connect(trust, address) for _ in range(UNCERTIFIED.in_all + 40)]
        async with asyncio.timeout(120):
            while sum(not one.lost.is_set() for one in held) > UNCERTIFIED.in_all:
                await asyncio.sleep(0.05)
        assert all(not one.lost.is_set() for one in held[-10:])
        assert all(one.lost.is_set() for one in held[:30])
        for one in held:
            one.transport.abort()
        await role.stop()
        supervisor.cancel_all()
