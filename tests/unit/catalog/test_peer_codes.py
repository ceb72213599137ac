"""What a peer is that comes by a code, and whose grants end with it, decided on values."""

from __future__ import annotations

from dataclasses import replace

from collective.catalog.decisions.peers import ends_grants, is_of_domain, is_repeat, state_by
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.core.paths import FilePath
from collective.model.grants import Grant
from collective.model.peers import Peer, PeerState
from collective.model.people import Invite, InviteKind
from collective.model.rights import Right
from tests.values import ALICE, OPERATOR, user

BOB = Domain("home.bob")
PEER = Peer(BOB, MemberId("bob"), PeerState.ACTIVE, b"d" * 32, 1, b"", b"", 0, came_by="code")
CODE = Invite("code", InviteKind.PEER, b"", 1, 1, 0, OPERATOR)


def test_a_peer_counts_at_once_unless_the_operator_confirms_it_first() -> None:
    assert state_by(replace(CODE, approves=True)) is PeerState.ACTIVE
    assert state_by(CODE) is PeerState.WAITING


def test_the_same_ca_by_the_same_code_is_a_repeat() -> None:
    assert is_repeat(PEER, "code", PEER)
    assert not is_repeat(None, "code", PEER)
    assert not is_repeat(replace(PEER, state=PeerState.REMOVED), "code", PEER)
    assert not is_repeat(PEER, "other", PEER)
    assert not is_repeat(PEER, "code", replace(PEER, authority_digest=b"e" * 32))


def test_grants_end_where_another_ca_speaks_for_the_domain() -> None:
    assert not ends_grants(None, PEER)
    assert not ends_grants(PEER, replace(PEER, sequence=2))
    assert ends_grants(PEER, replace(PEER, authority_digest=b"e" * 32))


def test_a_grant_is_of_the_domains_of_its_receiver_and_its_giver() -> None:
    ben = SpiffeId.user(BOB, GlobalId.parse("ben@home.bob"))
    grant = Grant("g", FilePath.parse("/a"), Right.READ, ben, user("ann"), None)
    assert is_of_domain(grant, BOB)
    assert is_of_domain(grant, ALICE)
    assert not is_of_domain(grant, Domain("home.carol"))
