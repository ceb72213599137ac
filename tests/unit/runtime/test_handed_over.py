"""Certificates from the service manager: into the cert dir where absent, and nowhere else."""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from collective.core.clock import ManualClock
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import new_private_key
from collective.roles.runtime.handed_over import take_certificates
from tests.worlds import REAL, world_of


def take(source: Path, certs: Path) -> list[str]:
    environment = {"CREDENTIALS_DIRECTORY": str(source)}
    return take_certificates(environment, str(certs), REAL.disk, REAL.clock.wall_s())


def test_what_is_absent_is_taken_and_what_is_there_stays(tmp_path: Path) -> None:
    source, certs = tmp_path / "credentials", tmp_path / "certs"
    source.mkdir()
    (certs / "bootstraps").mkdir(parents=True)
    (certs / "bootstraps" / "gate.crt").write_text("renewed since")
    (source / "certs_ca_alice-ca.crt").write_text("ca")
    (source / "certs_bootstraps_gate.key").write_text("key")
    (source / "certs_bootstraps_gate.crt").write_text("old")
    new = [certs / "bootstraps/gate.key", certs / "ca/alice-ca.crt"]
    assert take(source, certs) == [str(one) for one in new]
    assert [one.read_text() for one in new] == ["key", "ca"]
    assert all(stat.S_IMODE(one.stat().st_mode) == 0o600 for one in new)
    assert (certs / "bootstraps" / "gate.crt").read_text() == "renewed since"
    assert take(source, certs) == []


def test_other_credentials_are_none_of_ours(tmp_path: Path) -> None:
    for name in ("certs", "node.code", "certs_..", "certs_join_node.code", "certs_ca_.hidden", "x"):
        (tmp_path / name).write_text("none")
    assert take(tmp_path, tmp_path / "certs2") == []
    assert not (tmp_path / "certs2").exists()


def test_without_a_service_manager_nothing_is_done(tmp_path: Path) -> None:
    assert take_certificates({}, str(tmp_path), REAL.disk, 0.0) == []


def pair(lifetime_s: float, now_s: float | None = None) -> tuple[bytes, bytes]:
    """Return a certificate and its key."""
    clock = REAL.clock if now_s is None else ManualClock(now_s)
    authority = CertificateAuthority.create(
        MemberId("alice"), Domain("home.alice"), world_of(clock)
    )
    key = new_private_key(REAL.randomness)
    node = SpiffeId.node(authority.domain, NodeId("n1"))
    certificate = authority.issue(node, key.public_key(), lifetime_s=lifetime_s)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), pem


def put(folder: Path, prefix: str, content: tuple[bytes, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for ending, text in zip(("crt", "key"), content, strict=True):
        (folder / f"{prefix}n1.{ending}").write_bytes(text)


def test_what_has_run_out_is_replaced_with_its_key(tmp_path: Path) -> None:
    source, certs = tmp_path / "credentials", tmp_path / "certs"
    past_s = REAL.clock.wall_s() - 7200
    new, old = pair(3600), pair(3600, past_s)
    put(certs / "nodes", "", old)
    for useless in (pair(3600, past_s), (new[0], old[1]), (b"none", b"none")):
        put(source, "certs_nodes_", useless)
        assert take(source, certs) == []
        assert (certs / "nodes/n1.crt").read_bytes() == old[0]
    put(source, "certs_nodes_", new)
    assert take(source, certs) == [str(certs / "nodes/n1.key"), str(certs / "nodes/n1.crt")]
    assert (certs / "nodes/n1.crt").read_bytes() == new[0]
    assert (certs / "nodes/n1.key").read_bytes() == new[1]
    assert take(source, certs) == []


def test_what_is_passed_over_is_logged(tmp_path: Path) -> None:
    source, certs = tmp_path / "credentials", tmp_path / "certs"
    put(certs / "nodes", "", pair(3600))
    put(source, "certs_nodes_", pair(3600))
    with capture_logs() as logged:
        assert take(source, certs) == []
    passed_over = [one["path"] for one in logged if "not taken" in one["event"]]
    assert passed_over == [str(certs / "nodes/n1.crt"), str(certs / "nodes/n1.key")]
