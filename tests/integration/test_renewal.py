"""Certificates of seconds renew by themselves while a transfer runs, and come back after a rest."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.integration.cluster import Cluster, running_cluster

pytestmark = pytest.mark.timeout(240)

LIFE_S = 12
PIECES = 90
PIECE = 256 * 1024


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A member whose leaves live for seconds, with one user whose certificate lives for long."""
    extra = {"COLLECTIVE_CERTIFICATE_LIFETIME": f"{LIFE_S}s"}
    with running_cluster(tmp_path_factory.mktemp("brief"), extra=extra) as cluster:
        cluster.cli("mkdir", "/shared")
        yield cluster


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def leaf_paths(cluster: Cluster) -> list[Path]:
    nodes = [
        cluster.cert_dir(one.name) / "nodes" / f"{one.name}.crt"
        for one in cluster.nodes
        if one.is_running
    ]
    own = cluster.cert_dir("coordinator") / "coordinators" / f"{cluster.member}-coordinator.crt"
    return [own, *nodes]


def user(cluster: Cluster, name: str) -> list[str]:
    """Issue a certificate offline and give rights; return the options."""
    certs = cluster.cert_dir("coordinator")
    out = cluster.folder / "users"
    who = f"{name}@{cluster.domain}"
    cluster.cli(
        "pki", "issue", "--user", who, "--validity", "1d", "--out", str(out),
        "--ca-key", str(certs / "ca" / f"{cluster.member}-ca.key"),
        credentials=(),
    )  # fmt: skip
    cluster.cli("grant", "add", "/shared:read+write", who)
    return [
        "--coordinator", f"127.0.0.1:{cluster.coordinator_port}",
        "--ca", str(out / "ca" / f"{cluster.member}-ca.crt"),
        "--cert", str(out / "users" / f"{who}.crt"),
        "--key", str(out / "users" / f"{who}.key"),
    ]  # fmt: skip


def test_everything_renews_several_times_while_a_long_write_runs_unbroken(brief: Cluster) -> None:
    options = user(brief, "anna")
    before = {path: certificate(path).serial_number for path in leaf_paths(brief)}
    seen: dict[Path, set[int]] = {path: {serial} for path, serial in before.items()}
    source = random.Random(7)
    digest = hashlib.sha256()
    writer = subprocess.Popen(
        [sys.executable, "-m", "collective", "write", "/shared/long.bin", *options],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=brief.client_environment,
    )
    assert writer.stdin is not None
    for _ in range(PIECES):
        piece = source.randbytes(PIECE)
        digest.update(piece)
        writer.stdin.write(piece)
        writer.stdin.flush()
        for path, serials in seen.items():
            serials.add(certificate(path).serial_number)
        time.sleep(0.33)
    writer.stdin.close()
    assert writer.stderr is not None
    error = writer.stderr.read().decode()
    writer.stderr.close()
    assert writer.wait(60) == 0, error + brief.logs()
    for path, serials in seen.items():
        assert len(serials) >= 3, f"{path} was renewed {len(serials) - 1} times"
    read = brief.cli("read", "/shared/long.bin", credentials=options).out
    assert hashlib.sha256(read).digest() == digest.digest()
    for node in brief.nodes:
        # Nobody was cut off because a certificate of an open connection ran out.
        assert '"reason": "expired"' not in node.log_text(), node.log_tail()
        assert "no heartbeat" not in node.log_text(), node.log_tail()
    assert '"reason": "expired"' not in brief.coordinator.log_text()


def test_the_health_of_all_is_told_without_a_warning_while_renewals_work(brief: Cluster) -> None:
    status = brief.cli("status", "--json").json()
    assert all(node["is_healthy"] for node in status["local_nodes"])
    assert "certificate" not in brief.cli("status").text
    page = brief.coordinator.page("/metrics")[1]
    ends = dict(re.findall(r'expiry_timestamp_seconds\{identity="([^"]+)"[^}]*\} (\S+)', page))
    assert "ca" in ends
    assert any(name.endswith("/coordinator") for name in ends)


def test_a_node_that_was_off_past_its_expiry_comes_back_with_the_same_key(brief: Cluster) -> None:
    node = brief.nodes[0]
    certs = brief.cert_dir(node.name) / "nodes"
    key = (certs / f"{node.name}.key").read_bytes()
    node.kill()
    ended = certificate(certs / f"{node.name}.crt").not_valid_after_utc.timestamp()
    time.sleep(max(0.0, ended - time.time()) + 1.5)
    node.start()
    node.wait_ready()
    brief.wait_healthy(3)
    assert (certs / f"{node.name}.key").read_bytes() == key
    assert certificate(certs / f"{node.name}.crt").not_valid_after_utc.timestamp() > time.time()


def test_where_the_member_does_not_allow_it_one_approval_brings_a_node_back(
    tmp_path: Path,
) -> None:
    extra = {
        "COLLECTIVE_CERTIFICATE_LIFETIME": "6s",
        "COLLECTIVE_EXPIRED_RENEWAL": "0",
        "COLLECTIVE_COPIES": "1",
    }
    with running_cluster(tmp_path / "strict", node_count=1, extra=extra) as cluster:
        node = cluster.nodes[0]
        certs = cluster.cert_dir(node.name) / "nodes"
        node.kill()
        ended = certificate(certs / f"{node.name}.crt").not_valid_after_utc.timestamp()
        time.sleep(max(0.0, ended - time.time()) + 1.5)
        code_file = node.environment.pop("COLLECTIVE_JOIN_CODE_FILE")
        node.start()
        assert node.process is not None
        assert node.process.wait(30) != 0
        assert "join again with a code" in node.log_text()
        key = (certs / f"{node.name}.key").read_bytes()
        made = cluster.cli("invite", "generate", "--for", "node", "--json").json()
        node.environment["COLLECTIVE_JOIN_CODE"] = made["code"]
        node.start()
        node.wait_ready()
        cluster.wait_healthy(1)
        assert (certs / f"{node.name}.key").read_bytes() == key
        assert code_file
