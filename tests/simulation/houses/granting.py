"""Grants to people of other members: given, passed on at home and across houses, and ended, also at their root."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from collective.client.collective import Collective
from collective.core.errors import CollectiveError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.rights import Right
from tests.simulation.houses.abroad import Crossing
from tests.simulation.houses.asking import NOT_BEGUN, Work, carry
from tests.simulation.houses.household import SHARED
from tests.simulation.houses.ledger import Giving, Pending

if TYPE_CHECKING:
    from tests.simulation.clients import Person
    from tests.simulation.houses.household import Household
    from tests.simulation.houses.people import Resident

_ALL: Final = Right.READ | Right.WRITE
REFUSED: Final = 0.2
"""How often somebody tries to pass on whatever they hold."""
PASSING: Final = 0.35
"""How often it is about what is given to be passed on: without that nothing is."""


class Granting:
    """Who gives whom what, in all houses of a run."""

    def __init__(self, houses: list[Household], chance: random.Random) -> None:
        """Give in ``houses``."""
        self._chance = chance
        self._houses = houses
        self._people: dict[SpiffeId, Resident] = {}
        """Those who pass on what they have at other houses."""

    def expect(self) -> None:
        """Have each ledger know who may be given what; the people of all houses have joined."""
        for house in self._houses:
            root = Giving(SHARED, _who(house.sharer), house.coordinator)
            givings = [root]
            for other in house.neighbours:
                receivers = [person.who for person in other.residents]
                for receiver in (*receivers, SpiffeId.coordinator(other.domain)):
                    givings += [Giving(top, receiver, house.coordinator) for top in house.tops]
                    givings.append(Giving(SHARED, receiver, _who(house.sharer)))
            first, *rest = house.neighbours
            one, two = first.residents
            self._people |= {one.who: one, two.who: two}
            below = Giving(SHARED, two.who, one.who)
            last = [person.who for other in rest for person in other.residents]
            last.append(SpiffeId.coordinator(first.domain))
            givings += [below, *(Giving(SHARED, receiver, two.who) for receiver in last)]
            # each who passes on has that right of one grant alone
            passing = [root, Giving(SHARED, one.who, house.coordinator), below]
            house.ledger.expect([other.domain for other in house.neighbours], givings, passing)

    async def regrant(self, house: Household) -> None:
        """Give or end one grant."""
        giving = self._chance.choice(house.ledger.givings)
        if self._chance.random() < PASSING:
            passing = [one for one in house.ledger.givings if house.ledger.is_passing(one)]
            giving = self._chance.choice(passing)
        if self._chance.random() > REFUSED:
            giving = self._held(house, giving)
        is_given = house.ledger.may_be(giving.key) != {None}
        if is_given and self._chance.random() < 0.6:
            await self.end(house, giving)
        else:
            rights = Right.READ if self._chance.random() < 0.3 else _ALL
            await self.give(house, giving, rights)

    def _held(self, house: Household, giving: Giving) -> Giving:
        """Return ``giving``, or where who is to give it holds nothing to pass on, what that comes from."""
        ledger = house.ledger
        for one in ledger.givings:
            is_source = one.receiver == giving.giver and giving in ledger.passed_on(one)
            if is_source and not ledger.is_given(one):
                return self._held(house, one)
        return giving

    async def welcome(self, house: Household, other: Household) -> None:
        """Give people of a new peer something to begin with."""
        person = self._chance.choice(other.residents)
        await self.give(house, Giving(SHARED, person.who, house.coordinator), _ALL)

    async def give(self, house: Household, giving: Giving, rights: Right) -> None:
        """Give rights, in the place of those that were given."""
        if not await self.end(house, giving):
            return
        if house.ledger.is_passing(giving):
            rights = _ALL | Right.SHARE
        receiver = giving.receiver
        text = str(receiver) if receiver.role == "user" else f"@{receiver.trust_domain}"

        async def work(home: Collective) -> None:
            await home.people.add_grant(self._path(house, giving), rights, text)

        pending = house.ledger.begin({giving.key: int(rights)})
        needs = [(giving.top, bit) for bit in Right if bit and bit in rights | Right.SHARE]
        if await self._settle(house, "give", work, pending, giving, needs):
            house.trace.count("grants given for peers")
            if giving.giver in self._people:
                house.trace.count("grants passed on at a peer")

    async def end(self, house: Household, giving: Giving) -> bool:
        """End what was given, with all that was passed on of it; return whether that is certain."""
        passed_on = house.ledger.passed_on(giving)
        keys = [giving.key, *(one.key for one in passed_on)]
        if all(house.ledger.may_be(key) == {None} for key in keys):
            return True
        path = self._path(house, giving)
        domain = str(house.domain) if giving.giver in self._people else ""

        async def work(home: Collective) -> None:
            for grant in await home.people.grants(domain=domain):
                found = (grant.path, grant.principal, grant.granted_by)
                if found == (path, giving.receiver, giving.giver):
                    await home.people.remove_grant(grant.id)

        has_more = any(house.ledger.may_be(one.key) - {None} for one in passed_on)
        pending = house.ledger.begin(dict.fromkeys(keys))
        done = await self._settle(house, "end", work, pending, giving, [])
        if done:
            house.trace.count("grants ended for peers")
            if has_more:
                house.trace.count("grants ended at their root")
        return done

    def _path(self, house: Household, giving: Giving) -> FilePath:
        """Return what who gives calls the path."""
        at = f"/@{house.domain}" if giving.giver in self._people else ""
        return FilePath.parse(at + giving.top)

    async def _settle(
        self,
        house: Household,
        what: str,
        work: Work,
        pending: Pending,
        giving: Giving,
        needs: list[tuple[str, Right]],
    ) -> bool:
        """Do ``work`` as who gives; return whether it was done."""
        what = f"{what} {giving.key}"
        resident = self._people.get(giving.giver)
        if resident is None:
            person: Person | None = None
            if giving.giver == _who(house.sharer):
                person = house.sharer
            return await carry(house, what, work, pending, person=person) is None
        guest = next(one for one in resident.guests if one.host is house)
        crossing = Crossing(guest, needs)
        try:
            error = await carry(resident.house, what, work, pending, person=resident)
        finally:
            crossing.end()
        _judge(crossing, error, judged=bool(needs))
        return error is None


def _judge(crossing: Crossing, error: CollectiveError | None, *, judged: bool) -> None:
    """Raise where a right was passed on that was not held, or could not be though it was."""
    if not judged or error is NOT_BEGUN:
        return
    if error is None:
        crossing.served()
    else:
        crossing.failed(error)


def _who(person: Person) -> SpiffeId:
    return SpiffeId.parse(person.identity)
