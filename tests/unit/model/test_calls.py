from __future__ import annotations

from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.model.calls import Call

HOME = Domain("home.alice")
BOB = SpiffeId.user(HOME, GlobalId("bob", HOME))
OWN = SpiffeId.coordinator(HOME)


def test_tickets_are_for_whoever_carries_the_bytes() -> None:
    call = Call(BOB, is_operator=False, request_id="r1")
    assert call.holder == BOB
    carried = call._replace(carrier=OWN)
    assert carried.holder == OWN
    assert (carried.principal, carried.is_operator) == (BOB, False), "who is judged stays the same"


def test_what_the_coordinator_does_by_itself_is_the_operators() -> None:
    own = Call.own(HOME)
    assert (own.principal, own.is_operator, own.holder, own.via) == (OWN, True, OWN, None)


def test_tickets_of_a_peers_person_are_for_them_directly_and_for_their_coordinator_by_relay() -> (
    None
):
    garage = Domain("garage.bob")
    eve, theirs = SpiffeId.user(garage, GlobalId("eve", garage)), SpiffeId.coordinator(garage)
    call = Call(eve, is_operator=False, carrier=theirs, via=garage)
    assert call.holder_by(relay=False) == eve
    assert call.holder_by(relay=True) == theirs


def test_tickets_of_a_call_of_this_member_are_for_who_carries_it_by_every_way() -> None:
    call = Call(BOB, is_operator=False)
    for relay in (False, True):
        assert call.holder_by(relay=relay) == BOB
        assert call._replace(carrier=OWN).holder_by(relay=relay) == OWN
