"""People of several houses: each uses the own member, and others through it, by the grants there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from collective.client.collective import Collective
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    InternalError,
    PermissionDeniedError,
)
from collective.core.ids import SpiffeId
from collective.model.rights import Right
from tests.simulation.clients import Home, Own, Person, Rights
from tests.simulation.houses.abroad import Abroad, Crossing, ElsewhereError
from tests.simulation.houses.ledger import PEER, Watching, peer_key
from tests.simulation.model import content
from tests.simulation.process import BrokenPromiseError

if TYPE_CHECKING:
    from collective.pki.credentials import Credentials
    from tests.simulation.houses.household import Household
    from tests.simulation.machine import Machine

ABROAD: Final = 0.55
"""Of what residents do, so much is at other houses."""
COPIES: Final = 0.12
"""And so much copies, from wherever they may read to wherever they may write."""
LOCAL_S: Final = 1.0
"""Within so many simulated seconds a call of a calm house is answered, whatever its peers do."""
CLERK_ACTS: Final = (0, 0, 0, 0, 1, 1, 1, 2, 3, 4, 5)
"""Which acts a clerk does how often: most about the root and the status, where peers are shown."""
CLERK_S: Final = 4.0
"""How soon, on average, a clerk calls again."""


class Resident(Person):
    """One person of one house, and a guest at each other."""

    def __init__(
        self, name: str, house: Household, credentials: Credentials, rights: Rights
    ) -> None:
        """Be at home in ``house``."""
        super().__init__(name, house.desk, credentials, rights)
        self.house = house
        self.who = SpiffeId.parse(str(credentials.certified.identity))
        self.guests: list[Guest] = []

    def visit(self, host: Household) -> None:
        """Be a guest at ``host`` from now on."""
        guest = Guest(self, host)
        self.guests.append(guest)
        host.guests.append(guest)

    async def act(self, home: Collective) -> None:
        """Do one thing, at home or elsewhere."""
        chosen = self.chance.random()
        if self.house.waits_for_all:
            await self._stat(Own(home))
        elif self.guests and chosen < ABROAD:
            guest = self.chance.choice(self.guests)
            await guest.use(Abroad(home, guest))
        elif self.guests and chosen < ABROAD + COPIES:
            await self.within_patience(self.copy(home), "copy")
        else:
            await super().act(home)

    async def copy(self, home: Collective) -> None:
        """Copy a file whose content is certain, within a house or between two."""
        places: list[Person] = [self, *self.guests]
        source, target = self.chance.choice(places), self.chance.choice(places)
        path = source._existing(source.rights.read) if source.rights.read else None
        if path is None or not target.rights.write:
            return
        goal, files = target._path(target.rights.write), source.desk.files
        value = files.certain(path)
        taken = path in source.desk.busy or goal in target.desk.busy
        if value is None or taken or not files.is_quiet(path) or (source, path) == (target, goal):
            return
        process = self.machine.process
        assert process is not None

        def leave() -> None:
            source.desk.busy.pop(path, None)

        source.desk.busy[path] = None
        process.on_death.append(leave)
        lost = files.may_be_lost(path) and source.desk is target.desk
        try:
            work = self._crossing(home, source, path, target, goal)
            if await target._change({goal: value}, work, "copy") is None and lost:
                target.desk.files.give_up([goal])
        finally:
            process.on_death.remove(leave)
            leave()

    async def _crossing(
        self, home: Collective, source: Person, path: str, target: Person, goal: str
    ) -> None:
        crossings = [
            Crossing(place, [(f"/{name.split('/')[1]}", need)])
            for place, name, need in ((source, path, Right.READ), (target, goal, Right.WRITE))
            if isinstance(place, Guest)
        ]
        try:
            await home.copy(_root(source) + path, _root(target) + goal)
        except (ConflictError, InternalError):
            raise
        except CollectiveError as error:
            if isinstance(error, PermissionDeniedError):
                if all(crossing.is_allowed() for crossing in crossings):
                    raise BrokenPromiseError(f"a copy is refused: {error.message}") from error
                if any(crossing.is_forbidden() for crossing in crossings):
                    self.desk.member.trace.count("refused at a peer")
            raise ElsewhereError(error.message) from error
        finally:
            for crossing in crossings:
                crossing.end()
        for crossing in crossings:
            crossing.served()
        self.desk.member.trace.count("copied across houses" if crossings else "copied at home")


class Guest(Person):
    """One person at a house that is not the own."""

    def __init__(self, resident: Resident, host: Household) -> None:
        """Be ``resident`` at ``host``."""
        name = f"{resident.name}@{host.member.prefix.rstrip('-')}"
        super().__init__(name, host.desk, resident.credentials, resident.rights)
        self.resident = resident
        self.host = host
        self.who = resident.who

    @property
    def machine(self) -> Machine:
        """Where this person works."""
        return self.resident.machine

    def start(self) -> None:
        """Begin to use the own member again, and so this one."""
        self.resident.start()

    @property
    def rights(self) -> Rights:
        """What the owner certainly grants now."""
        ledger, tops = self.host.ledger, self.host.tops
        found = {top: ledger.certain(self.who, top) for top in tops}
        if not self.resident.house.ledger.is_peer(self.host.domain):
            found.clear()
        return Rights(
            frozenset(top for top, right in found.items() if Right.READ in right),
            frozenset(top for top, right in found.items() if Right.WRITE in right),
        )

    def count(self, what: str) -> None:
        """Count something for the report."""
        self.desk.member.trace.count(what)

    async def use(self, home: Home) -> None:
        """Do one thing at the host."""
        if self.rights.read:
            await super().use(home)
        else:
            await self._trespass(home)

    def _is_without_effect(self, error: CollectiveError, what: str) -> bool:
        # a removal is one call, and never repeated
        is_refused = what == "remove" and isinstance(error, ElsewhereError)
        return is_refused or super()._is_without_effect(error, what)

    async def _trespass(self, home: Home) -> None:
        """Try what no grant of the owner's allows, at what is there and what is not.

        It may be granted while the call is under way, and then it may be served.
        """
        ledger, chance = self.host.ledger, self.chance
        tops = [top for top in self.host.tops if not ledger.possible(self.who, top)]
        acts, wanted = ["read", "stat", "remove", "write"], Right.READ | Right.WRITE | Right.SHARE
        if not tops:  # reading is allowed everywhere
            acts, wanted = ["remove", "write"], Right.WRITE
            tops = [top for top in self.host.tops if wanted not in ledger.possible(self.who, top)]
        if not tops:
            return
        path = self._existing(frozenset(tops)) or self._path(frozenset(tops))
        top = f"/{path.split('/')[1]}"
        if chance.random() < 0.3:
            path = f"{top}/none"
        watching = Watching(ledger, self.who)
        try:
            is_served = await self._does(home, chance.choice(acts), path)
        finally:
            watching.close()
        if is_served and not watching.possible(top) & wanted:
            raise BrokenPromiseError(f"{self.name} was served {path}, which no grant allows")

    async def _does(self, home: Home, act: str, path: str) -> bool:
        """Do one thing; return whether it was served."""
        if act == "write":
            path, value = f"/{path.split('/')[1]}/trespass", self.desk.fresh()
            if path in self.desk.busy:
                return False
            work: Awaitable[Any] = home.write(path, content(value))
            return await self._change({path: value}, work, "write") is None
        if act == "remove":
            if path in self.desk.busy or not self.desk.files.is_quiet(path):
                return False
            return await self._change({path: None}, home.remove(path), "remove") is None
        try:
            await (home.read(path) if act == "read" else home.stat(path))
        except CollectiveError as error:
            self._note(f"trespass at {path}: {error.code} {error.message}")
            return False
        return True


class Sharer(Person):
    """Passes on at times what the operator gave for that: what this person may do changes."""

    async def _trespass(self, home: Home) -> None:
        await self._read(home)


class Clerk(Resident):
    """Stays at home and takes the time: what a house does for its own people waits for no peer."""

    def pause_s(self) -> float:
        """Return how long a clerk rests, whatever others do."""
        return CLERK_S

    async def act(self, home: Collective) -> None:
        """Do one thing; BrokenPromiseError if it takes too long while the house is calm."""
        own = Own(home)
        acts: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: self._root(home),
            lambda: self._status(home),
            lambda: self._list(own),
            lambda: self._stat(own),
            lambda: self._read(own),
            lambda: self._write(own),
        )
        loop, house = self.house.loop, self.house
        number, began_s = self.chance.choice(CLERK_ACTS), loop.now_s
        await self.within_patience(acts[number](), f"act {number}")
        took_s = loop.now_s - began_s
        if house.is_calm_since(began_s):
            self.desk.member.trace.count("local calls timed")
            if took_s > LOCAL_S:
                raise BrokenPromiseError(
                    f"a local call of {self.name} (number {number}) took {took_s:.3f} s in a calm house"
                )

    async def _root(self, home: Collective) -> None:
        """List the root: each peer stands there, and nobody else."""
        await self._shown("the root", lambda: _domains_in_root(home))

    async def _status(self, home: Collective) -> None:
        """Ask for the status: each peer stands there, and nobody else."""

        async def domains() -> set[str]:
            return {peer.domain for peer in (await home.status()).peers}

        await self._shown("the status", domains)

    async def _shown(self, what: str, ask: Callable[[], Awaitable[set[str]]]) -> None:
        ledger, others = self.house.ledger, self.house.neighbours
        watches = {str(one.domain): ledger.register.watch(peer_key(one.domain)) for one in others}
        try:
            shown = await ask()
        except CollectiveError as error:
            self._note(f"{what}: {error.code}")
            return
        finally:
            for watch in watches.values():
                ledger.register.unseen(watch)
        wrong = {
            domain
            for domain, watch in watches.items()
            if (PEER if domain in shown else None) not in watch.values
        }
        if wrong or shown - watches.keys():
            raise BrokenPromiseError(f"{what} of {self.house.domain} shows {shown} as peers")


async def _domains_in_root(home: Collective) -> set[str]:
    listed: AsyncIterator[Any] = home.list("/")
    names = {entry.path.names[0] async for entry in listed if not entry.path.is_root}
    return {name[1:] for name in names if name.startswith("@")}


def _root(place: Person) -> str:
    """Return what paths of a place begin with."""
    return f"/@{place.host.domain}" if isinstance(place, Guest) else ""
