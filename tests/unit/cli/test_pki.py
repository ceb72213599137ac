"""``collective pki``: what it writes, prints and refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from collective.cli import app as root
from collective.core.ids import Domain, MemberId
from collective.core.units import Address
from collective.pki.cert_dir import CertDir
from collective.pki.coordinator_certificate import prepare_coordinator
from collective.pki.credentials import load_credentials
from tests.worlds import REAL

RUN = CliRunner()


def pki(arguments: list[str]) -> Result:
    return RUN.invoke(root.build(), ["pki", *arguments])


@pytest.fixture
def place(tmp_path: Path) -> CertDir:
    where = CertDir(str(tmp_path / "certs"), MemberId("alice"))
    prepare_coordinator(where, Domain("home.alice"), (Address("127.0.0.1", 8001),), REAL)
    return where


def test_issued_user_certificate_can_be_loaded_and_shown(place: CertDir, tmp_path: Path) -> None:
    out = str(tmp_path / "laptop")
    command = ["issue", "--user", "ann@home.alice", "--ca-key", place.ca_key, "--out", out]
    done = pki([*command, "--validity", "7d"])
    assert done.exit_code == 0, done.output
    crt, key = f"{out}/users/ann@home.alice.crt", f"{out}/users/ann@home.alice.key"
    found = load_credentials(crt, key, f"{out}/ca/alice-ca.crt", disk=REAL.disk)
    assert str(found.identity) == "spiffe://home.alice/user/home.alice/ann"
    assert os.stat(key).st_mode & 0o777 == 0o600
    facts = json.loads(pki(["show", crt, "--json"]).output)
    assert facts["global_id"] == "ann@home.alice"
    assert (facts["usages"], facts["state"]) == (["client"], "valid")
    again = pki(command)
    assert again.exit_code == 8
    assert "--force" in again.output
    assert pki([*command, "--force"]).exit_code == 0


def test_bootstrap_certificate_is_issued_into_the_cert_dir(place: CertDir) -> None:
    command = ["issue", "--bootstrap", "b1", "--ca-key", place.ca_key, "--out", place.path]
    assert pki(command).exit_code == 0
    shown = pki(["show", place.bootstrap_certificate("b1")]).output
    assert "spiffe://home.alice/bootstrap/b1" in shown


def test_show_explains_coordinator_and_ca(place: CertDir) -> None:
    coordinator = pki(["show", place.coordinator_certificate]).output
    assert "127.0.0.1:8001" in coordinator
    assert "client, server" in coordinator
    ca = json.loads(pki(["show", place.ca_certificate, "--json"]).output)
    assert (ca["kind"], ca["member"], ca["trust_domain"]) == ("CA", "alice", "home.alice")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--user", "ann@home.alice", "--bootstrap", "b"], 2),
        ([], 2),
        (["--user", "Ann"], 2),
        (["--user", "ann@home.alice", "--validity", "9000d"], 2),
        (["--user", "ann@home.alice", "--validity", "soon"], 2),
        (["--bootstrap", "../x"], 2),
    ],
)
def test_nonsense_is_a_usage_error_in_one_sentence(
    place: CertDir, arguments: list[str], code: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = pki(["issue", "--ca-key", place.ca_key, "--out", str(out), *arguments])
    assert done.exit_code == code
    assert len(done.output.strip().splitlines()) == 1
    assert not out.exists()


def test_absent_or_garbled_files_are_named(place: CertDir, tmp_path: Path) -> None:
    absent = pki(["show", str(tmp_path / "absent.crt")])
    assert absent.exit_code == 3
    assert "does not exist" in absent.output
    Path(place.ca_key).write_text("junk")
    garbled = pki(
        ["issue", "--user", "ann@home.alice", "--ca-key", place.ca_key, "--out", place.path]
    )
    assert garbled.exit_code == 2
    assert "cannot be read" in garbled.output


def test_a_rotation_is_looked_at_or_finished() -> None:
    assert root.run(["pki", "rotate-ca", "--status", "--finish"]) == 2
