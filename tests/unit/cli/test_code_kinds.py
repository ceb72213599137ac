"""A code of another kind is refused at once, without asking anyone, with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collective.cli import app
from collective.core.randomness import SystemRandomness
from collective.core.units import Address
from collective.model.people import InviteKind
from collective.pki.invite_code import InviteCode

NOT_REACHABLE, CONFLICT = 5, 8
NOWHERE = (Address("127.0.0.1", 1),)
AS_NODE = ("--as", "node", "--yes", "--no-start", "--storage-capacity", "1MB")


def code(kind: InviteKind | None) -> str:
    return InviteCode.fresh(NOWHERE, bytes(32), SystemRandomness(), kind).encode()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COLLECTIVE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setattr("collective.cli.setup.placing.SETTINGS_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "command", "says"),
    [
        (
            InviteKind.USER,
            ("join", "CODE", *AS_NODE),
            "for a person, not for a node; use it with 'collective join CODE --as person'",
        ),
        (InviteKind.DEVICE, ("join", "CODE", *AS_NODE), "for a person, not for a node"),
        (InviteKind.PEER, ("join", "CODE", *AS_NODE), "collective peer accept CODE"),
        (
            InviteKind.NODE,
            ("join", "CODE", "--as", "person"),
            "collective invite generate --grant PATH:RIGHT",
        ),
        (InviteKind.NODE, ("invite", "redeem", "CODE"), "collective join CODE --as node"),
        (InviteKind.PEER, ("invite", "redeem", "CODE"), "for a member, not for a person"),
        (InviteKind.PEER, ("join", "CODE", "--yes"), "collective peer accept CODE"),
        (InviteKind.USER, ("join", "CODE", "--no-start"), "for a person, not for a node"),
        (
            InviteKind.USER,
            ("peer", "accept", "CODE", "--coordinator", "127.0.0.1:1"),
            "collective peer invite DOMAIN",
        ),
    ],
)
def test_a_code_of_another_kind_is_refused(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    kind: InviteKind,
    command: tuple[str, ...],
    says: str,
) -> None:
    given = code(kind)
    assert app.run([given if word == "CODE" else word for word in command]) == CONFLICT
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.count("\n") == 1, "one sentence"
    assert given not in told.err, "it is a secret"
    assert os.listdir(home) == [], "nothing was written"


def test_a_node_s_code_needs_no_word_that_it_is_for_a_node(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app.run(["join", code(InviteKind.NODE), "--yes", "--json"])
    assert '"roles": [\n    "node"\n  ]' in capsys.readouterr().out


@pytest.mark.parametrize("kind", [InviteKind.USER, InviteKind.DEVICE, None])
def test_a_person_s_code_and_one_that_does_not_say_go_to_the_bootstrap(
    kind: InviteKind | None,
) -> None:
    assert app.run(["join", code(kind), "--as", "person"]) == NOT_REACHABLE
