"""Whom a grant is for, as people write it."""

from __future__ import annotations

from typing import Final

import pytest

from collective.core.errors import NotFoundError, UsageError
from collective.core.ids import Domain
from collective.member.people.receivers import receiver_of

OWN: Final = Domain("home.alice")


class Peers:
    """One peer."""

    def is_peer(self, domain: Domain) -> bool:
        return domain == "garage.bob"


def told(text: str) -> str:
    return str(receiver_of(text, OWN, Peers()))


@pytest.mark.parametrize(
    ("text", "whom"),
    [
        ("anna@home.alice", "spiffe://home.alice/user/home.alice/anna"),
        ("eve@garage.bob", "spiffe://garage.bob/user/garage.bob/eve"),
        ("dan@home.carol", "spiffe://home.alice/user/home.carol/dan"),
        ("dan@home.carol via garage.bob", "spiffe://garage.bob/user/home.carol/dan"),
        ("eve@garage.bob via home.alice", "spiffe://home.alice/user/garage.bob/eve"),
        ("@garage.bob", "spiffe://garage.bob/coordinator"),
        ("@home.alice", "spiffe://home.alice/coordinator"),
        ("spiffe://garage.bob/user/home.carol/dan", "spiffe://garage.bob/user/home.carol/dan"),
        ("spiffe://home.alice/user/home.alice/anna", "spiffe://home.alice/user/home.alice/anna"),
    ],
)
def test_a_name_means_who_vouches_for_it(text: str, whom: str) -> None:
    assert told(text) == whom


@pytest.mark.parametrize(
    "text",
    ["@home.carol", "dan@home.carol via home.carol", "spiffe://home.carol/user/home.carol/dan"],
)
def test_a_member_that_is_no_peer_vouches_for_nobody(text: str) -> None:
    with pytest.raises(NotFoundError, match=r"home\.carol is no peer here"):
        told(text)


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://garage.bob/coordinator",
        "spiffe://home.alice/node/n1",
        "spiffe://garage.bob/bootstrap/edge",
        "spiffe://",
        "@",
        "@@garage.bob",
        "@Garage.Bob/x",
        "eve",
        "eve@",
        "",
        " via garage.bob",
        "eve@garage.bob via ",
        "eve@garage.bob via garage.bob via home.alice",
        "eve@garage.bob\0",
    ],
)
def test_what_is_nobody_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        told(text)
