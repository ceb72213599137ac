"""What several houses promise each other, each broken once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from collective.core.errors import NotFoundError, PermissionDeniedError
from collective.core.ids import Domain
from collective.model.peers import PeerState
from collective.model.rights import Right
from collective.pki.bundle import body_of, sign_bundle
from tests.simulation.houses.abroad import Crossing, ElsewhereError
from tests.simulation.houses.conftest import UNA
from tests.simulation.houses.federation import Federation
from tests.simulation.houses.household import Household
from tests.simulation.houses.ledger import HEARD_S, PEER, peer_key
from tests.simulation.process import BrokenPromiseError
from tests.unit.pki.bundles import BOBS, bundle_of


def crossing(alice: Household, need: Right = Right.READ) -> Crossing:
    resident = SimpleNamespace(house=alice.neighbours[0])
    guest: Any = SimpleNamespace(
        host=alice, who=UNA, resident=resident, name="una", count=lambda _: None
    )
    return Crossing(guest, [("/media", need)])


def ended(alice: Household) -> None:
    alice.ledger.begin(alice.ledger.without(alice.neighbours[0].domain)).done()


def test_a_call_that_is_granted_may_be_served_and_not_refused(alice: Household) -> None:
    crossing(alice).served()
    with pytest.raises(BrokenPromiseError, match="refused"):
        crossing(alice).failed(PermissionDeniedError("No."))


def test_a_call_that_is_not_granted_may_be_refused_and_not_served(alice: Household) -> None:
    assert isinstance(
        crossing(alice, Right.WRITE).failed(PermissionDeniedError("No.")), ElsewhereError
    )
    with pytest.raises(BrokenPromiseError, match="served"):
        crossing(alice, Right.WRITE).served()


def test_absence_is_told_to_those_only_who_may_know(alice: Household) -> None:
    absent = NotFoundError("Nothing is there.")
    assert crossing(alice).failed(absent) is absent
    ended(alice)
    with pytest.raises(BrokenPromiseError, match="absence"):
        crossing(alice).failed(absent)


def test_nobody_is_served_once_the_peering_has_ended(alice: Household) -> None:
    begun_before = crossing(alice)
    ended(alice)
    begun_before.served()
    with pytest.raises(BrokenPromiseError, match="served"):
        crossing(alice).served()


def test_a_peer_must_be_known_where_it_is_one(alice: Household) -> None:
    with pytest.raises(BrokenPromiseError, match="not known"):
        crossing(alice).failed(NotFoundError("No peer home.alice is known here."))


def test_what_one_side_may_have_ended_may_end_at_the_other_until_both_are_peers(
    alice: Household,
) -> None:
    bob = alice.neighbours[0]
    alice.ledger.begin({peer_key(bob.domain): None}).cut_off()
    alice.expect_ends()
    assert bob.ledger.may_be(peer_key(alice.domain)) == {PEER, None}
    alice.loop.now_s = 200.0
    alice.ledger.begin({peer_key(bob.domain): PEER}).done()
    alice.expect_ends()
    alice.loop.now_s += HEARD_S + 1.0
    alice.expect_ends()
    assert bob.ledger.is_peer(alice.domain)


def test_an_end_that_was_heard_is_heard_again_after_a_restore_to_before_it(
    federation: Federation, alice: Household
) -> None:
    loop, bob = alice.loop, alice.neighbours[0]
    loop.now_s = 100.0
    ended(alice)
    alice.expect_ends()
    bob.ledger.ended(alice.domain)  # heard, and then looked at once more: the end is expected again
    alice.expect_ends()
    loop.now_s = 120.0
    bob.restored(50.0, 50.0)
    loop.now_s = 140.0
    wired = wired_with(bob, is_peer=True, grants=[])
    with mock.patch.object(bob, "wired", return_value=wired):
        federation.judge.look(bob)
    assert bob.ledger.may_be(peer_key(alice.domain)) == {PEER, None}, "it is heard in a moment"


def wired_with(alice: Household, *, is_peer: bool, grants: list[Any], number: int = 3) -> Any:
    state = PeerState.ACTIVE if is_peer else PeerState.REMOVED
    bundle = bundle_of(BOBS, number)
    signed = sign_bundle(bundle, BOBS)
    peer = SimpleNamespace(
        state=state, since_ms=1, body=signed.body, signature=signed.signature, sequence=number
    )
    domain: Domain = alice.neighbours[0].domain
    book = SimpleNamespace(all={domain: SimpleNamespace(peer=peer, bundle=bundle)})
    writer = SimpleNamespace(book=SimpleNamespace(live=lambda _: grants))
    catalog = SimpleNamespace(_engine=SimpleNamespace(writer=writer))
    ground = SimpleNamespace(federation=SimpleNamespace(book=book), catalog=catalog)
    return SimpleNamespace(ground=ground)


@pytest.mark.parametrize(
    ("is_peer", "has_grant", "what"),
    [(True, True, ""), (False, False, "has peer"), (True, False, "has grant")],
    ids=("as decided", "no peer", "no grant"),
)
def test_a_catalogue_has_what_was_decided(
    federation: Federation, alice: Household, is_peer: bool, has_grant: bool, what: str
) -> None:
    grant = SimpleNamespace(
        path="/media", principal=UNA, granted_by=alice.coordinator, rights=Right.READ
    )
    wired = wired_with(alice, is_peer=is_peer, grants=[grant] if has_grant else [])
    judge = federation.judge
    with mock.patch.object(alice, "wired", return_value=wired):
        if what:
            with pytest.raises(BrokenPromiseError, match=what):
                judge.look(alice)
        else:
            judge.look(alice)


def test_a_bundle_is_its_owners_word(federation: Federation, alice: Household) -> None:
    """A false one that is taken is soon replaced by the true one, and then nothing shows it."""
    wired = wired_with(alice, is_peer=True, grants=[])
    (known,) = wired.ground.federation.book.all.values()
    judge, bob = federation.judge, alice.neighbours[0]
    judge._check_signature(alice, bob, known)
    known.peer.body = body_of(bundle_of(BOBS, 9))
    with pytest.raises(BrokenPromiseError, match="did not sign it"):
        judge._check_signature(alice, bob, known)


def test_a_bundle_never_gives_way_to_one_with_a_lower_number(
    federation: Federation, alice: Household
) -> None:
    judge, bob = federation.judge, alice.neighbours[0]

    def look(number: int, version: str) -> None:
        bundle = bundle_of(BOBS, number, version=version)
        known = SimpleNamespace(peer=SimpleNamespace(since_ms=1), bundle=bundle)
        judge._check_number(alice, bob, known)

    for number in (3, 5, 4):  # the last one after a restart: it says the same
        look(number, "1")
    look(5, "2")
    with pytest.raises(BrokenPromiseError, match="number"):
        look(4, "1")
