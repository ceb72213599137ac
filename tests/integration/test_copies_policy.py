"""What is moved, or whose datastore is set, gets the copies that are asked for there now."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster import Cluster, running_cluster

pytestmark = [pytest.mark.timeout(240)]

HEALED_S = 30.0


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path / "member", node_count=4) as made:
        yield made


def copies(cluster: Cluster, path: str) -> tuple[int, int]:
    entry = cluster.cli("stat", path, "--json").json()
    return entry["copies_least"], entry["copies_wanted"]


def wait_for(cluster: Cluster, path: str, wanted: tuple[int, int]) -> None:
    """Return when stat says so, and nothing is short; what was said before must have been true."""
    deadline = time.monotonic() + HEALED_S
    seen = copies(cluster, path)
    while seen != wanted:
        assert seen[1] == wanted[1]
        assert time.monotonic() < deadline, f"{seen}, not {wanted}\n{cluster.logs()}"
        time.sleep(0.2)
        seen = copies(cluster, path)

    def healed(found: Any) -> bool:
        return bool(found["chunks"]["under_replicated"] == 0)

    cluster.wait_status(healed, "nothing short", HEALED_S)


def health(cluster: Cluster) -> float:
    _, page = cluster.coordinator.page("/metrics")
    (line,) = [line for line in page.splitlines() if line.startswith("collective_cluster_health{")]
    return float(line.rsplit(" ", 1)[1])


def test_a_move_and_a_new_policy_bring_the_copies_up(four: Cluster) -> None:
    data = random.Random(1).randbytes(9 << 20)
    four.cli("datastore", "create", "/two", "--copies", "2")
    four.cli("datastore", "create", "/three", "--copies", "3")
    four.cli("mkdir", "/two/tree")
    four.write("/two/tree/file", data)
    wait_for(four, "/two/tree/file", (2, 2))

    four.cli("mv", "/two/tree", "/three/tree")
    wait_for(four, "/three/tree/file", (3, 3))

    four.write("/two/other", b"another file")
    four.cli("datastore", "set", "/two", "--copies", "4")
    wait_for(four, "/two/other", (4, 4))

    # Two nodes may go now: each of these has three copies at least.
    for node in four.nodes[:2]:
        node.kill()
    assert four.read("/three/tree/file") == data
    assert four.read("/two/other") == b"another file"


def test_what_cannot_be_brought_up_is_told_until_it_can(four: Cluster) -> None:
    four.cli("datastore", "create", "/two", "--copies", "2")
    four.write("/two/file", b"content")
    four.cli("datastore", "set", "/two", "--copies", "5")
    deadline = time.monotonic() + 60.0
    while copies(four, "/two/file") != (4, 5):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert four.status()["chunks"]["under_replicated"] == 1
    while health(four) != 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    four.cli("datastore", "set", "/two", "--copies", "2")
    assert copies(four, "/two/file") == (2, 2)
    assert four.status()["chunks"]["under_replicated"] == 0
    while health(four) != 1.0:
        assert time.monotonic() < deadline
        time.sleep(0.5)
