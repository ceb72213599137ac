"""Two houses that are peers by their ledgers; nothing of them runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collective.core.ids import SpiffeId
from collective.model.rights import Right
from tests.simulation.houses.federation import Federation
from tests.simulation.houses.household import Household
from tests.simulation.houses.ledger import PEER, Giving, peer_key

UNA = SpiffeId.parse("spiffe://home.bob/user/home.bob/una")
"""Of bob's house; may read at alice's."""
READ = int(Right.READ)


@pytest.fixture
def federation() -> Iterator[Federation]:
    made = Federation(5, 1.0)
    yield made
    made.loop.close()
    made.around.vfs.forget()


@pytest.fixture
def alice(federation: Federation) -> Household:
    house = federation.houses[0]
    bob = house.neighbours[0]
    giving = Giving("/media", UNA, house.coordinator)
    house.ledger.expect([bob.domain], [giving])
    bob.ledger.expect([house.domain], [])
    house.ledger.begin({peer_key(bob.domain): PEER, giving.key: READ}).done()
    bob.ledger.begin({peer_key(house.domain): PEER}).done()
    for one in (house, bob):
        one.member.machine(one.member.coordinator)
        one.member.started_s[one.member.coordinator] = 0.0
    return house


@pytest.fixture
def bob(alice: Household) -> Household:
    house: Household = alice.neighbours[0]
    return house
