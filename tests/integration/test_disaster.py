"""Nodes in trouble: they hang, fill up, lose or garble what they keep, or exist twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from collective.client.collective import Collective
from collective.core.units import Address
from collective.pki.credentials import load_credentials
from tests.integration.cluster import Cluster, Service, running_cluster
from tests.integration.processes import wait_for
from tests.worlds import REAL

MIB: Final = 1 << 20
CHUNK: Final = 4 * MIB
BLOCKS: Final = 8
TIMERS: Final = {
    "COLLECTIVE_HEARTBEAT_INTERVAL": "0.5",
    "COLLECTIVE_NODE_SUSPECT_AFTER": "3",
    "COLLECTIVE_NODE_DOWN_AFTER": "6",
    "COLLECTIVE_COLLECTION_GRACE": "1",
}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes with short timers; each test leaves them healthy."""
    with running_cluster(tmp_path_factory.mktemp("farm"), extra=TIMERS) as made:
        made.cli("mkdir", "/d")
        yield made


def content(size: int, seed: int | str) -> bytes:
    return random.Random(seed).randbytes(size)


def whole(status: Any) -> bool:
    chunks = status["chunks"]
    return bool(chunks["under_replicated"] == 0 and chunks["unavailable"] == 0)


async def write_with(cluster: Cluster, path: str, blocks: Sequence[bytes], victim: Service) -> None:
    """Write ``blocks``, hanging ``victim`` in their middle."""

    async def source() -> AsyncIterator[bytes]:
        for number, block in enumerate(blocks):
            if number == len(blocks) // 2:
                victim.pause()
            yield block

    async with connected(cluster, victim) as home:
        await home.write(path, source())


async def read_with(cluster: Cluster, path: str, wanted: bytes, victim: Service) -> None:
    """Read and compare, hanging ``victim`` after the first block."""
    async with connected(cluster, victim) as home:
        found = bytearray()
        async with home.open_read(path) as reader:
            async for block in reader:
                if not found:
                    victim.pause()
                found += block
    assert found == wanted


@contextlib.asynccontextmanager
async def connected(cluster: Cluster, victim: Service) -> AsyncIterator[Collective]:
    """Yield a connection as the operator; at the end ``victim`` goes on, so that all can close."""
    ca, certificate, key = (cluster.operator[index] for index in (3, 5, 7))
    credentials = load_credentials(certificate, key, ca, disk=REAL.disk)
    address = Address("127.0.0.1", cluster.coordinator_port)
    async with Collective.connect(credentials, [address]) as home:
        try:
            yield home
        finally:
            victim.resume()


# What a hung node costs is counted in virtual seconds, in tests/unit/client/test_transfers.py.  Here it
# hangs until the transfer is over, so one that waited for it would never end.


def test_a_running_write_goes_round_a_node_that_hangs(farm: Cluster) -> None:
    blocks = [content(CHUNK, number) for number in range(BLOCKS)]
    asyncio.run(write_with(farm, "/d/hung", blocks, farm.nodes[0]))
    assert farm.read("/d/hung") == b"".join(blocks)
    farm.wait_healthy(3)
    farm.wait_status(whole, "three copies of everything")


@pytest.mark.parametrize("victims", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_running_read_goes_round_a_node_that_hangs(farm: Cluster, victims: int) -> None:
    wanted = content(BLOCKS * CHUNK, 50)
    farm.write("/d/wanted", wanted)
    for victim in farm.nodes[:victims]:
        asyncio.run(read_with(farm, "/d/wanted", wanted, victim))
        farm.wait_healthy(3)


def test_two_nodes_that_hang_fail_a_write(farm: Cluster) -> None:
    farm.write("/d/before", b"before")
    hung = farm.nodes[:2]
    for node in hung:
        node.pause()
    try:
        failed = farm.cli("write", "/d/never", stdin=b"x" * MIB, check=False)
        assert failed.code == 6, failed.err
        assert farm.read("/d/before") == b"before"
        assert farm.cli("stat", "/d/never", check=False).code == 3
    finally:
        for node in hung:
            node.resume()
    farm.wait_healthy(3)


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 8
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "harm",
    [
        flip_a_bit,
        pytest.param(cut_short, marks=pytest.mark.slow),
        pytest.param(Path.unlink, marks=pytest.mark.slow),
    ],
)
def test_a_harmed_chunk_file_is_read_elsewhere_and_repaired(
    farm: Cluster, harm: Callable[[Path], None]
) -> None:
    name = f"/d/harmed-{harm.__name__}"
    farm.wait_status(whole, "three copies of everything")
    before = {chunk_of(path) for node in farm.nodes for path in chunk_files(farm, node)}
    wanted = content(CHUNK, name)  # bytes that are not stored yet
    farm.write(name, wanted)
    farm.wait_status(whole, "three copies of everything")
    fresh = {  # a chunk of earlier may get another copy meanwhile
        node.name: [path for path in chunk_files(farm, node) if chunk_of(path) not in before]
        for node in farm.nodes
    }
    assert all(len(paths) == 1 for paths in fresh.values()), fresh
    good = fresh[farm.nodes[2].name][0].read_bytes()
    for node in farm.nodes[:2]:
        harm(fresh[node.name][0])

    def is_repaired(node: Service) -> bool:
        harmed = chunk_of(fresh[node.name][0])
        copies = [path for path in chunk_files(farm, node) if chunk_of(path) == harmed]
        return any(path.read_bytes() == good for path in copies)

    def all_are_repaired() -> bool:
        assert farm.read(name) == wanted
        return all(is_repaired(node) for node in farm.nodes)

    wait_for(all_are_repaired, "repair of the bad copies")
    farm.wait_status(whole, "three copies of everything")


def chunk_files(cluster: Cluster, node: Service) -> list[Path]:
    return list((cluster.data_dir(node.name) / "node" / "chunks").glob("*/*"))


def chunk_of(path: Path) -> str:
    return path.name.partition(".")[0]


def test_a_cloned_node_is_refused_and_shown(farm: Cluster) -> None:
    original = farm.nodes[0]
    clone = farm.add_node("clone", NODE_ID=original.name)
    try:
        shutil.copytree(farm.data_dir(original.name), farm.data_dir("clone"))
        shutil.copytree(farm.cert_dir(original.name), farm.cert_dir("clone"))
        clone.start()
        wait_for(lambda: "Another process" in farm.cli("status").text, "word of the clone")
        assert "Another process" in clone.log_text()
        assert clone.page("/readyz")[0] != 200
        assert original.page("/readyz")[0] == 200
        farm.write("/d/with-a-clone", b"written beside a clone")
        assert farm.read("/d/with-a-clone") == b"written beside a clone"
    finally:
        clone.kill()
        del farm.services["clone"]
    farm.wait_healthy(3)


@pytest.mark.parametrize("full", [pytest.param("capacity", marks=pytest.mark.slow), "disk"])
def test_full_nodes_are_gone_round_until_too_few_are_left(
    tmp_path: Path, full: str, small_disk: Callable[[Path, int], None]
) -> None:
    cluster = Cluster(tmp_path / "member", extra=TIMERS)
    for node in cluster.nodes[: 2 if full == "capacity" else 1]:
        node.environment["COLLECTIVE_STORAGE_CAPACITY"] = "20MiB"
    if full == "disk":
        small_disk(cluster.data_dir(cluster.nodes[1].name), 24)
    try:
        cluster.start()
        cluster.cli("mkdir", "/d")
        first = content(CHUNK, 1)
        cluster.write("/d/first", first)
        failed = cluster.cli("write", "/d/large", stdin=content(32 * MIB, 2), check=False)
        assert failed.code == 6, failed.err
        assert len(failed.err.strip().splitlines()) == 1
        assert cluster.cli("stat", "/d/large", check=False).code == 3
        assert cluster.read("/d/first") == first

        def is_empty(status: Any) -> bool:
            return all(node["used_capacity"] < 8 * MIB for node in status["local_nodes"])

        cluster.wait_status(is_empty, "space given back after the failed write")
        cluster.write("/d/second", first)
        assert cluster.read("/d/second") == first
    finally:
        cluster.kill_all()
