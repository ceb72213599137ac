"""What operators read of peers: within 80 columns, and only what is so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collective.cli import app
from collective.cli.options import Invocation
from collective.cli.peers import HEADINGS, peer_row
from collective.cli.status import PEER_HEADINGS, status_json, status_peer_row
from collective.cli.terminal import output
from collective.core.ids import Domain, MemberId, SpiffeId
from collective.core.units import Address
from collective.model.peers import AcceptedPeer, Inviter, PeerFacts, PeerFigures, PeerState
from collective.model.status import PeerStatus
from collective.pki.invite_code import InviteCode
from tests.values import a_status

BOB = Domain("garage.bob")
PRINT = "12345 23456 34567 45678 56789 67890"
ANN = SpiffeId.parse("spiffe://home.alice/user/garage.bob/ann")
NOON_MS = 1_780_000_000_000
FIGURES = PeerFigures(12, 3, 5 << 30, 1 << 20, 17)


def facts(**given: Any) -> PeerFacts:
    usual: dict[str, Any] = {
        "member": MemberId("bob"),
        "domain": BOB,
        "state": PeerState.ACTIVE,
        "addresses": (Address("192.168.100.200", 8001),),
        "fingerprint": PRINT,
        "sequence": 3,
        "version": "1.2.3",
        "since_ms": NOON_MS,
        "is_seen": True,
        "is_healthy": False,
        "last_seen_ms": NOON_MS,
        "latency_ms": 0.0,
        "why_away": "",
        "taken_ms": NOON_MS,
        "figures": FIGURES,
    }
    return PeerFacts(**{**usual, **given})


def status_of(**given: Any) -> PeerStatus:
    usual: dict[str, Any] = {
        "member": "bob",
        "domain": "homelab.collective.local",
        "address": "192.168.100.200:8001",
        "is_healthy": False,
        "last_seen_ms": NOON_MS,
        "latency_ms": 0.0,
        "version": "1.2.3",
        "taken_ms": NOON_MS,
    }
    return PeerStatus(**{**usual, **given})


def test_a_list_of_peers_has_the_whole_fingerprint_within_80_columns() -> None:
    long = facts(domain=Domain("homelab.collective.local"))
    lines = output.table_lines(HEADINGS, [peer_row(long), peer_row(facts(is_healthy=True))], 80)
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for group in PRINT.split():
        assert text.count(group) == 2
    assert "healthy, 0 ms" in " ".join(
        output.table_lines(HEADINGS, [peer_row(facts(is_healthy=True))], 200)[1].split()
    )


def test_the_peers_of_a_status_fit_in_80_columns() -> None:
    rows = [
        status_peer_row(status_of(figures=FIGURES, domain="garage.bob.example")),
        status_peer_row(status_of(figures=FIGURES, domain="home.carol", is_healthy=True)),
    ]
    lines = output.table_lines(PEER_HEADINGS, rows, 80)
    assert max(map(len, lines)) <= 80, lines


def test_a_status_tells_figures_to_admins_and_null_to_others() -> None:
    [shown] = status_json(a_status(peers=[status_of(figures=FIGURES)]))["peers"]
    assert (shown["grants_here"], shown["grants_there"], shown["refused"]) == (12, 3, 17)
    assert (shown["sent_bytes"], shown["received_bytes"]) == (5 << 30, 1 << 20)
    assert (shown["state"], shown["version"]) == ("away", "1.2.3")
    assert shown["bundle_taken"] == "2026-05-28T20:26:40.000Z"
    [hidden] = status_json(a_status(peers=[status_of()]))["peers"]
    assert hidden.keys() == shown.keys()
    assert {hidden[name] for name in ("grants_here", "grants_there", "sent_bytes", "refused")} == {
        None
    }


CODE = InviteCode((Address("10.0.0.2", 9001),), bytes(32), "00" * 8, bytes(16)).encode()
INVITER = Inviter(MemberId("bob"), BOB, (Address("10.0.0.2", 8001),), PRINT, PRINT)


@pytest.mark.parametrize("is_waiting", [False, True])
def test_accepting_says_whether_the_inviter_has_to_confirm_and_which_names_are_out(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, is_waiting: bool
) -> None:
    answers: list[Any] = [
        INVITER,
        (AcceptedPeer(facts(names_here=(ANN,)), is_waiting), Domain("home.alice")),
    ]

    def run(self: Invocation, work: Callable[..., Any], **_: Any) -> Any:
        del self, work
        return answers.pop(0)

    monkeypatch.setattr(Invocation, "run", run)
    assert app.run(["peer", "accept", CODE[:30], CODE[30:], "--yes"]) == 0
    said = capsys.readouterr()
    assert ("is a peer; its files" in said.out) is not is_waiting
    assert ("collective peer confirm home.alice" in said.out) is is_waiting
    assert "ann@garage.bob" in said.err
    assert "collective identity revoke NAME" in said.err
