"""Asking a health listener: what it answers, and who does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from collective.core.errors import UnreachableError
from collective.core.units import Address
from collective.roles.runtime.http import ObserveListener
from collective.rpc.client.metrics_page import ask

PATIENCE_S = 60.0


async def answered(
    path: str, why: Callable[[], tuple[str, ...]], host: str = "127.0.0.1"
) -> tuple[int, str]:
    listener = ObserveListener(lambda: b"", why)
    address = await listener.start(Address("127.0.0.1", 0))
    try:
        where = Address(host, address.port)
        return await asyncio.to_thread(ask, where, path, timeout_s=PATIENCE_S)
    finally:
        await listener.stop()


async def test_what_a_listener_says_is_told() -> None:
    assert await answered("/readyz", tuple) == (200, "ready")
    assert await answered("/readyz", lambda: ("a", "b")) == (503, "a\nb")
    assert await answered("/healthz", lambda: ("a",)) == (200, "alive")


async def test_a_wildcard_is_asked_on_loopback() -> None:
    assert await answered("/readyz", tuple, "0.0.0.0") == (200, "ready")


async def test_silence_and_others_are_named() -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail\r\n")
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(UnreachableError, match="no health listener"):
        await asyncio.to_thread(ask, Address("127.0.0.1", port), "/", timeout_s=PATIENCE_S)
    server.close()
    await server.wait_closed()
    with pytest.raises(UnreachableError, match="Nobody answers"):
        await asyncio.to_thread(ask, Address("127.0.0.1", port), "/", timeout_s=PATIENCE_S)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_a_host_that_no_name_can_be_is_not_found(host: str) -> None:
    with pytest.raises(UnreachableError, match="no host name"):
        ask(Address(host, 9090), "/healthz", timeout_s=PATIENCE_S)
