"""Chunk streams that a listener refuses when the client believes, by TLS 1.3, to be connected already."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from collective.core.errors import UnreachableError
from collective.rpc.server.connection_limits import Bounds
from collective.transfer.stream.connection import ChunkConnection
from collective.transfer.stream.kept_links import KeptLinks, LinkLimits
from tests.unit.transfer.memory import Overheard, Silent
from tests.worlds import LINKS

from .conftest import COORDINATOR, USER


def accept(_: object) -> ChunkConnection:
    connection = ChunkConnection()
    connection.handler = Silent()
    return connection


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
async def test_a_refused_further_connection_costs_no_exchange(
    pki: Any, serve: Any, pause_s: float
) -> None:
    bounds = Bounds(in_all=9, per_holder=1)
    async with serve(chunk_factory=accept, bounds=bounds) as served:
        dialer = LINKS.dialer(LINKS.client_config(pki.credentials(USER), pki.trust), pki.gate())
        links = KeptLinks(dialer, home=USER.trust_domain, limits=LinkLimits())
        loop = asyncio.get_running_loop()
        for _ in range(4):
            await links.enter(COORDINATOR, [served.address], Overheard())
        for _ in range(20):
            exchange, began_s = Overheard(), loop.time()
            link, request_id = await links.enter(COORDINATOR, [served.address], exchange)
            assert loop.time() - began_s < 2
            await asyncio.sleep(pause_s)
            assert exchange.error is None
            link.leave(request_id, over=True)
        await links.close()


async def test_a_listener_that_refuses_every_connection_is_unreachable(
    pki: Any, serve: Any
) -> None:
    bounds = Bounds(in_all=9, per_holder=0)
    async with serve(chunk_factory=accept, bounds=bounds) as served:
        dialer = LINKS.dialer(LINKS.client_config(pki.credentials(USER), pki.trust), pki.gate())
        links = KeptLinks(dialer, home=USER.trust_domain, limits=LinkLimits())
        for _ in range(3):
            exchange = Overheard()
            try:
                async with asyncio.timeout(3):
                    await links.enter(COORDINATOR, [served.address], exchange)
            except UnreachableError:
                continue
            await asyncio.sleep(0.2)
            assert isinstance(exchange.error, UnreachableError)
        await links.close()
