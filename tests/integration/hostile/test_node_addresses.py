"""Finding 9, on real processes: a node that says another's address as its own."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.integration.cluster import Cluster
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
