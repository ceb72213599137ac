"""What the demo's steps make of what its commands answer; the demo itself is run by CI."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import pytest

from collective.cli.demo import member
from collective.cli.demo.client import MOVIE, Client, digest
from collective.cli.demo.member import DemoError, Member, Ports, run_command
from collective.cli.demo.peers import Visit, pairs, peer, wait_peers
from collective.cli.demo.run import run_demo
from collective.cli.demo.steps import Steps
from collective.core.errors import ExitCode

CONTENT = b"film"


class Time:
    """Passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, delay_s: float) -> None:
        self.now_s += delay_s


class Commands:
    """Stands for the processes that the demo starts: each command has an answer, by its first words."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.calls: list[tuple[str, str]] = []

    def __call__(self, arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        told = " ".join(arguments[3:])
        who = Path(options["env"].get("COLLECTIVE_CONFIG_DIR", "operator/config")).parent.name
        self.calls.append((who, told))
        for key in (f"{who}: {told}", told):
            for begin, (code, out) in self.answers.items():
                if key.startswith(begin):
                    return subprocess.CompletedProcess(arguments, code, out, b"why")
        return subprocess.CompletedProcess(arguments, 0, b"", b"")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr("collective.cli.demo.member.subprocess.run", made)
    return made


def members(folder: Path) -> list[Member]:
    return [
        Member(name, domain, folder / name, Ports(1, 2, 3, (4, 5, 6)))
        for name, domain in member.MEMBERS
    ]


def visit(folder: Path) -> Visit:
    alice, bob, _ = members(folder)
    guest = Client(
        alice, folder / "guest", "guest@friends.of.alice", digests={MOVIE: digest(CONTENT)}
    )
    return Visit.to(guest, bob, folder)


def test_a_command_that_ends_otherwise_than_wanted_fails_the_demo(commands: Commands) -> None:
    commands.answers["read"] = (4, b"")
    assert run_command(["read", "/x"], {}, ends_with=ExitCode.PERMISSION_DENIED) == b""
    with pytest.raises(DemoError, match="ended with 4, not 0: why"):
        run_command(["read", "/x"], {})
    with pytest.raises(DemoError, match="ended with 0, not 4"):
        run_command(["ls", "/"], {}, ends_with=ExitCode.PERMISSION_DENIED)


def test_three_members_are_three_pairs_and_each_peers_by_a_code(
    commands: Commands, tmp_path: Path
) -> None:
    commands.answers["peer invite"] = (0, b"some words\nthecode\n")
    found = pairs(members(tmp_path))
    assert [(one.name, other.name) for one, other in found] == [
        ("alice", "bob"), ("alice", "carol"), ("bob", "carol"),
    ]  # fmt: skip
    peer(*found[0])
    invited, accepted = (told for _, told in commands.calls)
    assert invited.startswith("peer invite garage.bob --coordinator")
    assert accepted.startswith("peer accept thecode --yes --coordinator")


def test_the_file_must_be_read_with_a_grant_and_refused_without(
    commands: Commands, tmp_path: Path
) -> None:
    made = visit(tmp_path)
    commands.answers["ben: read /@home.alice/shared/media/movie.bin"] = (0, CONTENT)
    made.read()
    with pytest.raises(DemoError, match="ended with 0, not 4"):
        made.refuse()
    commands.answers["eve: read"] = (4, b"")
    made.refuse()
    commands.answers["ben: read /@home.alice/shared/media/movie.bin"] = (0, b"another film")
    with pytest.raises(DemoError, match="reads back as"):
        made.read()


def test_the_copy_must_be_read_while_the_owner_is_away(commands: Commands, tmp_path: Path) -> None:
    made = visit(tmp_path)
    made.fetch()
    assert ("ben", f"cp {made.there} /copies/movie.bin") in commands.calls
    commands.answers["ben: read /copies/movie.bin"] = (0, CONTENT)
    with pytest.raises(DemoError, match="ended with 0, not 5"):
        made.read_without_owner()
    commands.answers["ben: stat /@home.alice"] = (5, b"")
    made.read_without_owner()


def test_peers_that_are_missing_or_away_are_waited_for(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, *_ = everyone = members(tmp_path)
    monkeypatch.setattr(member.Process, "is_running", True)
    monkeypatch.setattr("collective.cli.demo.member.time", Time())
    bob = '{"domain": "garage.bob", "is_healthy": true}'
    carol = '{"domain": "office.carol", "is_healthy": false}'
    commands.answers["status"] = (0, f'{{"peers": [{bob}]}}'.encode())
    with pytest.raises(DemoError, match=r"not ready after 90 s: .*garage\.bob"):
        wait_peers(alice, everyone)
    commands.answers["status"] = (0, f'{{"peers": [{bob}, {carol}]}}'.encode())
    with pytest.raises(DemoError, match=r"office\.carol"):
        wait_peers(alice, everyone)
    alice.wait_peers(["garage.bob"], away=["office.carol"])


def test_a_failed_step_is_counted_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise DemoError("bob: refused without a grant")

    monkeypatch.setattr("collective.cli.demo.run.make_members", lambda *_: [])
    monkeypatch.setattr("collective.cli.demo.run.run_steps", fail)
    monkeypatch.setattr("collective.cli.demo.run.signal.signal", lambda *_: None)
    assert run_demo(tmp_path, once=True) == ExitCode.FAILURE
    assert "FAILED: bob: refused without a grant" in capsys.readouterr().out


def test_steps_are_told_in_order() -> None:
    out = io.StringIO()
    steps = Steps(out)
    steps.side_by_side([("one", lambda: "1"), ("two", lambda: None)])
    assert [line.split("] ")[1] for line in out.getvalue().splitlines()] == ["one: 1", "two"]
    assert (steps.done, steps.failed) == (2, 0)
