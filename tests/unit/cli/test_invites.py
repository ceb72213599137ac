"""What is said of a code that was just made, of invites and of somebody without a grant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collective.cli import app
from collective.cli.invites import show_code
from collective.cli.options import Invocation
from collective.cli.overview import overview
from collective.cli.terminal.style import Style
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.grants import Grant
from collective.model.people import InviteKind, InviteStatus, MadeInvite
from collective.model.rights import Right
from tests.values import OPERATOR, a_status, an_invite, user


def made(kind: InviteKind) -> MadeInvite:
    return MadeInvite("c0de", "collective://join/c0de", an_invite(kind=kind, uses_total=2))


def test_a_code_for_a_node_says_how_a_node_takes_it(capsys: Any) -> None:
    show_code(made(InviteKind.NODE), as_json=False)
    said = capsys.readouterr().out
    assert "invite redeem" not in said
    assert "collective://" not in said
    for part in ("COLLECTIVE_JOIN_CODE", "join/node.code", "the one before is revoked"):
        assert part in said
    assert said.endswith("\nc0de\n")


def test_a_code_for_a_person_is_redeemed(capsys: Any) -> None:
    show_code(made(InviteKind.USER), as_json=False)
    said = capsys.readouterr().out
    assert "collective invite redeem" in said
    assert "COLLECTIVE_JOIN_CODE" not in said
    assert said.endswith("\nc0de\n")


def test_a_code_for_a_peer_is_accepted(capsys: Any) -> None:
    show_code(made(InviteKind.PEER), as_json=False)
    said = capsys.readouterr().out
    assert "collective peer accept" in said
    assert "invite redeem" not in said
    assert said.endswith("\nc0de\n")


@pytest.mark.parametrize("every", [False, True])
def test_a_list_of_open_invites_says_where_the_ended_ones_are(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, every: bool
) -> None:
    def run(self: Invocation, work: Callable[..., Any], **_: Any) -> list[InviteStatus]:
        del self, work
        return [an_invite()]

    monkeypatch.setattr(Invocation, "run", run)
    arguments = ["invite", "list", *(["--all"] if every else [])]
    assert app.run(arguments) == 0
    assert ("collective invite list --all" in capsys.readouterr().err) is not every
    assert app.run([*arguments, "--json"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("who", "grants", "is_said"),
    [
        (user("ann"), [], True),
        (user("ann"), [Grant("1", FilePath.parse("/a"), Right.READ, user("ann"), OPERATOR)], False),
        (OPERATOR, [], False),
    ],
)
def test_a_person_without_a_grant_is_told_that_he_may_do_nothing(
    who: SpiffeId, grants: list[Grant], is_said: bool
) -> None:
    text = "\n".join(Style().fields(overview(a_status(caller=who, grants=grants))))
    assert ("you may do nothing yet" in text) is is_said
