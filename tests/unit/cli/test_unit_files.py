"""Units of systemd as they are printed and installed: what systemd itself says of them, and what settings add."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collective.cli import systemd
from collective.cli.app import run
from collective.cli.unit_files import GIVE_FOLDER, UnitPlan, plan_of, unit_text
from collective.core.errors import ExitCode, UsageError
from collective.core.settings import SERVE_ROLES, ServeSettings
from collective.core.units import Address

EXPOSURE_MOST = "30"
"""In tenths, as ``systemd-analyze security --threshold`` takes it."""


@pytest.mark.parametrize("role", SERVE_ROLES)
def test_systemd_takes_each_unit_and_finds_it_hardened(
    role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    assert run(["systemd", "install", "--role", role, "--print"]) == 0
    unit = tmp_path / f"collective-{role}.service"
    unit.write_text(capsys.readouterr().out)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = [
        line for line in verified.stderr.splitlines() if unit.name in line or "collective" in line
    ]
    assert not said, "an unknown key is a warning and ends with 0"
    assert verified.returncode == 0, verified.stderr
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE_MOST}", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout[-2000:]


def plan(settings: ServeSettings, name: str = "it") -> UnitPlan:
    command = ("/usr/local/bin/collective",)
    return plan_of(settings, name=name, command=command, settings_file="/etc/collective/it.toml")


NODE = ServeSettings(roles=frozenset({"node"}), node_address=Address("0.0.0.0", 8101))


def test_a_node_is_handed_its_code_and_a_coordinator_that_is_a_node_joins_itself() -> None:
    text = unit_text(plan(NODE))
    assert "LoadCredential=node.code:/etc/collective/it.code" in text
    assert "Environment=COLLECTIVE_JOIN_CODE_FILE=%d/node.code" in text
    elsewhere = unit_text(plan(replace(NODE, join_code_file="/root/my.code")))
    assert "LoadCredential=node.code:/root/my.code" in elsewhere
    for settings in (
        replace(NODE, join_code="abc"),
        replace(NODE, roles=frozenset({"node", "coordinator"})),
    ):
        assert "node.code" not in unit_text(plan(settings))


def test_a_disk_elsewhere_is_waited_for_and_made_writable() -> None:
    settings = replace(
        NODE, data_dir="/mnt/big disk/100%$", cert_dir="/var/lib/collective/it/certs"
    )
    text = unit_text(plan(settings))
    assert 'RequiresMountsFor="/mnt/big disk/100%%$"' in text
    assert 'ReadWritePaths=-"/mnt/big disk/100%%$"' in text
    assert '"/mnt/big disk/100%%$$" %S/collective/it\n' in text, (
        "in a command line a $ stands for itself only when doubled"
    )
    assert 'ExecStartPre=+/bin/sh -c "[ -d \\"$$0\\" ]' in text
    assert text.count("ReadWritePaths=") == 1, "what lies in the state folder needs none"
    assert "ReadWritePaths" not in unit_text(plan(NODE))


@pytest.mark.parametrize(
    "folder", ["/", "//", "/usr/..", "/etc/", "/var/lib", "/srv", "/home", "/dev/shm", "/boot/x"]
)
def test_a_folder_of_the_system_is_given_to_no_unit(folder: str) -> None:
    for settings in (
        replace(NODE, data_dir=folder),
        replace(NODE, cert_dir=folder),
    ):
        with pytest.raises(UsageError, match="system's own"):
            plan(settings)
    assert run(["init", "--role", "node", "--data-dir", folder, "--yes", "--no-start"]) == 2


@pytest.mark.parametrize("folder", ["/srv/collective", "/mnt/disk1", "/var/lib/other", "/devices"])
def test_a_folder_of_its_own_is(folder: str) -> None:
    assert plan(replace(NODE, data_dir=folder)).folders == (folder,)


def give(folder: Path, reference: Path) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", "-c", GIVE_FOLDER, str(folder), str(reference)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_unit_is_given_only_what_is_new_or_empty_or_its_own(tmp_path: Path) -> None:
    state, theirs, disk = tmp_path / "state", tmp_path / "theirs", tmp_path / "disk $1 'a"
    for made in (state, theirs, disk):
        made.mkdir()
    os.chown(state, 61_234, 61_234)
    state = (
        tmp_path / "link"
    )  # a unit's state folder is a link to the private one, and the link is root's
    state.symlink_to("state")
    (disk / "lost+found").mkdir()
    (theirs / "letter").write_text("dear")
    new = tmp_path / "new" / "one"
    for folder in (new, disk, new):
        done = give(folder, state)
        assert (done.returncode, done.stderr) == (0, "")
        assert folder.stat().st_uid == 61_234
    (new / "chunks").write_text("kept")
    assert give(new, state).returncode == 0, "at the next start"
    refused = give(theirs, state)
    assert refused.returncode == 1
    assert f"{theirs} holds files of somebody else" in refused.stderr
    assert theirs.stat().st_uid == 0


@pytest.mark.parametrize("setting", ["data_dir", "cert_dir", "join_code_file"])
@pytest.mark.parametrize("text", ["/srv/a\nExecStartPre=+/bin/true", "/srv/a\rb", "/srv/\x1b[2J"])
def test_no_setting_begins_a_line_of_its_own_in_a_unit(setting: str, text: str) -> None:
    told: dict[str, Any] = {setting: text}
    with pytest.raises(UsageError, match="cannot stand in a unit"):
        unit_text(plan(replace(NODE, **told)))


def test_only_a_port_below_1024_needs_a_capability() -> None:
    assert "CapabilityBoundingSet=\n" in unit_text(plan(NODE))
    low = unit_text(plan(replace(NODE, node_address=Address("::", 443))))
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in low
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE" in low
    assert "PrivateUsers" not in low, "it would have the capability in a namespace of its own"


def test_a_stop_outlasts_the_drain() -> None:
    assert "TimeoutStopSec=320s" in unit_text(plan(replace(NODE, drain_timeout_s=300.0)))


def in_sight(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    """Have units see the folders of tests, but for those ``hidden``, and their user read them."""
    monkeypatch.setattr(systemd, "_HIDDEN", hidden)
    monkeypatch.setattr(systemd, "_shut_on_the_way", lambda _: None)


def install(folder: Path, *more: str, settings: str = "") -> int:
    file = folder / "disk2.toml"
    file.write_text(f'role = "node"\nnode_address = "0.0.0.0:8102"\n{settings}')
    arguments = ["systemd", "install", "--config", str(file), "--unit-dir", str(folder)]
    return run([*arguments, *more])


def test_a_unit_is_installed_and_updated_and_a_foreign_one_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_sight(monkeypatch)
    assert install(tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    unit = tmp_path / "collective-disk2.service"
    assert told["path"] == str(unit)
    assert told["text"] == unit.read_text()
    assert told["next"][1] == "systemctl enable --now collective-disk2.service"
    assert install(tmp_path) == 0, "again to update it"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert install(tmp_path) == ExitCode.FAILURE
    assert "was not made by this command" in capsys.readouterr().err
    assert unit.read_text().startswith("[Service]")


def test_a_program_that_the_unit_does_not_see_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_sight(monkeypatch, f"{sys.prefix}/")
    assert install(tmp_path) == ExitCode.FAILURE
    assert "lies where the unit's process sees nothing; install with" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.service"))


def test_settings_and_folders_that_the_unit_does_not_see_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_sight(monkeypatch, f"{tmp_path}/")
    assert install(tmp_path) == ExitCode.FAILURE
    assert f"{tmp_path}/disk2.toml lies where the unit's process" in capsys.readouterr().err
    in_sight(monkeypatch, "/home/")
    for setting in ("data_dir", "cert_dir"):
        line = f'{setting} = "/home/alice/it"\n'
        assert install(tmp_path, settings=line) == ExitCode.FAILURE
        assert "The folder /home/alice/it lies where" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.service"))
    assert install(tmp_path, settings='data_dir = "/mnt/disk2/it"\n') == 0
    assert "Also         /mnt/disk2/it, given to that user" in capsys.readouterr().out


def test_what_units_hide_is_what_they_hide() -> None:
    hidden = ("/home/a/x.toml", "/root/x", "/tmp/x", "/var/tmp/x", "/run/user/1/x")
    assert all(map(systemd._is_hidden, hidden))
    seen = ("/etc/collective/x.toml", "/srv/home/x", "/var/tmpx", "/rooted/x")
    assert not any(map(systemd._is_hidden, seen))


def test_settings_that_the_units_user_cannot_read_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_HIDDEN", ())
    assert install(tmp_path) == ExitCode.FAILURE
    assert "is not open to the unit's user" in capsys.readouterr().err
    assert systemd._shut_on_the_way("/etc/passwd") is None
    if os.path.exists("/etc/shadow"):
        assert systemd._shut_on_the_way("/etc/shadow") == "/etc/shadow"


def test_a_role_that_is_not_the_files_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit's process reads the file alone: a unit made for another role would be none of it."""
    in_sight(monkeypatch)
    assert install(tmp_path, "--role", "coordinator") == ExitCode.USAGE
    assert "is of another role, node; leave --role out" in capsys.readouterr().err
    assert install(tmp_path, "--role", "node", "--role", "coordinator") == ExitCode.USAGE
    assert not list(tmp_path.glob("*.service"))
    assert install(tmp_path, "--role", "node", "--name", "disk2") == 0
    silent = tmp_path / "silent.toml"
    silent.write_text('node_address = "0.0.0.0:8102"\n')
    asked = ["systemd", "install", "--config", str(silent), "--unit-dir", str(tmp_path)]
    assert run([*asked, "--role", "node"]) == ExitCode.USAGE
    assert 'add the line: role = "node"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--role", "king"], 2, "There is no role 'king'"),
        ([], 2, "Say which process"),
        (["--role", "node", "--name", "A/b"], 2, "must be 1 to 20"),
        (["--role", "node", "--config", "/nowhere/x.toml"], 3, "does not exist; make it first"),
        (["--config", "/nowhere/x.toml", "--print"], 2, "give --role"),
    ],
)
def test_bad_input_gets_a_sentence(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["systemd", "install", *arguments]) == code
    assert said in capsys.readouterr().err
