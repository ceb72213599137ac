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

from tests.integration.cluster import PATIENCE_S, Cluster, running_cluster

LIFE_S = 12
TIMES = 3
"""Certificates that each process has while it is watched: two renewals."""
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
    least = len(seen) * TIMES
    while sum(min(len(serials), TIMES) for serials in seen.values()) < least:
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
    assert writer.wait(180) == 0, error + brief.logs()
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


@pytest.fixture(scope="module")
def overslept(brief: Cluster) -> Cluster:
    """The member after two nodes were off until their certificates had run out."""
    off = brief.nodes[:2]
    for node in off:
        node.kill()
    ended = max(
        certificate(
            brief.cert_dir(one.name) / "nodes" / f"{one.name}.crt"
        ).not_valid_after_utc.timestamp()
        for one in off
    )
    time.sleep(max(0.0, ended - time.time()) + 1.5)
    return brief


def test_a_node_that_was_off_past_its_expiry_comes_back_with_the_same_key(
    overslept: Cluster,
) -> None:
    node = overslept.nodes[0]
    certs = overslept.cert_dir(node.name) / "nodes"
    key = (certs / f"{node.name}.key").read_bytes()
    node.start()
    node.wait_ready()
    overslept.wait_healthy(2)
    assert (certs / f"{node.name}.key").read_bytes() == key
    assert certificate(certs / f"{node.name}.crt").not_valid_after_utc.timestamp() > time.time()


def test_where_the_member_does_not_allow_it_one_approval_brings_a_node_back(
    overslept: Cluster,
) -> None:
    coordinator, node = overslept.coordinator, overslept.nodes[1]
    certs = overslept.cert_dir(node.name) / "nodes"
    key = (certs / f"{node.name}.key").read_bytes()
    coordinator.environment["COLLECTIVE_EXPIRED_RENEWAL"] = "0"
    coordinator.restart()
    try:
        code_file = node.environment.pop("COLLECTIVE_JOIN_CODE_FILE")
        assert code_file
        node.start()
        assert node.process is not None
        assert node.process.wait(PATIENCE_S) != 0
        assert "join again with a code" in node.log_text()
        made = overslept.cli("invite", "generate", "--for", "node", "--json").json()
        node.environment["COLLECTIVE_JOIN_CODE"] = made["code"]
        node.start()
        node.wait_ready()
        assert (certs / f"{node.name}.key").read_bytes() == key
    finally:
        del coordinator.environment["COLLECTIVE_EXPIRED_RENEWAL"]
        coordinator.restart()
