"""What operators of several houses do about each other: peer, remove, grant, pass on, replace the CA."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from collective.client.collective import Collective
from collective.core.errors import CollectiveError, ConflictError, NotFoundError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.rights import Right
from collective.model.trust import Phase
from tests.simulation.houses.household import SHARED
from tests.simulation.houses.ledger import PEER, Giving, Pending, peer_key
from tests.simulation.process import BrokenPromiseError

if TYPE_CHECKING:
    from tests.simulation.clients import Person
    from tests.simulation.houses.household import Household

Work = Callable[[Collective], Awaitable[Any]]
PAUSE_S: Final = 9.0
"""Between two things that operators do, on average."""
ROTATION_S: Final = 8.0
"""Between two looks at how far a replacement of a CA is."""
ROTATION_MOST_S: Final = 600.0
"""How long one may take where nothing goes wrong any more."""
_ALL: Final = Right.READ | Right.WRITE


class Operators:
    """The operators of all houses of a run."""

    def __init__(self, houses: list[Household], chance: random.Random) -> None:
        """Operate ``houses``."""
        self._houses = houses
        self._chance = chance
        self._busy: set[tuple[str, str]] = set()
        """Pairs of members about whose peering something is under way."""
        self.stopping = False

    def expect(self) -> None:
        """Have each ledger know who may be given what; the people of all houses have joined."""
        for house in self._houses:
            givings = [Giving(SHARED, _who(house.sharer), house.coordinator)]
            for other in house.neighbours:
                receivers = [person.who for person in other.residents]
                for receiver in (*receivers, SpiffeId.coordinator(other.domain)):
                    givings += [Giving(top, receiver, house.coordinator) for top in house.tops]
                    givings.append(Giving(SHARED, receiver, _who(house.sharer)))
            house.ledger.expect([other.domain for other in house.neighbours], givings)

    # --- one thing after the other -----------------------------------------------------------------

    async def run(self) -> None:
        """Change who may do what, until told to stop; who is no peer any more becomes one again in time."""
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / PAUSE_S))
            if self.stopping:
                return
            house = self._chance.choice(self._houses)
            strangers = [other for other in house.neighbours if not are_peers(house, other)]
            if strangers and self._chance.random() < 0.5:
                await self.peer(house, self._chance.choice(strangers))
            else:
                await self.regrant(house)

    async def regrant(self, house: Household) -> None:
        """Give or end one grant."""
        giving = self._chance.choice(house.ledger.givings)
        is_given = house.ledger.may_be(giving.key) != {None}
        if is_given and self._chance.random() < 0.6:
            await self.end(house, giving)
        else:
            rights = Right.READ if self._chance.random() < 0.3 else _ALL
            await self.give(house, giving, rights)

    async def give(self, house: Household, giving: Giving, rights: Right) -> None:
        """Give rights, in the place of those that were given."""
        if not await self.end(house, giving):
            return
        if giving.receiver == _who(house.sharer):
            rights = _ALL | Right.SHARE
        receiver = giving.receiver
        text = str(receiver) if receiver.role == "user" else f"@{receiver.trust_domain}"

        async def work(home: Collective) -> None:
            await home.people.add_grant(FilePath.parse(giving.top), rights, text)

        pending = house.ledger.begin({giving.key: int(rights)})
        if await self._settle(house, "give", work, pending, giving) and house.neighbours:
            house.trace.count("grants given for peers")

    async def end(self, house: Household, giving: Giving) -> bool:
        """End what was given, with all that was passed on of it; return whether that is certain."""
        keys = [giving.key, *(one.key for one in house.ledger.passed_on(giving))]

        async def work(home: Collective) -> None:
            for grant in await home.people.grants():
                told = Giving(str(grant.path), grant.principal, grant.granted_by)
                if told == giving:
                    await home.people.remove_grant(grant.id)

        if all(house.ledger.may_be(key) == {None} for key in keys):
            return True
        pending = house.ledger.begin(dict.fromkeys(keys))
        done = await self._settle(house, "end", work, pending, giving)
        if done:
            house.trace.count("grants ended for peers")
        return done

    async def _settle(
        self, house: Household, what: str, work: Work, pending: Pending, giving: Giving
    ) -> bool:
        """Do ``work`` as who gives; return whether it was done."""
        person = house.sharer if giving.giver == _who(house.sharer) else None
        what = f"{what} {giving.key}"
        return await self._carry(house, what, work, pending, person=person) is None

    async def _carry(
        self,
        house: Household,
        what: str,
        work: Work,
        *pending: Pending,
        person: Person | None = None,
        absent_is_done: bool = False,
    ) -> CollectiveError | None:
        """Do ``work``, and end what is ``pending`` by how it went; return why it was not done."""
        try:
            error = await self._ask(house, what, work, person=person)
        except asyncio.CancelledError:
            for change in pending:
                change.cut_off()
            raise
        for change in pending:
            if error is None or (absent_is_done and isinstance(error, NotFoundError)):
                change.done()
            elif error is NOT_BEGUN:
                change.refused()
            else:
                change.cut_off()
        return error

    async def _ask(
        self, house: Household, what: str, work: Work, *, person: Person | None = None
    ) -> CollectiveError | None:
        """Do something as an operator or a person; return why it was not done, as far as anybody knows."""
        met: list[CollectiveError] = []
        begun = False

        async def act(home: Collective) -> None:
            nonlocal begun
            begun = True
            try:
                await work(home)
            except CollectiveError as error:
                met.append(error)
                raise

        if await house.faults.operate(what, act, person=person):
            return None
        return met[0] if met else NOT_BEGUN

    # --- peers -----------------------------------------------------------------------------------

    async def peer(self, one: Household, other: Household) -> bool:
        """Have ``one`` invite and ``other`` accept, whatever either has of the other; return whether it was done."""
        pair = _pair(one, other)
        if pair in self._busy:
            return False
        self._busy.add(pair)
        try:
            error = await self._introduce(one, other)
            if isinstance(
                error, ConflictError
            ):  # a CA was replaced while they did not see each other
                await self._remove(one, other)
                await self._remove(other, one)
                error = await self._introduce(one, other)
            return error is None
        finally:
            self._busy.discard(pair)

    async def _introduce(self, one: Household, other: Household) -> CollectiveError | None:
        codes: list[str] = []

        async def invite(home: Collective) -> None:
            codes.append((await home.peers.invite(other.domain)).code)

        async def accept(home: Collective) -> None:
            await home.peers.accept(codes[0], one.domain)

        error = await self._ask(one, f"invite {other.domain}", invite)
        if error is not None:
            return error
        both = (
            one.ledger.begin({peer_key(other.domain): PEER}),
            other.ledger.begin({peer_key(one.domain): PEER}),
        )
        error = await self._carry(other, f"accept {one.domain}", accept, *both)
        if error is None:
            one.ledger.peered(other.domain)
            other.ledger.peered(one.domain)
            one.trace.fault("peered", f"{one.domain} and {other.domain}")
        return error

    async def remove(self, house: Household, other: Household) -> None:
        """End a peering on one side; the other is told by its tombstone."""
        pair = _pair(house, other)
        if pair in self._busy:
            return
        self._busy.add(pair)
        try:
            if await self._remove(house, other):
                house.trace.fault("peer removed", f"{other.domain} at {house.domain}")
        finally:
            self._busy.discard(pair)

    async def _remove(self, house: Household, other: Household) -> bool:
        async def work(home: Collective) -> None:
            await home.peers.remove(other.domain)

        pending = house.ledger.begin(house.ledger.without(other.domain))
        house.expect_ends()
        what = f"remove {other.domain}"
        error = await self._carry(house, what, work, pending, absent_is_done=True)
        return error is None

    # --- the CA ----------------------------------------------------------------------------------

    async def rotate(self, house: Household) -> None:
        """Replace the CA of a house; everybody follows in time."""
        if house.rotates or house.member.machines[house.member.coordinator].clock.offset_s:
            return
        house.rotates = True

        async def begin(home: Collective) -> None:
            await home.trust.rotate()

        with house.disturbed():
            if await self._ask(house, "rotate", begin) is None:
                house.trace.fault("CA rotated", house.domain)
            await self.finish_rotation(house)

    async def finish_rotation(self, house: Household) -> None:
        """Go on until no CA is being replaced; BrokenPromiseError where that comes to no end."""
        phases: list[Phase] = []

        async def finish(home: Collective) -> None:
            phases.append((await home.trust.rotate(status=True)).phase)
            if phases[-1] is Phase.OVERLAP:
                await home.trust.rotate(finish=True)

        until_s = house.loop.now_s + ROTATION_MOST_S
        while house.rotates:
            await self._ask(house, "rotate on", finish)
            if phases and phases[-1] is Phase.NONE:
                house.rotates = False
                return
            if house.loop.now_s > until_s:
                raise BrokenPromiseError(f"the CA of {house.domain} is replaced without an end")
            await asyncio.sleep(ROTATION_S)


NOT_BEGUN: Final = CollectiveError("Nothing was begun.")
"""Nobody was there to ask."""


def _who(person: Person) -> SpiffeId:
    return SpiffeId.parse(person.identity)


def _pair(one: Household, other: Household) -> tuple[str, str]:
    first, second = sorted((str(one.domain), str(other.domain)))
    return first, second


def are_peers(one: Household, other: Household) -> bool:
    """Tell whether each of two is certainly a peer of the other."""
    return one.ledger.is_peer(other.domain) and other.ledger.is_peer(one.domain)
