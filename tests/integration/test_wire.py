"""What is on the wire: TLS 1.3 and nothing else, and for whoever listens not one secret."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collective.pki import invite_code
from tests.integration.cluster import PATIENCE_S, Cluster
from tests.integration.ports import free_port

CONTENT = b"what a passive listener must not read\n" * 500
GLOBAL_ID = "listened-to@homelab.collective.local"


@dataclass
class Tap:
    """A TCP proxy that keeps every byte of both directions."""

    to_port: int
    port: int = field(default_factory=free_port)
    heard: bytearray = field(default_factory=bytearray)
    connections: int = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[Tap]:
        with socket.create_server(("127.0.0.1", self.port)) as server:
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()
            try:
                yield self
            finally:
                server.shutdown(socket.SHUT_RDWR)

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.create_connection(("127.0.0.1", self.to_port))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(other):
            while piece := one.recv(65536):
                self.heard += piece
                other.sendall(piece)


@dataclass
class Tapped:
    """A member whose listeners are advertised at taps."""

    cluster: Cluster
    bootstrap: Tap
    coordinator: Tap
    node: Tap


@pytest.fixture(scope="module")
def tapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tapped]:
    folder = tmp_path_factory.mktemp("wire")
    cluster = Cluster(folder / "member", node_count=1, extra={"COLLECTIVE_COPIES": "1"})
    (own,) = cluster.nodes
    bootstrap, coordinator = Tap(cluster.bootstrap_port), Tap(cluster.coordinator_port)
    node = Tap(cluster.node_ports[own.name])
    own.environment["COLLECTIVE_ADVERTISE_ADDRESS"] = f"127.0.0.1:{node.port}"
    cluster.coordinator.environment |= {
        "COLLECTIVE_ADVERTISE_ADDRESS": f"127.0.0.1:{coordinator.port}",
        "COLLECTIVE_BOOTSTRAP_ADVERTISE_ADDRESS": f"127.0.0.1:{bootstrap.port}",
    }
    with bootstrap.listening(), coordinator.listening(), node.listening():
        try:
            cluster.start()
            yield Tapped(cluster, bootstrap, coordinator, node)
        finally:
            cluster.kill_all()


def test_a_passive_listener_learns_no_secret(tapped: Tapped, tmp_path: Path) -> None:
    """All that a join, a write and a read put on the wire: no code, key, name, path or content."""
    cluster, bootstrap, coordinator = tapped.cluster, tapped.bootstrap, tapped.coordinator
    config = tmp_path / "config"

    def run(*arguments: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "collective", *arguments],
            input=stdin, capture_output=True, timeout=PATIENCE_S, check=False,
            env=cluster.client_environment | {"COLLECTIVE_CONFIG_DIR": str(config)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("identity", "init", "--global-id", GLOBAL_ID)
    made = cluster.cli("invite", "generate", "--grant", "/tapped:read+write", "--json").json()
    code = invite_code.parse(made["code"])
    run("invite", "redeem", made["code"])
    run("mkdir", "/tapped")
    run("write", "/tapped/secret-name.txt", stdin=CONTENT)
    assert run("read", "/tapped/secret-name.txt") == CONTENT

    assert bootstrap.connections >= 1
    assert coordinator.connections >= 3
    assert len(tapped.node.heard) > 2 * len(CONTENT)
    heard = bytes(bootstrap.heard + coordinator.heard + tapped.node.heard)
    for secret in (
        code.secret,
        code.code_id.encode(),
        made["code"].encode(),
        GLOBAL_ID.encode(),
        b"listened-to",
        b"secret-name.txt",
        b"/tapped",
        b"spiffe://",
        b"PRIVATE KEY",
        CONTENT[:38],
    ):
        assert secret not in heard, secret


def versions(port: int, version: ssl.TLSVersion, credentials: list[str]) -> str | None:
    """Return the version that a handshake with only ``version`` ends with, None if refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = version
    context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(credentials[5], credentials[7])
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=120) as plain,
            context.wrap_socket(plain) as secured,
        ):
            return secured.version()
    except OSError:
        return None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_every_listener_speaks_tls_1_3_only(tapped: Tapped) -> None:
    cluster = tapped.cluster
    ports = [cluster.coordinator_port, cluster.bootstrap_port, *cluster.node_ports.values()]
    for port in ports:
        assert versions(port, ssl.TLSVersion.TLSv1_3, cluster.operator) == "TLSv1.3"
        for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2):
            assert versions(port, old, cluster.operator) is None, (port, old)
        with socket.create_connection(("127.0.0.1", port), timeout=120) as plain:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")  # h2 without TLS
            plain.settimeout(10)
            answer = b""
            with contextlib.suppress(OSError):
                answer = plain.recv(4096)
            assert b"HTTP" not in answer
            assert not answer.startswith(b"\0\0")


def test_a_key_in_a_file_is_for_its_owner_alone(tapped: Tapped) -> None:
    cluster = tapped.cluster
    keys = list(cluster.folder.rglob("*.key")) + list(cluster.folder.rglob("node.code"))
    assert len(keys) >= 3
    for key in keys:
        assert os.stat(key).st_mode & 0o077 == 0, key
