"""Several addresses of one peer: a silent one delays nothing for long, and what worked is tried first."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from collective.core.errors import RejectedError, UnreachableError
from collective.core.units import Address
from collective.rpc.gen.collective.v1.status import GetStatusRequest, MemberStatusStub
from collective.rpc.tls_links import TlsLinks
from tests.integration.rpc.conftest import COORDINATOR, NODE, USER, Pki, Serve
from tests.worlds import REAL

PATIENCE_S = 20.0
"""For each address: no test may have to wait for it."""


@pytest.fixture
def silent() -> Iterator[Address]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Address("127.0.0.1", listening.getsockname()[1])


def closed_port() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return Address("127.0.0.1", listening.getsockname()[1])


async def ask(pki: Pki, *addresses: Address) -> float:
    """Return how many seconds the first call over a channel to ``addresses`` takes."""
    began_s = time.monotonic()
    channel = TlsLinks(REAL).channel(
        addresses,
        credentials=pki.credentials(USER),
        gate=pki.gate(),
        expect=COORDINATOR,
        connect_timeout_s=PATIENCE_S,
    )
    async with channel:
        answer = await channel.stub(MemberStatusStub).get_status(GetStatusRequest())
        assert answer.member_id == "alice"
    return time.monotonic() - began_s


async def test_a_silent_address_does_not_keep_the_next_one_waiting(
    pki: Pki, serve: Serve, silent: Address
) -> None:
    async with serve() as served:
        assert await ask(pki, silent, silent, served.address) < PATIENCE_S / 2


async def test_who_answered_is_asked_first_the_next_time(
    pki: Pki, serve: Serve, silent: Address
) -> None:
    async with serve() as served:
        channel = TlsLinks(REAL).channel(
            [silent, served.address],
            credentials=pki.credentials(USER),
            gate=pki.gate(),
            expect=COORDINATOR,
            connect_timeout_s=PATIENCE_S,
        )
        async with channel:
            await channel.connect()
            assert str(channel) == str(served.address)


async def test_only_one_connection_stays_of_two_that_answer(pki: Pki, serve: Serve) -> None:
    async with serve() as one, serve() as other:
        await ask(pki, one.address, other.address)
        async with asyncio.timeout(PATIENCE_S):
            while one.listener.connections or other.listener.connections:
                await asyncio.sleep(0.01)


async def test_the_wrong_one_is_named_before_those_that_are_not_there(
    pki: Pki, serve: Serve
) -> None:
    async with serve(credentials=pki.credentials(NODE)) as served:
        with pytest.raises(RejectedError):
            await ask(pki, served.address, closed_port())
        with pytest.raises(RejectedError):
            await ask(pki, closed_port(), served.address)


async def test_nobody_there_is_unreachable(pki: Pki) -> None:
    with pytest.raises(UnreachableError):
        await ask(pki, closed_port(), closed_port())


@pytest.mark.parametrize(
    "host",
    ["a..b", "x" * 64 + ".example", "\u00fc" * 80],
    ids=["empty label", "long label", "long in IDNA"],
)
async def test_a_host_that_no_name_can_be_costs_nothing_but_itself(
    pki: Pki, serve: Serve, host: str
) -> None:
    nowhere = Address(host, 7000)
    async with serve() as served:
        await ask(pki, nowhere, served.address)
    with pytest.raises(UnreachableError, match="no host name"):
        await ask(pki, nowhere)
