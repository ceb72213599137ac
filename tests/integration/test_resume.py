"""What was interrupted goes on: uploads, downloads, and reads from a node that hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.integration import processes
from tests.integration.cluster import PATIENCE_S, Cluster
from tests.integration.material import Material
from tests.integration.processes import wait_for

MIB = 1024 * 1024
SIZE = 100 * MIB


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    cluster.cli("mkdir", "/r")
    return cluster


def run_until(moment: str, cluster: Cluster, *command: str) -> None:
    """Run a command that kill -9 ends at ``moment``; see ``dying_client``."""
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.integration.dying_client", moment,
            *command, *cluster.operator,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=cluster.client_environment,
        timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


def settled(cluster: Cluster, way: str = "put") -> float:
    """Return the bytes put into the nodes, or got from them, once no more are under way."""
    before = -1.0
    while (now := processes.node_bytes(cluster, way)) != before:
        before = now
        time.sleep(0.3)
    return now


def test_put_goes_on_after_kill_9(prepared: Cluster, tmp_path: Path) -> None:
    cluster, material = prepared, Material(SIZE, seed=21)
    local = str(tmp_path / "big")
    material.save(local)
    run_until("sent:17", cluster, "put", local, "/r/put")
    assert cluster.cli("stat", "/r/put", check=False).code == 3
    middle = settled(cluster)
    cluster.cli("put", local, "/r/put")
    sent_again = settled(cluster) - middle
    assert cluster.read("/r/put") == material.all()
    assert sent_again <= 3 * (SIZE - 32 * MIB)
    assert not any(Path(cluster.client_environment["HOME"]).rglob("uploads/*"))


def test_put_of_a_file_that_changed_begins_afresh(prepared: Cluster, tmp_path: Path) -> None:
    cluster = prepared
    local = tmp_path / "changing"
    Material(SIZE, seed=22).save(str(local))
    run_until("sent:10", cluster, "put", str(local), "/r/changed")
    other = Material(60 * MIB, seed=23)
    other.save(str(local))
    cluster.cli("put", str(local), "/r/changed")
    assert cluster.read("/r/changed") == other.all()


def test_get_goes_on_after_kill_9(prepared: Cluster, tmp_path: Path) -> None:
    cluster, material = prepared, Material(SIZE, seed=24)
    cluster.write("/r/get", material.all())
    target = tmp_path / "got"

    def part_bytes() -> int:
        return sum(one.stat().st_size for one in tmp_path.glob(".got.*.part"))

    run_until("got:24", cluster, "get", "/r/get", str(target))
    assert not target.exists()
    kept = part_bytes()
    assert 24 * MIB <= kept < SIZE
    before = settled(cluster, "get")
    cluster.cli("get", "/r/get", str(target))
    fetched = processes.node_bytes(cluster, "get") - before
    assert target.read_bytes() == material.all()
    assert fetched <= SIZE - kept + 5 * MIB
    assert os.listdir(tmp_path) == ["got"]


def test_a_part_of_another_version_is_not_used(prepared: Cluster, tmp_path: Path) -> None:
    cluster = prepared
    target = tmp_path / "v"
    cluster.write("/r/version", Material(SIZE, seed=25).all())
    run_until("got:9", cluster, "get", "/r/version", str(target))
    newer = Material(9 * MIB, seed=26)
    cluster.write("/r/version", newer.all())
    cluster.cli("get", "/r/version", str(target))
    assert target.read_bytes() == newer.all()
    assert os.listdir(tmp_path) == ["v"]


def test_an_upload_goes_on_when_the_coordinator_restarts_in_the_middle(
    prepared: Cluster, tmp_path: Path
) -> None:
    cluster, material = prepared, Material(SIZE, seed=27)
    begun = settled(cluster)
    client = subprocess.Popen(
        [sys.executable, "-m", "collective", "write", "/r/restart", *cluster.operator],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=cluster.client_environment,
    )
    stdin = client.stdin
    assert stdin is not None

    is_back = threading.Event()

    def feed() -> None:
        for number, block in enumerate(material.blocks()):
            if number * len(block) == 60 * MIB:
                assert is_back.wait(PATIENCE_S)
            stdin.write(block)
        stdin.close()

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    wait_for(lambda: processes.node_bytes(cluster, "put") - begun > 3 * 40 * MIB, "40 MiB sent")
    settled(cluster)
    cluster.coordinator.restart()
    cluster.wait_healthy(3)
    is_back.set()
    feeder.join(180)
    assert client.stderr is not None
    said = client.stderr.read()
    client.stderr.close()
    assert client.wait(180) == 0, said
    assert cluster.read("/r/restart") == material.all()


def test_a_read_goes_round_a_node_that_hangs(prepared: Cluster) -> None:
    """A paused node never answers; what it costs is counted in tests/unit/client/test_transfers.py."""
    cluster, material = prepared, Material(40 * MIB, seed=28)
    cluster.write("/r/hang", material.all())
    for victim in cluster.nodes:
        victim.pause()
        try:
            assert cluster.read("/r/hang") == material.all()
        finally:
            victim.resume()
