"""What is moved, or whose datastore is set, gets the copies that are asked for there now."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.cluster import Cluster, running_cluster
from tests.integration.processes import wait_for


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One member for both: each test leaves four nodes up and nothing short of copies."""
    with running_cluster(tmp_path_factory.mktemp("member"), node_count=4) as made:
        yield made


def copies(cluster: Cluster, path: str) -> tuple[int, int]:
    entry = cluster.cli("stat", path, "--json").json()
    return entry["copies_least"], entry["copies_wanted"]


def wait_for_copies(cluster: Cluster, path: str, wanted: tuple[int, int]) -> None:
    """Return when stat says so, and nothing is short; what was said before must have been true."""

    def reached() -> bool:
        least, asked = copies(cluster, path)
        assert asked == wanted[1]
        return least == wanted[0]

    wait_for(reached, f"{wanted[0]} copies of {path}", every_s=0.2)

    def healed(found: Any) -> bool:
        return bool(found["chunks"]["under_replicated"] == 0)

    cluster.wait_status(healed, "nothing short")


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
    wait_for_copies(four, "/two/tree/file", (2, 2))

    four.cli("mv", "/two/tree", "/three/tree")
    wait_for_copies(four, "/three/tree/file", (3, 3))

    four.write("/two/other", b"another file")
    four.cli("datastore", "set", "/two", "--copies", "4")
    wait_for_copies(four, "/two/other", (4, 4))

    # Two nodes may go now: each of these has three copies at least.
    for node in four.nodes[:2]:
        node.kill()
    assert four.read("/three/tree/file") == data
    assert four.read("/two/other") == b"another file"
    four.start()


def test_what_cannot_be_brought_up_is_told_until_it_can(four: Cluster) -> None:
    four.cli("datastore", "create", "/many", "--copies", "2")
    four.write("/many/file", b"content")
    four.cli("datastore", "set", "/many", "--copies", "5")
    wait_for(lambda: copies(four, "/many/file") == (4, 5), "a copy at each node", every_s=0.2)
    assert four.status()["chunks"]["under_replicated"] == 1
    wait_for(lambda: health(four) == 0.5, "word of too few copies")
    four.cli("datastore", "set", "/many", "--copies", "2")
    assert copies(four, "/many/file") == (2, 2)
    assert four.status()["chunks"]["under_replicated"] == 0
    wait_for(lambda: health(four) == 1.0, "full health")
