"""Finding 9, on real processes: a node that says another's address as its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from tests import protocol as pb
from tests.integration.cluster import PATIENCE_S, Cluster, Service
from tests.integration.hostile.attacker import Target
from tests.integration.ports import free_port
from tests.integration.processes import wait_for

pytestmark = pytest.mark.timeout(240)
TLS_HANDSHAKE = 22
CLIENT_HELLO = 1


class Bystander:
    """Listens, answers nothing, and keeps what it is sent."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.sent: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.sent.append(connection.recv(65536))


def test_finding_9_nobody_but_the_coordinator_dials_it_and_that_rarely(tmp_path: Path) -> None:
    bystander = Bystander()
    cluster = Cluster(tmp_path / "member", node_count=1, extra={"COLLECTIVE_COPIES": "1"})
    node = cluster.nodes[0]
    own = node.environment["COLLECTIVE_NODE_ADDRESS"]
    node.environment["COLLECTIVE_ADVERTISE_ADDRESS"] = f"127.0.0.1:{bystander.port},{own}"
    try:
        cluster.start()
        wait_for(lambda: bystander.sent or None, "a dial by the coordinator")
        cluster.coordinator.wait_writable()
        cluster.cli("mkdir", "/d")
        for number in range(5):
            cluster.write(f"/d/{number}", bytes([number]) * 300_000)
        for number in range(5):
            assert cluster.read(f"/d/{number}") == bytes([number]) * 300_000
        (shown,) = cluster.status()["local_nodes"]
        assert shown["address"] == own
        dials = len(bystander.sent)
        assert dials <= 4, "at first a few seconds apart, then ever longer"
        for sent in bystander.sent:
            assert sent[0] == TLS_HANDSHAKE
            assert sent[5] == CLIENT_HELLO
            assert b"home.alice" not in sent, "it says nothing of the member"
        log = cluster.coordinator.log_text()
        assert log.count("node_not_found_at_its_address") <= dials
    finally:
        bystander.listening.close()
        cluster.kill_all()


NO_HOSTS = ("a..b", "x" * 64 + ".example", ".", "a" * 253)
"""For these a resolver raises something else than that it does not find them."""


async def test_a_node_at_a_host_that_no_name_can_be_keeps_nobody_else_from_being_found(
    tmp_path: Path,
) -> None:
    cluster = Cluster(tmp_path / "member", node_count=1, extra={"COLLECTIVE_COPIES": "1"})
    node = cluster.nodes[0]
    try:
        cluster.start()
        cluster.coordinator.wait_writable()
        target = Target.of(cluster, tmp_path / "stolen")
        async with target.channel(await target.enrol()) as rogue:
            hosts = [*NO_HOSTS, "127.0.0.1"]
            said = pb.HeartbeatRequest(
                store_uuid="01" * 16,
                instance_id="99" * 16,
                addresses=[pb.Address(host=host, port=free_port()) for host in hosts],
                total_capacity=1 << 30,
            )
            await rogue.stub(pb.NodeRegistryStub).heartbeat(said, timeout=PATIENCE_S)
        await asyncio.to_thread(move, cluster, node)
        assert "worker_broke" not in cluster.coordinator.log_text()
        assert "Traceback" not in cluster.coordinator.log_text()
    finally:
        cluster.kill_all()


def move(cluster: Cluster, node: Service) -> None:
    """Have a node listen elsewhere, and return once the coordinator has found it there."""
    node.terminate()
    moved = f"127.0.0.1:{free_port()}"
    node.environment["COLLECTIVE_NODE_ADDRESS"] = moved
    node.environment.pop("COLLECTIVE_ADVERTISE_ADDRESS", None)
    node.start()
    cluster.wait_status(
        lambda status: moved in [one["address"] for one in status["local_nodes"]],
        "the honest node where it is now",
    )
