"""Many who come at once, floods of silent ones, and names that lead to what is not there."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, cast

import pytest

from collective.core.errors import CannotListenError, UnreachableError
from collective.core.units import Address
from collective.rpc.client.connect import open_stream
from collective.rpc.server.acceptor import HANDSHAKES_MAX, Door
from collective.rpc.tls.contexts import ALPN_GRPC, client_context, server_context
from tests.integration.rpc.conftest import COORDINATOR, USER, Pki

MANY = 150


class Greets(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(b"ok")


class Hears(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.got.set()


@asynccontextmanager
async def open_door(pki: Pki) -> AsyncIterator[tuple[Door, Address]]:
    tls = server_context(pki.credentials(COORDINATOR), pki.trust)
    door = Door(Greets, lambda: tls, handshake_timeout_s=30, shutdown_timeout_s=1)
    address = await door.open(Address("127.0.0.1", 0))
    try:
        yield door, address
    finally:
        door.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not holds():
            await asyncio.sleep(0.01)


def came(open_ones: ExitStack, address: Address, count: int, source: str) -> list[socket.socket]:
    """Return connections that say nothing."""
    where = (address.host, address.port)
    made = [
        socket.create_connection(where, timeout=120, source_address=(source, 0))
        for _ in range(count)
    ]
    for one in made:
        open_ones.enter_context(one)
    return made


def is_cut_off(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def shakes_hands(one: socket.socket, pki: Pki) -> None:
    tls = client_context(pki.credentials(USER), pki.trust, (ALPN_GRPC,))
    one.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, hears = await loop.create_connection(Hears, sock=one, ssl=tls, server_hostname="")
    async with asyncio.timeout(120):
        await hears.got.wait()
    transport.abort()


async def test_all_who_come_at_once_from_behind_one_address_are_let_in(pki: Pki) -> None:
    async with open_door(pki) as (door, address):
        with ExitStack() as open_ones:
            all_of_them = await asyncio.to_thread(came, open_ones, address, MANY, "127.0.0.1")
            await until(lambda: door.unfinished == MANY)
            for one in all_of_them:
                await shakes_hands(one, pki)
            await until(lambda: door.unfinished == 0)


async def test_a_silent_flood_gives_way_to_one_of_another_address(pki: Pki) -> None:
    async with open_door(pki) as (door, address):
        with ExitStack() as open_ones:
            flood = await asyncio.to_thread(
                came, open_ones, address, HANDSHAKES_MAX + 20, "127.0.0.1"
            )
            await until(lambda: sum(map(is_cut_off, flood)) == 20)
            (victim,) = await asyncio.to_thread(came, open_ones, address, 1, "127.0.0.2")
            await until(lambda: sum(map(is_cut_off, flood)) == 21)
            more = await asyncio.to_thread(came, open_ones, address, HANDSHAKES_MAX, "127.0.0.1")
            await until(lambda: all(map(is_cut_off, flood)))
            assert door.unfinished <= HANDSHAKES_MAX
            assert not is_cut_off(victim)
            await shakes_hands(victim, pki)
            assert sum(map(is_cut_off, more)) <= 1


@pytest.mark.parametrize(("cut", "expected"), [(1, 2), (9, 2)])
async def test_a_handshake_that_is_cut_off_is_tried_once_again(
    cut: int, expected: int, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collective.rpc.client.connect._AGAIN_AFTER_S", 0.0)
    tries = 0
    writers: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        if tries <= cut:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(address.host, address.port)
        writers.extend((writer, back))

        async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                to.write(data)
            to.close()

        await asyncio.gather(pass_on(reader, back), pass_on(there, writer), return_exceptions=True)

    async with open_door(pki) as (_, address):
        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connecting = open_stream(
            Address("127.0.0.1", port),
            client_context(pki.credentials(USER), pki.trust, (ALPN_GRPC,)),
            lambda _: Hears(),
            gate=pki.gate(),
            expect=COORDINATOR,
            alpn=ALPN_GRPC,
            timeout_s=20,
        )
        if cut < expected:
            transport, hears = await connecting
            async with asyncio.timeout(120):
                await hears.got.wait()
            transport.abort()
        else:
            with pytest.raises(UnreachableError):
                await connecting
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)  # until both loops have closed them
        assert tries == expected


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_a_name_that_leads_to_ipv6_where_there_is_none(
    number: int, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``localhost`` is ::1 and 127.0.0.1; the kernel has only the second."""
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    found = [six, four]

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return found

    class WithoutIpv6(socket.socket):
        def __init__(self, family: int = -1, *rest: Any, **named: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(number, "not here")
            super().__init__(family, *rest, **named)

    tls = server_context(pki.credentials(COORDINATOR), pki.trust)
    door = Door(Greets, lambda: tls, handshake_timeout_s=30, shutdown_timeout_s=1)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    monkeypatch.setattr("collective.rpc.server.acceptor.socket.socket", WithoutIpv6)
    address = await door.open(Address("localhost", 0))
    assert address.port
    door.close()
    found.pop()
    with pytest.raises(CannotListenError, match="not here"):
        await door.open(Address("localhost", 0))
