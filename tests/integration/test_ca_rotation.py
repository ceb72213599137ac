"""A member's CA is replaced while everything runs, and the old one counts no longer at the end."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from collective.core.disk import OsDisk
from collective.core.ids import GlobalId, SpiffeId
from collective.pki import certificates, pem_files
from collective.pki.ca import CertificateAuthority
from tests.integration.cluster import Cluster, Result, command, running_cluster
from tests.integration.ports import free_port
from tests.integration.processes import wait_for
from tests.integration.test_revocation import make_user
from tests.worlds import REAL


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Cluster]:
    """A member with two nodes that beat often, so that the closing phase is short."""
    extra = {"COLLECTIVE_COPIES": "2", "COLLECTIVE_HEARTBEAT_INTERVAL": "2"}
    with running_cluster(tmp_path / "rotating", node_count=2, extra=extra) as cluster:
        cluster.cli("mkdir", "/shared")
        yield cluster


def ca_files(cluster: Cluster) -> tuple[Path, Path]:
    folder = cluster.cert_dir("coordinator") / "ca"
    return folder / f"{cluster.member}-ca.crt", folder / f"{cluster.member}-ca.key"


def bundle(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def is_of(leaf: Path, authority: x509.Certificate) -> bool:
    try:
        x509.load_pem_x509_certificate(leaf.read_bytes()).verify_directly_issued_by(authority)
    except (ValueError, InvalidSignature):
        return False
    return True


def leaves(cluster: Cluster) -> list[Path]:
    own = cluster.cert_dir("coordinator") / "coordinators" / f"{cluster.member}-coordinator.crt"
    nodes = [cluster.cert_dir(node.name) / "nodes" / f"{node.name}.crt" for node in cluster.nodes]
    return [own, *nodes]


def add_bootstrap(cluster: Cluster) -> Path:
    """Start a standalone bootstrap beside the coordinator's own; return its certificate."""
    out = cluster.cert_dir("boot")
    cluster.cli(
        "pki", "issue", "--bootstrap", "edge", "--out", str(out),
        "--ca-key", str(ca_files(cluster)[1]),
        credentials=(),
    )  # fmt: skip
    service = cluster._add(
        "boot", ("bootstrap",), {"COLLECTIVE_BOOTSTRAP_ADDRESS": f"127.0.0.1:{free_port()}"}
    )
    service.start()
    service.wait_ready()
    return out / "bootstraps" / "edge.crt"


def test_a_ca_is_replaced_under_load_and_the_old_one_counts_no_longer(  # noqa: PLR0915 - one story
    member: Cluster, tmp_path: Path
) -> None:
    ca, key = ca_files(member)
    old_key, (old,) = key.read_bytes(), bundle(ca)
    operator_before = tmp_path / "operator"
    shutil.copytree(member.cert_dir("coordinator"), operator_before)
    anna = make_user(member, "anna")
    invite = member.cli("invite", "generate", "--grant", "/shared:read", "--json").json()
    boot = add_bootstrap(member)
    member.write("/shared/before", b"before")
    assert member.cli("pki", "rotate-ca", "--finish", "--yes", check=False).code == 8

    # begin, while a write runs
    data = random.Random(5).randbytes(5 * 1024 * 1024)
    writer = subprocess.Popen(
        [sys.executable, "-m", "collective", "write", "/shared/during", *anna.options],
        stdin=subprocess.PIPE,
        env=member.client_environment,
    )
    assert writer.stdin is not None
    writer.stdin.write(data[: 4 * 1024 * 1024 + 1])
    writer.stdin.flush()
    told = member.cli("pki", "rotate-ca", "--yes", "--json").json()
    assert told["phase"] == "overlap"
    node_cas = [
        member.cert_dir(node.name) / "ca" / f"{member.member}-ca.crt" for node in member.nodes
    ]
    wanted = [*node_cas, member.cert_dir("boot") / "ca" / f"{member.member}-ca.crt"]
    wait_for(lambda: all(len(bundle(one)) == 2 for one in (ca, *wanted)), "both CAs everywhere")
    writer.stdin.write(data[4 * 1024 * 1024 + 1 :])
    writer.stdin.close()
    assert writer.wait(180) == 0
    new = next(one for one in bundle(ca) if one != old)
    # in the overlap servers show the old CA still, so that whoever knows it alone is served
    assert all(is_of(leaf, old) for leaf in leaves(member))
    assert member.cli("ls", "/shared", credentials=anna.options).code == 0
    # anna was here with a certificate of the old CA: she would be shut out
    refused = member.cli("pki", "rotate-ca", "--finish", "--yes", check=False)
    assert refused.code == 8
    assert "anna@home.alice" in refused.err
    # a restart forgets none of it
    member.coordinator.restart()
    member.wait_healthy(2)
    assert "The CA is being replaced" in member.cli("status").text

    # finish
    wait_for(lambda: nodes_have_followed(member), "nodes with the new CA")
    member.cli("pki", "rotate-ca", "--finish", "--force", "--yes")
    wait_until_over(member)
    assert bundle(ca) == [new]
    assert [leaf for leaf in (*leaves(member), boot) if not is_of(leaf, new)] == []
    assert key.read_bytes() != old_key
    member.wait_healthy(2)
    assert member.read("/shared/during") == data
    # they hear of it with their next heartbeat
    wait_for(lambda: all(bundle(one) == [new] for one in wanted), "the new CA alone everywhere")

    # old certificates, an operator's old one, and whatever the stolen old key signs now: refused
    assert member.cli("ls", "/shared", credentials=anna.options, check=False).code != 0
    stolen = CertificateAuthority.load(old.public_bytes(Encoding.PEM), old_key, REAL)
    forged_key = certificates.new_private_key(REAL.randomness)
    forged = stolen.issue(
        SpiffeId.user(stolen.domain, GlobalId.parse(anna.who)), forged_key.public_key()
    )
    forged_paths = write_pair(tmp_path, forged, forged_key)
    both = tmp_path / "both.crt"
    both.write_bytes(ca.read_bytes() + old.public_bytes(Encoding.PEM))
    address = anna.options[:2]
    for cert, secret in (
        forged_paths,
        (anna.options[5], anna.options[7]),
        (
            str(operator_before / "coordinators" / f"{member.member}-coordinator.crt"),
            str(operator_before / "coordinators" / f"{member.member}-coordinator.key"),
        ),
    ):
        credentials = [*address, "--ca", str(both), "--cert", cert, "--key", secret]
        said = member.cli("ls", "/shared", credentials=credentials, check=False)
        assert said.code != 0, cert

    # an open code pinned the old CA: void, told in plain words; new ones work
    stranger = {**member.client_environment, "HOME": str(tmp_path / "stranger")}
    void = redeem(invite["code"], stranger)
    assert void.code != 0
    assert "Traceback" not in void.err
    fresh = member.cli("invite", "generate", "--grant", "/shared:read", "--json").json()
    joined = redeem(fresh["code"], stranger)
    assert joined.code == 0, joined.err
    late = member.add_node("alice-node-09")
    late.start()
    late.wait_ready()
    member.wait_healthy(3)


def write_pair(
    folder: Path, leaf: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> tuple[str, str]:
    cert, secret = str(folder / "forged.crt"), str(folder / "forged.key")
    pem_files.write_certificate(cert, leaf, disk=OsDisk())
    pem_files.write_key(secret, key, disk=OsDisk())
    return cert, secret


def redeem(code: str, environment: dict[str, str]) -> Result:
    return command("invite", "redeem", code, environment=environment)


def join(cluster: Cluster, name: str, home: Path, grant: str = "/shared:read") -> dict[str, str]:
    """Let somebody in by an invite; return the environment of his commands."""
    made = cluster.cli("invite", "generate", "--grant", grant, "--json").json()
    environment = {**cluster.client_environment, "HOME": str(home / name)}
    home.joinpath(name).mkdir(parents=True)
    joined = redeem(made["code"], environment)
    assert joined.code == 0, joined.err
    return environment


def list_shared(environment: dict[str, str]) -> Result:
    return command("ls", "/shared", environment=environment)


def days_pass(home: Path) -> None:
    """Make a client believe that it was not told anything for long, so that it asks when used."""
    (facts,) = home.rglob("collective.json")
    known = json.loads(facts.read_text())
    known["told_ms"] = 1
    facts.write_text(json.dumps(known))


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Cluster]:
    """A member whose nodes beat often, so that the closing phase is short."""
    extra = {"COLLECTIVE_COPIES": "2", "COLLECTIVE_HEARTBEAT_INTERVAL": "0.5"}
    with running_cluster(tmp_path / "quick", node_count=2, extra=extra) as cluster:
        cluster.cli("mkdir", "/shared")
        yield cluster


def test_finish_is_refused_by_name_until_all_have_followed_and_then_shuts_nobody_out(
    quick: Cluster, tmp_path: Path
) -> None:
    anna = join(quick, "anna", tmp_path)
    old = bundle(ca_files(quick)[0])[0]
    assert quick.cli("pki", "rotate-ca", "--yes", "--json").json()["phase"] == "overlap"
    refused = quick.cli("pki", "rotate-ca", "--finish", "--yes", check=False)
    assert refused.code == 8
    assert "@home.alice" in refused.err
    assert bundle(ca_files(quick)[0])[0] == old, "nothing was switched"

    days_pass(tmp_path / "anna")
    assert list_shared(anna).code == 0
    assert quick.cli("pki", "rotate-ca", "--yes", "--json", check=False).code == 8, (
        "it is under way"
    )
    wait_until_all_follow(quick)
    quick.cli("pki", "rotate-ca", "--finish", "--yes")
    wait_until_over(quick)
    assert quick.cli("pki", "rotate-ca", "--status", "--json").json()["phase"] == "none"
    assert "No CA is being replaced" in quick.cli("pki", "rotate-ca", "--status").text
    steps = [one["action"] for one in quick.cli("audit", "--json").json()]
    assert [one for one in steps if one.startswith("rotate-ca")] == [
        "rotate-ca-begin", "rotate-ca-finish", "rotate-ca-end",
    ]  # fmt: skip
    quick.wait_healthy(2)
    said = list_shared(anna)
    assert said.code == 0, said.err
    days_pass(tmp_path / "anna")
    assert list_shared(anna).code == 0
    (kept,) = [one for one in (tmp_path / "anna").rglob("*.crt") if len(bundle(one)) and is_ca(one)]
    assert bundle(kept) == bundle(ca_files(quick)[0]), "she has dropped the old CA"


def rotation(cluster: Cluster) -> Any:
    return cluster.cli("pki", "rotate-ca", "--status", "--json").json()


def nodes_have_followed(cluster: Cluster) -> bool:
    return not any("/node/" in who for who in rotation(cluster)["waiting"])


def wait_until_all_follow(cluster: Cluster) -> None:
    wait_for(lambda: not rotation(cluster)["waiting"], "everybody with the new CA")


def wait_until_over(cluster: Cluster) -> None:
    wait_for(lambda: rotation(cluster)["phase"] == "none", "the end of the old CA")


def is_ca(path: Path) -> bool:
    (constraints,) = [
        one.extensions.get_extension_for_class(x509.BasicConstraints).value
        for one in bundle(path)[:1]
    ]
    return constraints.ca


def test_a_coordinator_killed_in_any_phase_ends_in_one_that_is_consistent(quick: Cluster) -> None:
    for delay_s in (0.0, 0.15, 0.6):
        replace_with_kills(quick, delay_s)


def replace_with_kills(quick: Cluster, delay_s: float) -> None:
    """Replace the CA; kill the coordinator so long after each of the two steps has begun."""
    ca, _ = ca_files(quick)
    (old,) = bundle(ca)

    def killed_in(*arguments: str) -> None:
        command = [sys.executable, "-m", "collective", "pki", "rotate-ca", "--yes", *arguments]
        asked = subprocess.Popen(
            [*command, *quick.operator],
            env=quick.client_environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        before = ca.read_bytes()
        wait_for(lambda: ca.read_bytes() != before, "another CA on the disk", every_s=0.002)
        time.sleep(delay_s)  # somewhere in the step; which part of it is done is as it comes
        quick.coordinator.kill()
        asked.kill()
        asked.wait()
        quick.coordinator.start()
        quick.coordinator.wait_ready()
        quick.wait_healthy(2)

    killed_in()
    assert "The CA is being replaced" in quick.cli("status").text
    assert all(is_of(leaf, old) for leaf in leaves(quick))
    # Without force: a node whose renewal was cut off by the kill is waited for, however long.
    wait_until_all_follow(quick)
    killed_in("--finish")
    new = bundle(ca)[0]
    assert new != old
    assert is_of(leaves(quick)[0], new)
    wait_until_over(quick)
    quick.coordinator.restart()
    quick.wait_healthy(2)
    assert bundle(ca) == [new]
    assert all(is_of(leaf, new) for leaf in leaves(quick))
    quick.write(f"/shared/after-{delay_s}", b"after")
    assert quick.read(f"/shared/after-{delay_s}") == b"after"


def test_a_stream_that_pauses_while_the_ca_is_replaced_ends_well(
    quick: Cluster, tmp_path: Path
) -> None:
    """Its receipts and tickets are of keys that end meanwhile; who writes notices nothing."""
    anna = join(quick, "anna", tmp_path, "/shared:read+write")
    quick.cli("pki", "rotate-ca", "--yes")
    days_pass(tmp_path / "anna")
    assert list_shared(anna).code == 0
    data = random.Random(7).randbytes(11 * 1024 * 1024)
    writer = subprocess.Popen(
        [sys.executable, "-m", "collective", "write", "/shared/stream"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=anna,
    )
    assert writer.stdin is not None
    writer.stdin.write(data[: 9 * 1024 * 1024])
    writer.stdin.flush()
    # Two chunks are stored; their receipts are reported while nothing comes.
    quick.wait_status(lambda status: status["chunks"]["total"] >= 2, "two chunks reported")
    wait_until_all_follow(quick)
    quick.cli("pki", "rotate-ca", "--finish", "--yes")
    wait_until_over(quick)
    _, said = writer.communicate(data[9 * 1024 * 1024 :], timeout=120)
    assert writer.returncode == 0, said
    assert quick.read("/shared/stream") == data
