"""The operator of a member, found on the machine of its coordinator."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from collective.cli import app, unit_files
from collective.cli.operators import Operator, operator_here
from collective.cli.own_command import as_typed
from collective.core.errors import ExitCode, NotJoinedError, UsageError
from collective.core.ids import Domain, MemberId
from collective.core.units import Address
from collective.pki.cert_dir import CertDir
from collective.pki.coordinator_certificate import prepare_coordinator
from tests.trees.machine import NOBODY
from tests.worlds import REAL

DISK = REAL.disk


def settings(folder: Path, name: str, certs: Path, port: int = 1) -> None:
    (folder / f"{name}.toml").write_text(
        f'role = "coordinator"\nmember_id = "{name}"\ndomain = "home.{name}"\n'
        f'coordinator_address = "0.0.0.0:{port}"\ncert_dir = "{certs}"\n'
    )


def started(folder: Path) -> Path:
    """Return the cert dir of a coordinator that has run, with settings in ``folder``."""
    certs = folder / "certs"
    address = (Address("127.0.0.1", 1),)
    prepare_coordinator(CertDir(str(certs), MemberId("alice")), Domain("home.alice"), address, REAL)
    settings(folder, "alice", certs)
    return certs


def test_whoever_can_read_the_coordinators_key_is_its_operator(tmp_path: Path) -> None:
    certs = started(tmp_path)
    assert operator_here(str(tmp_path), DISK) == Operator(
        Domain("home.alice"),
        f"{certs}/coordinators/alice-coordinator.crt",
        f"{certs}/coordinators/alice-coordinator.key",
        f"{certs}/ca/alice-ca.crt",
        Address("127.0.0.1", 1),
    )


def test_where_no_coordinator_is_there_is_no_operator(tmp_path: Path) -> None:
    assert operator_here(str(tmp_path / "absent"), DISK) is None
    (tmp_path / "node.toml").write_text('role = "node"\n')
    (tmp_path / "garbled.toml").write_text("role = coordinator")
    (tmp_path / "coordinator.toml.old").write_text('role = "coordinator"\n')
    assert operator_here(str(tmp_path), DISK) is None


def test_of_several_members_none_is_chosen(tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        settings(tmp_path, name, tmp_path)
    with pytest.raises(UsageError, match=r"\(home\.alice, home\.bob\); say whose .* by --ca"):
        operator_here(str(tmp_path), DISK)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_others_are_told_who_the_operator_is() -> None:
    with tempfile.TemporaryDirectory() as made:  # pytest's own folder is shut to others
        os.chmod(made, 0o755)
        os.chmod(started(Path(made)), 0o700)
        with (
            NOBODY.acting(),
            pytest.raises(NotJoinedError, match=r"home\.alice is root.* put sudo"),
        ):
            operator_here(made, DISK)


@pytest.mark.skipif(os.geteuid() != 0, reason="speaks to root")
def test_a_coordinator_that_never_ran_has_no_operator_yet(tmp_path: Path) -> None:
    settings(tmp_path, "alice", tmp_path / "certs")
    with pytest.raises(NotJoinedError, match="no certificate yet; start it, or see what is wrong"):
        operator_here(str(tmp_path), DISK)


def test_a_command_without_credentials_is_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name in ("COORDINATOR", "CURRENT", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"COLLECTIVE_{name}", raising=False)
    monkeypatch.setenv("COLLECTIVE_CONFIG_DIR", str(tmp_path / "nothing joined"))
    monkeypatch.setattr(unit_files, "SETTINGS_DIR", str(tmp_path))
    started(tmp_path)
    assert app.run(["status", "-v"]) == ExitCode.NOT_REACHABLE
    told = capsys.readouterr().err
    assert "as the operator of home.alice, by " in told
    assert "127.0.0.1:1" in told
    assert app.run(["status", "--collective", "home.alice"]) == ExitCode.NOT_REACHABLE
    assert "No collective 'home.alice' is joined here" in capsys.readouterr().err


def test_what_comes_next_is_shown_with_sudo_where_this_was_typed_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "me")
    assert as_typed("collective doctor") == "sudo collective doctor"
    monkeypatch.delenv("SUDO_USER")
    assert as_typed("collective doctor") == "collective doctor"
    monkeypatch.setenv("SUDO_USER", "me")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert as_typed("collective doctor") == "collective doctor"
