"""What was interrupted goes on: uploads, downloads, and reads from a node that hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.integration import processes
from tests.integration.cluster import Cluster
from tests.integration.material import Material
from tests.integration.processes import wait_for

pytestmark = pytest.mark.timeout(180)

MIB = 1024 * 1024
SIZE = 100 * MIB


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    cluster.cli("mkdir", "/r")
    return cluster


def start(cluster: Cluster, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "collective", *command, *cluster.operator],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=cluster.client_environment,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, "it was too quick to be interrupted"
    process.kill()
    process.communicate()


def settled(cluster: Cluster) -> float:
    """Return the bytes put into the nodes once no more arrive."""
    before = -1.0
    while (now := processes.node_bytes(cluster, "put")) != before:
        before = now
        time.sleep(0.3)
    return now


def test_put_goes_on_after_kill_9(prepared: Cluster, tmp_path: Path) -> None:
    cluster, material = prepared, Material(SIZE, seed=21)
    local = str(tmp_path / "big")
    material.save(local)
    begun = settled(cluster)
    client = start(cluster, "put", local, "/r/put")
    wait_for(lambda: processes.node_bytes(cluster, "put") - begun > 3 * 64 * MIB, "64 MiB sent")
    kill(client)
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
    begun = settled(cluster)
    client = start(cluster, "put", str(local), "/r/changed")
    wait_for(lambda: processes.node_bytes(cluster, "put") - begun > 3 * 40 * MIB, "40 MiB sent")
    kill(client)
    other = Material(60 * MIB, seed=23)
    other.save(str(local))
    cluster.cli("put", str(local), "/r/changed")
    assert cluster.read("/r/changed") == other.all()


def test_get_goes_on_after_kill_9(prepared: Cluster, tmp_path: Path) -> None:
    cluster, material = prepared, Material(SIZE, seed=24)
    cluster.write("/r/get", material.all())
    target = tmp_path / "got"
    client = start(cluster, "get", "/r/get", str(target))

    def part_bytes() -> int:
        return sum(one.stat().st_size for one in tmp_path.glob(".got.*.part"))

    deadline = time.monotonic() + 30
    while part_bytes() < 24 * MIB and time.monotonic() < deadline:
        time.sleep(0.002)
    kill(client)
    assert not target.exists()
    kept = part_bytes()
    assert 24 * MIB <= kept < SIZE
    before = processes.node_bytes(cluster, "get")
    cluster.cli("get", "/r/get", str(target))
    fetched = processes.node_bytes(cluster, "get") - before
    assert target.read_bytes() == material.all()
    assert fetched <= SIZE - kept + 5 * MIB
    assert os.listdir(tmp_path) == ["got"]


def test_a_part_of_another_version_is_not_used(prepared: Cluster, tmp_path: Path) -> None:
    cluster = prepared
    target = tmp_path / "v"
    cluster.write("/r/version", Material(SIZE, seed=25).all())
    client = start(cluster, "get", "/r/version", str(target))
    wait_for(lambda: any(p.stat().st_size > 8 * MIB for p in tmp_path.glob(".v.*")), "part")
    kill(client)
    newer = Material(9 * MIB, seed=26)
    cluster.write("/r/version", newer.all())
    cluster.cli("get", "/r/version", str(target))
    assert target.read_bytes() == newer.all()


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

    def feed() -> None:
        for number, block in enumerate(material.blocks()):
            stdin.write(block)
            if number > 40:
                time.sleep(0.05)
        stdin.close()

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    wait_for(lambda: processes.node_bytes(cluster, "put") - begun > 3 * 40 * MIB, "40 MiB sent")
    cluster.coordinator.restart()
    feeder.join(60)
    assert client.stderr is not None
    said = client.stderr.read()
    client.stderr.close()
    assert client.wait(60) == 0, said
    assert cluster.read("/r/restart") == material.all()


def test_a_read_goes_round_a_node_that_hangs(prepared: Cluster) -> None:
    cluster, material = prepared, Material(40 * MIB, seed=28)
    cluster.write("/r/hang", material.all())
    began = time.monotonic()
    assert cluster.read("/r/hang") == material.all()
    usual_s = time.monotonic() - began
    for victim in cluster.nodes:
        victim.pause()
        try:
            began = time.monotonic()
            assert cluster.read("/r/hang") == material.all()
            assert time.monotonic() - began < usual_s + 5
        finally:
            victim.resume()
