"""What goes wrong in a run of several members: between the houses, and with one of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from collective.core.units import Address
from tests.simulation.houses.hostility import Forger, PeerLies
from tests.simulation.link_faults import BY_MESSAGE, THIN, LinkFaults
from tests.simulation.link_faults import KINDS as LINK_KINDS

if TYPE_CHECKING:
    from tests.simulation.houses.household import Household
    from tests.simulation.houses.operators import Operators
    from tests.simulation.network import Network
    from tests.simulation.trace import Trace

PAUSE_S: Final = 11.0
"""Between two faults, on average."""
KINDS_LEAST: Final = 9
SILENCE_MOST_S: Final = 105.0
"""So long after a power loss connections may stand whose other end is gone."""
HOUR_S: Final = 3600.0
AHEAD_S: Final = (60.0, 300.0)
"""How far the clock of a coordinator goes ahead: what it does then waits so long afterwards."""
APART_MOST_S: Final = 330.0
"""How long a house is cut off from others that is to replace its CA meanwhile, at most."""
TRIES: Final = 5
FIRST_PORT: Final = 9000
"""From here on nobody listens: addresses that a coordinator says it has are so numbered."""
ALONE_S: Final = 200.0
"""So long after a removal that was not seen the two do not peer again: the other hears of it meanwhile."""
BETWEEN: Final = "between houses: "
"""What the kinds of faults on links between houses begin with."""
OF_A_HOUSE: Final = (
    "kill coordinator",
    "power loss at coordinator",
    "restart",
    "kill node",
    "kill client",
    "coordinator restored",
    "coordinator restored from a tar",
    "operator adopts",
)
"""Kinds that a house has where it stands alone, too."""
OWN: Final = (
    "clock off",
    "addresses changed",
    "CA rotated",
    "CA replaced unseen",
    "peer removed",
    "peer removed unseen",
    "peer lies",
    "peer forges",
)
"""Kinds that only several houses have."""
LINKS: Final = (*LINK_KINDS, THIN)
COUNTED: Final = (*(f"{BETWEEN}{kind}" for kind in LINKS), *OWN, "peered")
"""Kinds that a run counts for the sake of several houses."""
OFTEN: Final[dict[str, float]] = {
    "peer removed": 1.5,
    "CA rotated": 1.5,
    "addresses changed": 1.5,
    "peer forges": 2,
    "coordinator restored": 2.5,
    "coordinator restored from a tar": 1.5,
    f"{BETWEEN}message lost": 2,
    f"{BETWEEN}connection silent": 2,
}


class Troubles:
    """The faults of one run."""

    def __init__(
        self,
        houses: Sequence[Household],
        operators: Operators,
        network: Network,
        trace: Trace,
        seed: int,
    ) -> None:
        """Choose the kinds."""
        self._houses = houses
        self._operators = operators
        self._trace = trace
        self._chance = random.Random(f"{seed} troubles")
        self._links = LinkFaults(network, self._chance, self)
        self._machines = {name: house for house in houses for name in self._names_of(house)}
        network.where = self._where
        self._addresses = FIRST_PORT
        ways = self._links.kinds() | {THIN: self._links.thin}
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            f"{BETWEEN}{kind}": act for kind, act in ways.items()
        }
        for kind in OF_A_HOUSE:
            kinds[kind] = lambda kind=kind: self._in_a_house(kind)  # type: ignore[misc]
        own = (
            self._clock,
            self._change_addresses,
            self._rotate,
            self._replace_unseen,
            self._remove,
            self._remove_unseen,
            self._lie,
            self._forge,
        )
        kinds.update(zip(OWN, own, strict=True))
        share = self._chance.uniform(0.5, 1.0)
        chosen = [kind for kind in kinds if self._chance.random() < share]
        others = sorted(kinds.keys() - set(chosen))
        more = max(0, KINDS_LEAST - len(chosen))
        self._kinds = {kind: kinds[kind] for kind in (*chosen, *self._chance.sample(others, more))}
        self._weights = [OFTEN.get(kind, 1) for kind in self._kinds]

    def _names_of(self, house: Household) -> list[str]:
        people = [f"{house.prefix}{name}" for name in ("ann", "ben")]
        return [house.member.coordinator, *house.nodes_in_use(), *people]

    def _where(self, source: str, target: str) -> str:
        return BETWEEN if source.partition("-")[0] != target.partition("-")[0] else ""

    async def run(self, until_s: float) -> None:
        """Let things go wrong until ``until_s``."""
        loop, pace = self._houses[0].loop, self._houses[0].pace
        await asyncio.sleep(5.0)
        while loop.now_s < until_s or (
            self._count() < pace.faults_least and loop.now_s < 2 * until_s
        ):
            before = self._count()
            (kind,) = self._chance.choices(list(self._kinds), self._weights)
            self._houses[0].faults.begin(self._kinds[kind]())
            await asyncio.sleep(1.0)
            if self._count() > before or kind.removeprefix(BETWEEN) in BY_MESSAGE:
                await asyncio.sleep(self._chance.expovariate(1 / (PAUSE_S * pace.rarer)))

    def _count(self) -> int:
        return sum(n for what, n in self._trace.counts.items() if what.startswith("fault"))

    # --- the ways between houses -------------------------------------------------------------------

    def _two(self) -> tuple[Household, Household]:
        first, second = self._chance.sample(list(self._houses), 2)
        return first, second

    def ends(self) -> tuple[str, str]:
        """Return two machines of two houses: mostly the coordinators, else a person and a node."""
        first, second = self._two()
        if self._chance.random() < 0.75:
            ends = first.member.coordinator, second.member.coordinator
        else:
            person = self._chance.choice(first.residents)
            callers = (first.member.coordinator, person.name)
            ends = self._chance.choice(callers), self._chance.choice(second.nodes_in_use())
        return ends if self._chance.random() < 0.5 else (ends[1], ends[0])

    def apart(self, first: str) -> list[tuple[str, str]]:
        """Return the ways from the whole house of ``first`` to all others."""
        own = next(house for house in self._houses if first in house.member.machines)
        return [
            (source, target)
            for source in own.member.machines
            for other in self._houses
            if other is not own
            for target in other.member.machines
        ]

    def busiest(self) -> list[tuple[str, str]]:
        """Return the ways between coordinators."""
        names = [house.member.coordinator for house in self._houses]
        return [(one, other) for one in names for other in names if one != other]

    # --- one house -------------------------------------------------------------------------------

    async def _in_a_house(self, kind: str) -> None:
        house = self._chance.choice(self._houses)
        if kind.startswith("coordinator restored"):  # it waits long for the moment to begin
            await house.faults.of_kind(kind)
            return
        if kind.startswith("power"):  # nobody tells those who were connected
            house.silent_until_s = house.loop.now_s + SILENCE_MOST_S
        with house.disturbed():
            await house.faults.of_kind(kind)

    async def _clock(self) -> None:
        """Have the clock of a machine off for a while, back or forward."""
        house = self._chance.choice(self._houses)
        if house.rotates:
            return
        names = [house.member.coordinator] * 3 + house.nodes_in_use()
        name = self._chance.choice([*names, *(person.name for person in house.residents)])
        clock = house.member.machines[name].clock
        if clock.offset_s:
            return
        ahead = AHEAD_S if name == house.member.coordinator else (HOUR_S,)
        clock.offset_s = self._chance.choice((-HOUR_S, *ahead))
        self._trace.fault("clock off", f"{name} {clock.offset_s:+g} s")
        with house.disturbed():
            await asyncio.sleep(self._chance.uniform(5.0, 60.0))
            clock.offset_s = 0.0

    async def _change_addresses(self) -> None:
        """Start a coordinator anew with one more address for others, and soon once more with another."""
        house = self._chance.choice(self._houses)
        member = house.member
        for _ in range(2):
            if house.rotates or not member.machines[member.coordinator].alive:
                return
            self._addresses += 1
            ours = [member.coordinator_address, Address(member.coordinator, self._addresses)]
            self._chance.shuffle(ours)
            member.coordinator_settings = replace(
                member.coordinator_settings, advertise_addresses=tuple(ours)
            )
            self._trace.fault("addresses changed", f"{house.domain} {ours}")
            with house.disturbed():
                await member.stop(member.coordinator)
                await house.faults.down_for(member.coordinator)
            await asyncio.sleep(self._chance.uniform(2.0, 8.0))

    # --- several houses --------------------------------------------------------------------------

    async def _rotate(self) -> None:
        await self._operators.rotate(self._chance.choice(self._houses))

    async def _apart_while(
        self, house: Household, others: Sequence[Household], work: Awaitable[object]
    ) -> None:
        """Cut ``house`` off from ``others``, both ways, until ``work`` is done."""
        network = self._houses[0].member.network
        ways = [
            (source, target)
            for other in others
            for one in house.member.machines
            for two in other.member.machines
            for source, target in ((one, two), (two, one))
        ]
        for source, target in ways:
            network.link(source, target).cut = True
        try:
            async with asyncio.timeout(APART_MOST_S):
                await work
        except TimeoutError:
            pass
        finally:
            for source, target in ways:
                network.heal(source, target)

    async def _replace_unseen(self) -> None:
        """Replace a CA twice while no other house sees it: no word of it is believed there any more."""
        house = self._chance.choice(self._houses)
        if house.rotates or house.shares_folder:
            return

        async def twice() -> None:
            house.waits_for_all = True
            for person in house.people:  # what takes long is given up
                person.machine.kill()
                person.start()
            try:
                for _ in range(2):
                    await self._operators.rotate(house)
            finally:
                house.waits_for_all = False

        self._trace.fault("CA replaced unseen", str(house.domain))
        await self._apart_while(house, house.neighbours, twice())
        for other in house.neighbours:
            await self._operators.peer_if_estranged(house, other)

    async def _remove(self) -> None:
        house, other = self._two()
        if house.ledger.is_peer(other.domain):
            await self._operators.remove(house, other)

    async def _remove_unseen(self) -> None:
        """Remove a peer that is not there, and start anew before it is: the tombstone answers it."""
        house, other = self._two()
        if not house.ledger.is_peer(other.domain):
            return

        async def remove() -> None:
            self._operators.leave_alone(house, other, ALONE_S)
            for _ in range(TRIES):
                await asyncio.sleep(self._chance.uniform(2.0, 6.0))
                if await self._operators.remove(house, other):
                    break
            else:
                return
            self._trace.fault("peer removed unseen", f"{other.domain} at {house.domain}")
            self._operators.leave_alone(house, other, ALONE_S)
            await asyncio.sleep(self._chance.uniform(2.0, 6.0))
            if house.member.machines[house.member.coordinator].alive:
                with house.disturbed():
                    await house.member.stop(house.member.coordinator)
                    await house.faults.down_for(house.member.coordinator)

        await self._apart_while(house, [other], remove())

    # --- a house that is hostile -----------------------------------------------------------------

    async def _lie(self) -> None:
        """Have a coordinator tell its peers what is not so."""
        house = self._chance.choice(self._houses)
        process = house.member.machines[house.member.coordinator].process
        if process is None or not process.alive or process.lies is not None:
            return
        process.lies = PeerLies(house, random.Random(self._chance.random()))
        self._trace.fault("peer lies", str(house.domain))
        await asyncio.sleep(self._chance.uniform(5.0, 40.0))
        process.lies = None

    async def _forge(self) -> None:
        """Have a coordinator call for whom it may not speak."""
        house, victim = self._two()
        refused = await Forger(house, victim, self._chance).forge()
        if refused:
            self._trace.fault("peer forges", f"{house.domain} at {victim.domain}")
            self._trace.count("forged calls refused", refused)
