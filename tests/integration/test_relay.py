"""A client that cannot reach the nodes goes through the coordinator, and remembers it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from collective.client.collective import Collective
from collective.core.errors import UnreachableError
from collective.core.ids import SpiffeId
from collective.core.limits import CHUNK_SIZE_BYTES
from collective.core.units import parse_addresses
from collective.pki.credentials import load_credentials
from collective.rpc.client.dial import TlsDialer
from tests.integration import processes
from tests.integration.cluster import Cluster
from tests.integration.material import Material
from tests.worlds import REAL

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    cluster.cli("mkdir", "/relay")
    return cluster


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[Collective]:
    options = dict(zip(cluster.operator[::2], cluster.operator[1::2], strict=True))
    credentials = load_credentials(
        options["--cert"], options["--key"], options["--ca"], disk=REAL.disk
    )
    async with Collective.connect(
        credentials, parse_addresses(options["--coordinator"])
    ) as collective:
        yield collective


@pytest.fixture(params=["refused", "swallowed"])
def dialled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Make nodes unreachable for this process; count whom it tried."""
    tried: Counter[str] = Counter()
    real: Callable[..., Any] = TlsDialer.dial

    async def open_unless_node(self: TlsDialer, peer: SpiffeId, *args: Any, **kwargs: Any) -> Any:
        tried[peer.role] += 1
        if peer.role == "node":
            if request.param == "swallowed":
                await asyncio.sleep(1.0)
            raise UnreachableError("No route to the node.")
        return await real(self, peer, *args, **kwargs)

    monkeypatch.setattr(TlsDialer, "dial", open_unless_node)
    return tried


async def read(collective: Collective, path: str) -> bytes:
    content = bytearray()
    async with collective.open_read(path) as reader:
        async for block in reader:
            content += block
    return bytes(content)


async def test_everything_works_by_relay_and_the_client_remembers(
    prepared: Cluster, dialled: Counter[str], request: pytest.FixtureRequest
) -> None:
    cluster, material = prepared, Material(24 * MIB + 7, seed=len(request.node.name))
    path = f"/relay/{request.node.callspec.id}"
    stored = processes.node_bytes(cluster, "put")
    async with connected(cluster) as collective:
        entry = await collective.write(path, material.all())
        assert entry.copies_least >= 2
        tried = dialled["node"]
        chunks = material.size // CHUNK_SIZE_BYTES + 1  # those under way when relay begins try, too
        assert 0 < tried <= chunks * len(cluster.nodes)
        assert dialled["coordinator"] > 0
        assert await read(collective, path) == material.all()
        await collective.write(f"{path}-2", b"second")
        assert await read(collective, f"{path}-2") == b"second"
        assert dialled["node"] == tried, "it does not try the nodes again"
    assert processes.node_bytes(cluster, "put") - stored >= 2 * material.size
    assert cluster.read(path) == material.all()


async def test_a_read_alone_falls_back_to_relay(prepared: Cluster, dialled: Counter[str]) -> None:
    material = Material(9 * MIB, seed=32)
    await asyncio.to_thread(prepared.write, "/relay/direct", material.all())
    async with connected(prepared) as collective:
        assert await read(collective, "/relay/direct") == material.all()
    assert dialled["node"] > 0
    assert dialled["coordinator"] > 0


async def test_without_trouble_nothing_is_relayed(
    prepared: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[str] = Counter()
    real: Callable[..., Any] = TlsDialer.dial

    async def count(self: TlsDialer, peer: SpiffeId, *args: Any, **kwargs: Any) -> Any:
        seen[peer.role] += 1
        return await real(self, peer, *args, **kwargs)

    monkeypatch.setattr(TlsDialer, "dial", count)
    async with connected(prepared) as collective:
        await collective.write("/relay/plain", Material(9 * MIB, seed=33).all())
        assert await read(collective, "/relay/plain") == Material(9 * MIB, seed=33).all()
    assert seen["node"] > 0
    assert seen["coordinator"] == 0


@pytest.mark.parametrize("down", [1, 2])
async def test_it_relays_where_few_nodes_are_left(
    prepared: Cluster, dialled: Counter[str], request: pytest.FixtureRequest, down: int
) -> None:
    """With a quorum of nodes that is up, no more have to be found unreachable than there are."""
    path = f"/relay/few-{down}-{request.node.callspec.id}"
    material = Material(5 * MIB, seed=down)
    prepared.write(path, material.all())
    prepared.wait_status(lambda status: not status["chunks"]["under_replicated"], "all copies")
    gone = prepared.nodes[:down]
    for node in gone:
        node.kill()
    try:
        prepared.wait_status(
            lambda status: sum(one["state"] == "down" for one in status["local_nodes"]) == down,
            "nodes that are down",
        )
        async with connected(prepared) as collective:
            assert await read(collective, path) == material.all()
        if down == 1:
            async with connected(prepared) as collective:  # one that knows nothing yet
                await collective.write(f"{path}-new", b"one chunk, so one first hop")
            assert prepared.read(f"{path}-new") == b"one chunk, so one first hop"
    finally:
        for node in gone:
            node.restart()
        prepared.wait_healthy(3)
