"""Nodes that die: what still works, what fails cleanly, and what heals."""

from __future__ import annotations

from typing import Any

from tests.integration.cluster import Cluster

PATH = "/shared/file"


def test_one_node_down_is_healed_and_two_down_fail_cleanly(own_cluster: Cluster) -> None:
    own_cluster.cli("mkdir", "/shared")
    first, second, _ = own_cluster.nodes
    first.kill()
    own_cluster.write(PATH, b"with one node down")
    status = own_cluster.cli("status", "--json").json()
    assert status["chunks"]["under_replicated"] == 1

    second.kill()
    assert own_cluster.read(PATH) == b"with one node down"
    failed = own_cluster.cli("write", "/shared/other", stdin=b"y", check=False)
    assert failed.code == 6, failed.err
    assert own_cluster.cli("stat", "/shared/other", check=False).code == 3

    first.start()
    second.start()

    def healed(found: Any) -> bool:
        return bool(found["chunks"]["under_replicated"] == 0)

    own_cluster.wait_status(healed, "three copies again")
