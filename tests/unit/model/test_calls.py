from __future__ import annotations

from dataclasses import replace

from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.model.calls import Call

HOME = Domain("home.alice")
BOB = SpiffeId.user(HOME, GlobalId("bob", HOME))
OWN = SpiffeId.coordinator(HOME)


def test_tickets_are_for_whoever_carries_the_bytes() -> None:
    call = Call(BOB, is_operator=False, request_id="r1")
    assert call.holder == BOB
    carried = replace(call, carrier=OWN)
    assert carried.holder == OWN
    assert (carried.principal, carried.is_operator) == (BOB, False), "who is judged stays the same"


def test_what_the_coordinator_does_by_itself_is_the_operators() -> None:
    own = Call.own(HOME)
    assert (own.principal, own.is_operator, own.holder, own.via) == (OWN, True, OWN, None)
