"""A coordinator that moves is followed by nodes that heard of its new address at an old one."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.cluster import Cluster
from tests.integration.ports import free_port
from tests.integration.processes import wait_for


def notes_of(alice: Cluster, node: str) -> dict[str, list[str]]:
    record: dict[str, list[str]] = json.loads(
        (alice.cert_dir(node) / "nodes" / f"{node}.json").read_text()
    )
    return record


def test_nodes_follow_a_coordinator_that_told_where_it_would_be(tmp_path: Path) -> None:
    alice = Cluster(tmp_path, node_count=1, extra={"COLLECTIVE_COPIES": "1"})
    (node,) = alice.node_ports
    settings = alice.coordinator.environment
    old, new = (f"127.0.0.1:{port}" for port in (alice.coordinator_port, free_port()))
    old_door, new_door = (f"127.0.0.1:{port}" for port in (alice.bootstrap_port, free_port()))
    alice.services[node].environment.pop("COLLECTIVE_COORDINATOR_ADDRESS", None)
    settings["COLLECTIVE_ADVERTISE_ADDRESS"] = f"{old},{new}"
    settings["COLLECTIVE_BOOTSTRAP_ADVERTISE_ADDRESS"] = f"{old_door},{new_door}"
    try:
        alice.start()
        wait_for(
            lambda: new in notes_of(alice, node)["coordinator_addresses"] or None,
            "the node's note of the new address",
        )
        assert new_door in notes_of(alice, node)["bootstrap_addresses"]
        alice.coordinator.terminate()
        settings["COLLECTIVE_COORDINATOR_ADDRESS"] = new
        settings["COLLECTIVE_BOOTSTRAP_ADDRESS"] = new_door
        settings["COLLECTIVE_ADVERTISE_ADDRESS"] = new
        settings["COLLECTIVE_BOOTSTRAP_ADVERTISE_ADDRESS"] = new_door
        alice.coordinator.start()
        alice.coordinator.wait_writable()
        alice.services[node].restart()
        assert notes_of(alice, node)["coordinator_addresses"][0] == new
        assert notes_of(alice, node)["store_uuid"], "what else was noted is still there"
    finally:
        alice.kill_all()
