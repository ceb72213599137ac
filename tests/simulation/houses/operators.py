"""What operators of several houses do about each other: peer, remove, grant, pass on, replace the CA."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from collective.client.collective import Collective
from collective.core.errors import CollectiveError, ConflictError
from collective.model.trust import Phase
from tests.simulation.houses.asking import ask, carry
from tests.simulation.houses.following import cannot_follow, is_estranged
from tests.simulation.houses.granting import Granting
from tests.simulation.houses.ledger import PEER, peer_key
from tests.simulation.process import BrokenPromiseError

if TYPE_CHECKING:
    from tests.simulation.houses.household import Household

PAUSE_S: Final = 7.0
"""Between two things that operators do, on average."""
ROTATION_S: Final = 8.0
"""Between two looks at how far a replacement of a CA is."""
ROTATION_MOST_S: Final = 600.0
"""How long one may take where nothing goes wrong any more."""


class Operators:
    """The operators of all houses of a run."""

    def __init__(self, houses: list[Household], chance: random.Random) -> None:
        """Operate ``houses``."""
        self._houses = houses
        self._chance = chance
        self._busy: set[tuple[str, str]] = set()
        """Pairs of members about whose peering something is under way."""
        self._left_alone_s: dict[tuple[str, str], float] = {}
        """Until when pairs of which one has removed the other do not peer again."""
        self.granting = Granting(houses, chance)
        self.stopping = False

    # --- one thing after the other -----------------------------------------------------------------

    async def run(self) -> None:
        """Change who may do what, until told to stop; who is no peer any more becomes one again in time."""
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / PAUSE_S))
            if self.stopping:
                return
            house = self._chance.choice(self._houses)
            strangers = [
                other
                for other in house.neighbours
                if (not are_peers(house, other) or is_estranged(house, other))
                and not self._is_left_alone(house, other)
            ]
            if strangers and self._chance.random() < 0.5:
                other = self._chance.choice(strangers)
                if await self.peer(house, other):
                    await self.granting.welcome(house, other)
                    await self.granting.welcome(other, house)
            else:
                await self.granting.regrant(house)

    # --- peers -----------------------------------------------------------------------------------

    def leave_alone(self, one: Household, other: Household, for_s: float) -> None:
        """Have two not peer for a while."""
        self._left_alone_s[_pair(one, other)] = one.loop.now_s + for_s

    def _is_left_alone(self, one: Household, other: Household) -> bool:
        return one.loop.now_s < self._left_alone_s.get(_pair(one, other), 0.0)

    async def peer_if_estranged(self, one: Household, other: Household) -> None:
        """Have two peer again of whom one cannot believe the other's CA any more."""
        if is_estranged(one, other):
            await self.peer(one, other)

    async def peer(self, one: Household, other: Household) -> bool:
        """Have ``one`` invite and ``other`` accept, whatever either has of the other; return whether it was done."""
        pair = _pair(one, other)
        if pair in self._busy:
            return False
        self._busy.add(pair)
        if cannot_follow(one, other):  # whose CA was made anew invites
            one, other = other, one
        try:
            error = await self._introduce(one, other)
            if isinstance(error, ConflictError):  # both CAs were made anew
                await self._remove(one, other)
                await self._remove(other, one)
                error = await self._introduce(one, other)
            return error is None
        finally:
            self._busy.discard(pair)

    async def _introduce(self, one: Household, other: Household) -> CollectiveError | None:
        codes: list[str] = []
        replaces = cannot_follow(other, one)

        async def invite(home: Collective) -> None:
            codes.append((await home.peers.invite(other.domain)).code)

        async def accept(home: Collective) -> None:
            await home.peers.accept(codes[0], one.domain, replaces=replaces)

        error = await ask(one, f"invite {other.domain}", invite)
        if error is not None:
            return error
        ended = other.ledger.without(one.domain) if replaces else {}
        both = (
            one.ledger.begin({peer_key(other.domain): PEER}),
            other.ledger.begin({**ended, peer_key(one.domain): PEER}),
        )
        error = await carry(other, f"accept {one.domain}", accept, *both)
        if error is None:
            one.ledger.peered(other.domain)
            other.ledger.peered(one.domain)
            one.trace.fault("peered", f"{one.domain} and {other.domain}")
            if replaces:
                one.trace.count("peered by --replace")
        return error

    async def remove(self, house: Household, other: Household) -> bool:
        """End a peering on one side; the other is told by its tombstone.  Return whether it was done."""
        pair = _pair(house, other)
        if pair in self._busy:
            return False
        self._busy.add(pair)
        try:
            done = await self._remove(house, other)
            if done:
                house.trace.fault("peer removed", f"{other.domain} at {house.domain}")
            return done
        finally:
            self._busy.discard(pair)

    async def _remove(self, house: Household, other: Household) -> bool:
        async def work(home: Collective) -> None:
            await home.peers.remove(other.domain)

        pending = house.ledger.begin(house.ledger.without(other.domain))
        house.expect_ends()
        what = f"remove {other.domain}"
        error = await carry(house, what, work, pending, absent_is_done=True)
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
            if await ask(house, "rotate", begin) is None:
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
            await ask(house, "rotate on", finish)
            if phases and phases[-1] is Phase.NONE:
                house.rotates = False
                return
            if house.loop.now_s > until_s:
                raise BrokenPromiseError(f"the CA of {house.domain} is replaced without an end")
            await asyncio.sleep(ROTATION_S)


def _pair(one: Household, other: Household) -> tuple[str, str]:
    first, second = sorted((str(one.domain), str(other.domain)))
    return first, second


def are_peers(one: Household, other: Household) -> bool:
    """Tell whether each of two is certainly a peer of the other."""
    return one.ledger.is_peer(other.domain) and other.ledger.is_peer(one.domain)
