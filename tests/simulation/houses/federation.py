"""One run of several members: founded, peered, used across houses while things go wrong, left in peace, judged."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Final

from collective.client.collective import Collective
from collective.core.world import World
from collective.rpc.links import Links
from tests.simulation.clients import PATIENCE_S
from tests.simulation.disk import Folder
from tests.simulation.houses.abroad import Abroad
from tests.simulation.houses.following import is_estranged
from tests.simulation.houses.household import Household
from tests.simulation.houses.judge import NeighbourJudge
from tests.simulation.houses.ledger import PEER, peer_key
from tests.simulation.houses.operators import Operators, are_peers
from tests.simulation.houses.people import Resident
from tests.simulation.houses.troubles import Troubles
from tests.simulation.judge import Judge
from tests.simulation.member import Member
from tests.simulation.pace import busy
from tests.simulation.process import BrokenPromiseError
from tests.simulation.scenario import FAULTY_PART, QUIET_PART, READ_MOST
from tests.simulation.stage import Stage

NAMES: Final = ("alice", "bob", "carol")
THREE_SHARE: Final = 0.4
"""How many of the runs have three members; the others have two."""
BY_FOLDER_SHARE: Final = 0.3
"""How many peer at first by a folder of bundles; the others by codes."""
INTRODUCED_S: Final = 15.0
"""How long that takes at most."""
STRANGER: Final = "home.mallory"
"""Whose subfolder holds the bundle of another."""
PEER_TRIES: Final = 20
ABROAD_LEAST: Final = 20
"""Operations at a peer that a run of ten minutes has acknowledged at least."""


class Federation(Stage):
    """A run of two or three members."""

    def __init__(self, seed: int, minutes: float) -> None:
        """Prepare; nothing happens before :meth:`run`."""
        super().__init__(seed, minutes, busy(minutes))
        chance = random.Random(f"{seed} federation")
        count = 3 if chance.random() < THREE_SHARE else 2
        self._introductions = Folder() if chance.random() < BY_FOLDER_SHARE else None
        self.houses = [Household(self, name, self._introductions) for name in NAMES[:count]]
        for house in self.houses:
            house.neighbours = [other for other in self.houses if other is not house]
        self.operators = Operators(self.houses, random.Random(f"{seed} operators"))
        self.judge = NeighbourJudge(self.houses, self.around.network)

    def members(self) -> Sequence[Member]:
        """Return all of them."""
        return [house.member for house in self.houses]

    async def _main(self) -> None:
        await self._found()
        houses = self.houses
        judges = [Judge(house) for house in houses]
        troubles = Troubles(houses, self.operators, self.around.network, self.trace, self.seed)
        watches = [self.loop.create_task(house.keep_running()) for house in houses]
        watches.append(self.loop.create_task(self.judge.watch()))
        for house in houses:
            for person in house.people:
                person.start()
        operating = self.loop.create_task(self.operators.run())
        await troubles.run(self.loop.now_s + self.minutes * 60 * FAULTY_PART)
        self.operators.stopping = True
        await operating
        await self._put_in_order()
        await self._peer_all()
        await self._welcome_all()
        await self.judge.agree()
        await asyncio.sleep(self.minutes * 60 * QUIET_PART)
        await self._rest()
        for judge in judges:
            await judge.settle()
        for judge in judges:
            await judge.read_everything()
        enough = ABROAD_LEAST * min(1.0, self.minutes / 10)
        for _ in range(READ_MOST):
            for house in houses:
                await self._visit_all(house)
            if self.trace.counts["acknowledged at a peer"] >= enough:
                break
        for judge in judges:
            judge.check_noticed()
            judge.check_defects()
        await self.judge.agree()
        for watch in watches:
            watch.cancel()
        await asyncio.sleep(max(0.0, self.minutes * 60 - self.loop.now_s))

    async def _put_in_order(self) -> None:
        """End every fault, and do what operators do then."""
        for house in self.houses:
            await house.faults.stop()
        for house in self.houses:
            for person in house.people:
                person.start()
        for house in self.houses:
            await self.operators.finish_rotation(house)
            await house.faults.put_in_order()

    async def _found(self) -> None:
        for house in self.houses:
            await house.found()
        for house in self.houses:
            for person in house.residents:
                for other in house.neighbours:
                    person.visit(other)
        self.operators.granting.expect()
        if self._introductions is None:
            await self._peer_by_code()
        else:
            await self._peer_by_folder(self._introductions)
        for house in self.houses:
            for other in house.neighbours:
                await self.operators.granting.welcome(house, other)

    async def _peer_by_code(self) -> None:
        for house, other in self._pairs():
            if not await self.operators.peer(house, other):
                raise BrokenPromiseError(f"{house.domain} and {other.domain} cannot peer")

    async def _peer_by_folder(self, folder: Folder) -> None:
        """Wait until each has taken up all others of the folder, and nobody else that is told of there."""
        pending = [
            house.ledger.begin({peer_key(other.domain): PEER})
            for house in self.houses
            for other in house.neighbours
        ]
        _pretend(folder, self.houses[0])
        until_s = self.loop.now_s + INTRODUCED_S
        while not all(self.judge.has_all_peers(house) for house in self.houses):
            if self.loop.now_s > until_s:
                raise BrokenPromiseError("members do not peer by the introductions folder")
            await asyncio.sleep(0.5)
        for change in pending:
            change.done()
        self.trace.count("members that peered by a folder", len(self.houses))

    def _pairs(self) -> list[tuple[Household, Household]]:
        return list(itertools.combinations(self.houses, 2))

    async def _peer_all(self) -> None:
        """Have all be peers again."""
        for _ in range(PEER_TRIES):
            left = [pair for pair in self._pairs() if not are_peers(*pair) or is_estranged(*pair)]
            if not left:
                return
            for one, other in left:
                await self.operators.peer(one, other)
            await asyncio.sleep(5.0)
        raise BrokenPromiseError("members cannot peer again, in quiet")

    async def _welcome_all(self) -> None:
        """Have people of each be granted something at each other."""
        for pair in self._pairs():
            for house, other in (pair, pair[::-1]):
                await self.operators.granting.welcome(house, other)

    async def _rest(self) -> None:
        """Have everybody stop."""
        people = [person for house in self.houses for person in house.people]
        for person in people:
            person.stopped = True
        for _ in range(int(PATIENCE_S)):
            if all(person.machine.is_down() or person.idle for person in people):
                return
            await asyncio.sleep(1.0)

    async def _visit_all(self, house: Household) -> None:
        """Have each resident list and read what others grant them, and write there once."""
        for person in house.residents:
            person.machine.kill()
            process, world, links = person.machine.begin()
            await person.machine.run(process, self._visit(person, world, links))
            assert not process.errors, process.errors

    async def _visit(self, person: Resident, world: World, links: Links) -> None:
        assert person.credentials is not None
        addresses = (person.house.member.coordinator_address,)
        async with Collective.connect(
            person.credentials, addresses, world=world, links=links
        ) as home:
            for guest in person.guests:
                await Judge(guest.host).look_through(guest, Abroad(home, guest))


def _pretend(folder: Folder, house: Household) -> None:
    """Have the folder tell of a member that there is not, by the bundle of ``house``."""
    own, stranger = folder.entries[str(house.domain)], Folder()
    assert isinstance(own, Folder)
    for name, node in own.entries.items():
        stranger.change(name, node.copy())
    stranger.flush()
    folder.change(STRANGER, stranger)
    folder.flush()
