"""Sizes round every boundary, byte-identical, in bounded memory at every process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import processes
from tests.integration.cluster import Cluster, running_cluster
from tests.integration.material import Material

KIB = 1024
MIB = 1024 * KIB
PEAK_MAX_BYTES = 150 * 10**6
SIZES = {
    "0": 0,
    "1": 1,
    "64KiB-1": 64 * KIB - 1,
    "64KiB": 64 * KIB,
    "64KiB+1": 64 * KIB + 1,
    "4MiB-1": 4 * MIB - 1,
    "4MiB": 4 * MIB,
    "4MiB+1": 4 * MIB + 1,
    "100MiB": 100 * MIB,
}


def start(cluster: Cluster, *command: str, pipe: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "collective", *command, *cluster.operator],
        stdin=subprocess.PIPE if pipe == "stdin" else subprocess.DEVNULL,
        stdout=subprocess.PIPE if pipe == "stdout" else subprocess.DEVNULL,
        env=cluster.client_environment,
    )


def write(cluster: Cluster, path: str, material: Material) -> int:
    """Write through a pipe; return the client's peak memory."""
    client = start(cluster, "write", path, pipe="stdin")
    assert client.stdin is not None
    with client, processes.PeakWatch(client.pid) as watch:
        for block in material.blocks():
            client.stdin.write(block)
        client.stdin.close()
        assert client.wait() == 0, cluster.logs()
    return watch.peak_bytes


def check(cluster: Cluster, path: str, material: Material) -> int:
    """Read through a pipe and compare; return the client's peak memory."""
    client = start(cluster, "read", path, pipe="stdout")
    assert client.stdout is not None
    with client, processes.PeakWatch(client.pid) as watch:
        assert material.is_all_of(client.stdout)
        assert client.wait() == 0, cluster.logs()
    return watch.peak_bytes


def check_memory(cluster: Cluster, *clients: int) -> None:
    peaks = {one.name: processes.peak_bytes(one.pid) for one in cluster.services.values()}
    peaks |= {f"client {number}": peak for number, peak in enumerate(clients)}
    print({name: f"{peak / 1e6:.0f} MB" for name, peak in peaks.items()})  # noqa: T201 - a figure
    assert all(peaks.values())
    assert max(peaks.values()) < PEAK_MAX_BYTES, peaks


def check_middle(cluster: Cluster, path: str, material: Material) -> None:
    """Read one byte in the middle: it is right, and one chunk was touched."""
    before = processes.node_operations(cluster, "get")
    bytes_before = processes.node_bytes(cluster, "get")
    offset = material.size // 2 + 12345
    done = cluster.cli("read", path, "--offset", str(offset), "--length", "1")
    assert done.out == material.part(offset, 1)
    assert processes.node_operations(cluster, "get") - before == 1
    assert processes.node_bytes(cluster, "get") - bytes_before <= 4 * MIB + 64


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    cluster.cli("mkdir", "/sizes")
    return cluster


@pytest.mark.parametrize("name", list(SIZES))
def test_size(prepared: Cluster, name: str) -> None:
    path, material = f"/sizes/{name}", Material(SIZES[name], seed=len(name))
    clients = [write(prepared, path, material), check(prepared, path, material)]
    check_memory(prepared, *clients)
    entry = prepared.cli("stat", path, "--json").json()
    assert entry["size"] == material.size
    assert entry["chunk_count"] == -(-material.size // (4 * MIB))
    if material.size > 8 * MIB:
        check_middle(prepared, path, material)


def test_ranges_round_chunk_boundaries(prepared: Cluster) -> None:
    material = Material(SIZES["4MiB+1"], seed=len("4MiB+1"))
    for offset, length in ((0, 1), (4 * MIB - 1, 1), (4 * MIB - 1, 2), (4 * MIB, 1), (4 * MIB, 9)):
        done = prepared.cli(
            "read", "/sizes/4MiB+1", "--offset", str(offset), "--length", str(length)
        )
        assert done.out == material.part(offset, length), (offset, length)
    for offset, length in ((4 * MIB + 1, 1), (9 * MIB, 1), (5, 0)):
        done = prepared.cli(
            "read", "/sizes/4MiB+1", "--offset", str(offset), "--length", str(length)
        )
        assert done.out == b"", (offset, length)


@pytest.fixture
def roomy_cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "member"
    try:
        with running_cluster(folder) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_size_of_2_gib(roomy_cluster: Cluster) -> None:
    cluster, material = roomy_cluster, Material(2 * 1024 * MIB, seed=2)
    cluster.cli("mkdir", "/sizes")
    clients = [write(cluster, "/sizes/2GiB", material)]
    check_memory(cluster, *clients)
    check_middle(cluster, "/sizes/2GiB", material)
    clients.append(check(cluster, "/sizes/2GiB", material))
    check_memory(cluster, *clients)
    assert cluster.cli("status", "--json").json()["chunks"]["under_replicated"] == 0
