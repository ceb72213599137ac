"""The one error edge, the options and what is printed; no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collective.cli import app
from collective.cli.grants import parse_grant
from collective.cli.status import status_json
from collective.cli.terminal import output
from collective.core.errors import ConflictError, ExitCode, RejectedError, UsageError
from collective.core.paths import FilePath
from collective.core.terminal import safe
from collective.model.rights import Right
from tests.values import a_node, a_status


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("COORDINATOR", "CURRENT", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"COLLECTIVE_{name}", raising=False)
    monkeypatch.setenv("COLLECTIVE_CONFIG_DIR", str(tmp_path / "nothing joined"))


def test_without_credentials_the_answer_says_what_to_do(capsys: Any) -> None:
    assert app.run(["ls", "/"]) == ExitCode.NOT_REACHABLE
    error = capsys.readouterr().err
    assert "--ca" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "--nope"],
        ["mv", "/a"],
        ["read", "x"],
        ["ls", "/", "--ca", "x"],
        ["ls", "/", "--coordinator", ","],
        [],
    ],
)
def test_wrong_usage_is_exit_two(arguments: list[str], capsys: Any) -> None:
    assert app.run(arguments) == ExitCode.USAGE
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConflictError("It exists; choose another name."), ExitCode.CONFLICT),
        (RuntimeError("boom"), ExitCode.FAILURE),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(app, "_dispatch", fail)
    monkeypatch.setattr(app.os, "_exit", lambda status: status)  # type: ignore[attr-defined]
    assert app.run(["ls"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_every_command_has_help(capsys: Any) -> None:
    for name in (*app.COMMANDS, *app.GROUPS):
        assert app.run([name, "--help"]) == ExitCode.DONE
        assert name in capsys.readouterr().out


def test_status_json_has_every_field_when_all_is_zero() -> None:
    facts = status_json(a_status(nodes=[a_node()]))
    assert list(facts) == [
        "member_id", "domain", "coordinator", "local_nodes", "peers", "remote_nodes",
        "files", "chunks", "storage", "you", "warnings", "node_code", "workers",
    ]  # fmt: skip
    assert facts["local_nodes"] == [
        {
            "id": "nas", "address": "", "total_capacity": 0, "used_capacity": 0, "chunk_count": 0,
            "is_healthy": False, "state": "up", "last_seen": None, "standing": "approved",
            "standing_reason": "", "is_new": False, "quarantined_bytes": 0, "disk": "",
        }
    ]  # fmt: skip
    nothing: dict[str, Any] = {
        "total": None,
        "under_replicated": None,
        "unavailable": None,
        "datastores": [],
    }
    assert facts["chunks"] == nothing
    you: dict[str, Any] = {"global_id": "spiffe://home.alice/coordinator", "grants": []}
    assert facts["you"] == you
    json.dumps(facts)


def test_a_hostile_name_cannot_drive_the_terminal(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.line("a\x1b[2Jb\u202ec")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\u202ec\n"
    assert safe("größe ✓") == "größe ✓"


def test_what_a_server_says_cannot_drive_the_terminal_with_verbose_either(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "\x1b]0;owned\x07\u202e"

    def fail(*_: object) -> int:
        raise ConflictError(said) from RejectedError(said)

    monkeypatch.setattr(app, "_dispatch", fail)
    assert app.run(["ls", "-v"]) == ExitCode.CONFLICT
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.count("\\x1b]0;owned\\x07\\u202e") == 3
    assert not set(told) & set(said) - set("]0;owned")


def test_on_a_pipe_only_what_no_name_can_hold_is_escaped(capsys: Any) -> None:
    output.line("a\x1b[2Jb\nc\u202e👩\u200d👩\x85")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\nc\u202e👩\u200d👩\\x85\n"


def test_grants_are_parsed_from_the_right() -> None:
    assert parse_grant("/a:b:read+write") == (FilePath.parse("/a:b"), Right.READ | Right.WRITE)
    with pytest.raises(UsageError):
        parse_grant("/media")


def test_a_certificate_that_is_not_there_is_not_found(capsys: Any, tmp_path: Path) -> None:
    missing = str(tmp_path / "nope")
    for arguments in (["show", missing], ["issue", "--user", "a@home.a", "--ca-key", missing]):
        assert app.run(["pki", *arguments]) == ExitCode.NOT_FOUND
        said = capsys.readouterr().err
        assert said.startswith(f"Error: {missing} does not exist")
        assert "join" not in said


def test_wrong_usage_points_to_the_help_of_its_own_command(capsys: Any) -> None:
    assert app.run(["invite", "generate", "--nope"]) == ExitCode.USAGE
    assert "See 'collective invite generate --help'." in capsys.readouterr().err
    assert app.run(["nope"]) == ExitCode.USAGE
    assert "See 'collective --help'." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"), [("--bogus", None), ("--recursiv", "--recursive"), ("--jsn", "--json")]
)
def test_only_an_option_that_is_near_is_proposed(
    typed: str, meant: str | None, capsys: Any
) -> None:
    assert app.run(["ls", "/", typed]) == ExitCode.USAGE
    said = capsys.readouterr().err
    if meant is None:
        assert said == "Error: No such option: --bogus. See 'collective ls --help'.\n"
    else:
        assert f"Did you mean {meant}?" in said


def test_half_of_the_credentials_names_the_other_half(capsys: Any) -> None:
    assert app.run(["ls", "/", "--ca", "x"]) == ExitCode.USAGE
    assert "--cert and --key are missing" in capsys.readouterr().err
    assert app.run(["ls", "/", "--ca", "x", "--cert", "y"]) == ExitCode.USAGE
    assert "--key is missing" in capsys.readouterr().err
