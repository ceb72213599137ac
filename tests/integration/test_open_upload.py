"""Nodes that go while a file is being written: it is safe when it is acknowledged, or it fails."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster import Cluster, running_cluster

pytestmark = [pytest.mark.timeout(240)]

MIB = 1024 * 1024
MOVED_S = 60.0
OLD = tuple(f"alice-node-{number:02d}" for number in range(1, 4))
NEW = tuple(f"alice-node-{number:02d}" for number in range(4, 7))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path / "member", node_count=3) as made:
        made.cli("mkdir", "/d")
        yield made


class Writing:
    """A write that was sent 12 MiB and waits for more."""

    def __init__(self, cluster: Cluster) -> None:
        self.content = os.urandom(12 * MIB)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "collective", "write", "/d/f", *cluster.operator],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=cluster.client_environment,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self.content)
        self._process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Close its input; return the exit code and what it said."""
        _, said = self._process.communicate(timeout=60)
        return self._process.returncode, said.decode()

    def kill(self) -> None:
        """End the process, if it runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def chunks(cluster: Cluster) -> dict[str, int]:
    found = cluster.cli("node", "list", "--json").json()
    return {node["id"]: node["copies_left"] for node in found}


def wait_until(cluster: Cluster, enough: Any) -> None:
    deadline = time.monotonic() + MOVED_S
    while not enough(left := chunks(cluster)):
        assert time.monotonic() < deadline, f"{left}\n{cluster.logs()}"
        time.sleep(0.2)


def remove(cluster: Cluster, node: str) -> None:
    """Remove a node as soon as that is not refused."""
    deadline = time.monotonic() + MOVED_S
    while (done := cluster.cli("node", "remove", node, "--yes", check=False)).code:
        assert done.code == 8, done.err
        assert "still holds" in done.err
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.2)


@contextlib.contextmanager
def open_write(cluster: Cluster) -> Iterator[Writing]:
    """Write to nodes 1 to 3; then nodes 4 to 6 join."""
    writing = Writing(cluster)
    try:
        _join(cluster)
        yield writing
    finally:
        writing.kill()


def _join(cluster: Cluster) -> None:
    wait_until(cluster, lambda left: all(left[node] >= 2 for node in OLD))
    for node in NEW:
        cluster.add_node(node).start()
    cluster.wait_healthy(6)
    for node in NEW:
        cluster.cli("node", "approve", node)


def test_nodes_under_an_open_write_are_emptied_before_they_are_removed(home: Cluster) -> None:
    with open_write(home) as writing:
        for node in OLD:
            home.cli("node", "drain", node)
        for node in OLD:
            remove(home, node)
        code, said = writing.end()
        assert code == 0, said
        read = hashlib.sha256(home.read("/d/f")).digest()
        assert read == hashlib.sha256(writing.content).digest()
    assert home.cli("stat", "/d/f", "--json").json()["copies_least"] >= 2


def test_a_write_whose_copies_all_went_by_force_is_not_acknowledged(home: Cluster) -> None:
    with open_write(home) as writing:
        for node in OLD:
            home.cli("node", "remove", node, "--force", "--yes")
        code, said = writing.end()
        assert code == 6, said
        assert "copies" in said
    assert home.cli("stat", "/d/f", check=False).code == 3
