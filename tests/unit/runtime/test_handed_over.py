"""Certificates from the service manager: into the cert dir where absent, and nowhere else."""

from __future__ import annotations

import stat
from pathlib import Path

from collective.roles.runtime.handed_over import take_certificates
from tests.worlds import REAL


def take(source: Path, certs: Path) -> list[str]:
    environment = {"CREDENTIALS_DIRECTORY": str(source)}
    return take_certificates(environment, str(certs), REAL.disk)


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
    assert take_certificates({}, str(tmp_path), REAL.disk) == []
