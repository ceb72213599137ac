"""Disks that are full to the last byte or read-only: reads go on, the rest says so and comes back."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.integration.cluster import Cluster, Service
from tests.integration.processes import fill, wait_for

MIB: Final = 1 << 20
NODE_DISK_MIB: Final = 96
"""The node keeps 64 MiB of its disk free."""
TIMERS: Final = {
    "COLLECTIVE_HEARTBEAT_INTERVAL": "0.5",
    "COLLECTIVE_NODE_SUSPECT_AFTER": "4",
    "COLLECTIVE_NODE_DOWN_AFTER": "8",
}
Mount = Callable[[Path, int], None]


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def lone_node(tmp_path: Path) -> Cluster:
    """A member whose only node must take every write and serve every read."""
    return Cluster(tmp_path / "member", node_count=1, extra=TIMERS | {"COLLECTIVE_COPIES": "1"})


def read_only(folder: Path, *, on: bool) -> None:
    mode = "ro" if on else "rw"
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def warned(cluster: Cluster, words: str) -> bool:
    return any(words in warning for warning in cluster.status()["warnings"])


def wait_page(service: Service, code: int, words: str) -> None:
    def look() -> bool | None:
        found, text = service.page("/readyz")
        return (found == code and words in text) or None

    wait_for(look, f"{service.name}: {code} {words}")


def disk_of(status: Any) -> str:
    (node,) = status["local_nodes"]
    return str(node["disk"])


def test_a_node_with_a_disk_full_to_the_last_byte_serves_reads_and_comes_back(
    tmp_path: Path, small_disk: Mount
) -> None:
    cluster = lone_node(tmp_path)
    node = cluster.nodes[0]
    data = cluster.data_dir(node.name)
    small_disk(data, NODE_DISK_MIB)
    try:
        cluster.start()
        cluster.cli("mkdir", "/d")
        small, large = content(1000, 1), content(5 * MIB, 2)
        cluster.write("/d/small", small)
        cluster.write("/d/large", large)
        fill(data / "ballast")
        check_full(cluster, small, large)
        node.restart()  # it starts on the full disk, too
        check_full(cluster, small, large)
        cluster.cli("rm", "/d/small")  # a position that cannot be kept: no delete, no end either
        check_full(cluster, None, large)
        (data / "ballast").unlink()
        cluster.wait_status(lambda status: disk_of(status) == "ok", "the disk is well again")
        node.wait_writable()
        assert not warned(cluster, "disk is full")
        cluster.write("/d/after", small)
        assert cluster.read("/d/after") == small
        cluster.coordinator.wait_writable()
    finally:
        cluster.kill_all()


def check_full(cluster: Cluster, small: bytes | None, large: bytes) -> None:
    node = cluster.nodes[0]
    cluster.wait_status(lambda status: disk_of(status) == "full", "the node says that it is full")
    wait_page(node, 503, "node takes no writes: The node's disk is full")
    wait_page(cluster.coordinator, 503, "coordinator takes no writes: A write needs 1 healthy")
    assert warned(cluster, f"Node {node.name}: its disk is full")
    assert cluster.cli("status").text.count("up, disk full") == 1
    failed = cluster.cli("write", "/d/never", stdin=b"x" * 5000, check=False)
    assert failed.code == 6, failed
    assert len(failed.err.strip().splitlines()) == 1
    if small is not None:
        assert cluster.read("/d/small") == small
    assert cluster.read("/d/large") == large
    assert 'collective_disk_state{role="node",state="full"} 1.0' in node.page("/metrics")[1]
    assert node.is_running


def test_a_node_with_a_read_only_disk_serves_reads_starts_and_comes_back(
    tmp_path: Path, small_disk: Mount
) -> None:
    cluster = lone_node(tmp_path)
    node = cluster.nodes[0]
    data = cluster.data_dir(node.name)
    small_disk(data, NODE_DISK_MIB)
    try:
        cluster.start()
        cluster.cli("mkdir", "/d")
        small, large = content(1000, 3), content(5 * MIB, 4)
        cluster.write("/d/small", small)
        cluster.write("/d/large", large)
        node.kill()  # with an open pack, as at a power cut
        read_only(data, on=True)
        node.start()
        node.wait_ready()
        cluster.wait_status(lambda status: disk_of(status) == "read-only", "it says so")
        wait_page(node, 503, "node takes no writes: The node's disk is read-only")
        assert warned(cluster, f"Node {node.name}: its disk is read-only")
        assert cluster.cli("write", "/d/never", stdin=b"x" * 5000, check=False).code == 6
        assert cluster.read("/d/small") == small
        assert cluster.read("/d/large") == large
        read_only(data, on=False)
        cluster.wait_status(lambda status: disk_of(status) == "ok", "the disk is well again")
        cluster.write("/d/after", small)
        assert cluster.read("/d/after") == small
        node.restart()
        assert cluster.read("/d/after") == small
    finally:
        cluster.kill_all()


def test_a_coordinator_with_a_full_disk_says_so_serves_reads_and_comes_back(
    tmp_path: Path, small_disk: Mount
) -> None:
    cluster = Cluster(tmp_path / "member", extra=TIMERS)
    coordinator = cluster.coordinator
    data = cluster.data_dir("coordinator")
    small_disk(data, 16)
    try:
        cluster.start()
        cluster.cli("mkdir", "/d")
        wanted = content(MIB, 6)
        cluster.write("/d/file", wanted)
        coordinator.wait_writable()
        fill(data / "ballast")
        check_full_catalogue(cluster, wanted)
        (data / "ballast").unlink()
        coordinator.wait_writable()
        coordinator.terminate()  # its end gives the log and its index back
        fill(data / "ballast")
        coordinator.start()
        coordinator.wait_ready()
        fill(data / "more")  # what the reserve gave up
        cluster.wait_healthy(3)
        check_full_catalogue(cluster, wanted)
        (data / "ballast").unlink()
        (data / "more").unlink()
        coordinator.wait_writable()
        assert not warned(cluster, "disk")
        cluster.write("/d/after", b"room again")
        assert cluster.read("/d/after") == b"room again"
    finally:
        cluster.kill_all()


def check_full_catalogue(cluster: Cluster, wanted: bytes) -> None:
    wait_page(cluster.coordinator, 503, "coordinator takes no writes: The catalogue's disk is full")
    failed = cluster.cli("write", "/d/other", stdin=b"x", check=False)
    for attempt in range(50):  # the log may have some room of its own left
        if failed.code != 0:
            break
        failed = cluster.cli("write", f"/d/other-{attempt}", stdin=b"x", check=False)
    assert failed.code == 6, failed
    assert len(failed.err.strip().splitlines()) == 1
    assert cluster.read("/d/file") == wanted
    assert warned(cluster, "The catalogue's disk is full")
    assert cluster.coordinator.is_running
