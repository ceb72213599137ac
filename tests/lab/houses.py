"""Members on hosts of their own that have peered, a person of each, and all that was acknowledged to them.

Each member keeps ``/shared``, where its own person and those of the others may read and write: una is of
alice's, ben of bob's, cid of carol's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from collective.client.collective import Collective
from collective.core.errors import AwayError, CollectiveError, UnreachableError
from collective.core.units import Address
from collective.pki.credentials import Credentials
from tests.integration.cluster import PATIENCE_S, Cluster, Result, run_on
from tests.integration.federation.houses import Houses, Person, running_houses
from tests.integration.processes import wait_for
from tests.lab.network import Host, Network

PEOPLE: Final = {"alice": "una", "bob": "ben", "carol": "cid"}
ONE_WAY_S: Final = 0.04
LOSS: Final = 0.01
DETECTED_S: Final = 5.0
"""A dead peer is known within so long."""
AT_ONCE_S: Final = 0.1
"""Then calls to it fail within so long."""
BACK_S: Final = 30.0
"""A peer that can be reached again is known, and its files work, within so long."""
BUSY: Final = 3.0
"""How much slower this machine may be than it should: others run beside this."""
_PAUSE_S: Final = 0.5
_READS_AT_ONCE: Final = 16
_SAMPLE: Final = 8
"""Files that are read again, or by peers, of all that are there."""
SETTINGS: Final = {"COLLECTIVE_COPIES": "1"}


class Resident(Person):
    """A person who finds the own member on their own machine, whatever its address to others is."""

    __slots__ = ()

    def cli(self, *arguments: str, stdin: bytes = b"", check: bool = True) -> Result:
        if arguments[0] not in ("identity", "invite"):
            arguments += ("--coordinator", f"127.0.0.1:{self.member.coordinator_port}")
        return super().cli(*arguments, stdin=stdin, check=check)

    def login(self) -> tuple[Credentials, Sequence[Address]]:
        credentials, _ = super().login()
        return credentials, [Address("127.0.0.1", self.member.coordinator_port)]


def advertise(member: Cluster, host: Host) -> None:
    """Have a member's processes listen everywhere, and tell others the address of their host."""
    for service in member.services.values():
        ports = {"COLLECTIVE_ADVERTISE_ADDRESS": member.node_ports.get(service.name)}
        if service is member.coordinator:
            ports["COLLECTIVE_ADVERTISE_ADDRESS"] = member.coordinator_port
            ports["COLLECTIVE_BOOTSTRAP_ADVERTISE_ADDRESS"] = member.bootstrap_port
        for name, port in ports.items():
            service.environment[name] = f"{host.address}:{port}"
            listens = name.replace("ADVERTISE_", "")
            if service is not member.coordinator:
                listens = "COLLECTIVE_NODE_ADDRESS"
            elif "BOOTSTRAP" not in name:
                listens = "COLLECTIVE_COORDINATOR_ADDRESS"
            service.environment[listens] = f"0.0.0.0:{port}"


def content_of(name: str) -> bytes:
    """Return what the file of this name holds."""
    return random.Random(name).randbytes(3000)


@dataclass(slots=True)
class Lab:
    """The members, and what they owe to their people."""

    network: Network
    houses: Houses
    people: dict[str, Resident] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)
    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    """Names of files in ``/shared``, by member."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _new: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Of those acknowledged: not read since."""

    def host(self, member: str) -> Host:
        return self.network.hosts[list(self.houses.members).index(member)]

    def others(self, member: str) -> list[str]:
        return [name for name in self.houses.members if name != member]

    def tell(self, what: str, seconds: float) -> None:
        """Keep a figure for the end of the run."""
        self.figures.append(f"{what}: {seconds:.2f} s")

    # --- writing all the time --------------------------------------------------------------------

    @contextlib.contextmanager
    def everybody_writes(self) -> Iterator[None]:
        """Have each person write small files at each member meanwhile; see :meth:`check`.

        Each has had one acknowledged at each member before the body begins, and another one after it.
        """
        done = threading.Event()
        with ThreadPoolExecutor(len(self.people)) as threads:
            writers = [_Writer(self, name, done) for name in self.people]
            futures = [threads.submit(writer.run) for writer in writers]
            try:
                self._wait_progress(writers, futures)
                yield
                self._wait_progress(writers, futures)
            finally:
                done.set()
            for future in futures:
                future.result()

    def _wait_progress(self, writers: list[_Writer], futures: list[Future[None]]) -> None:
        before = [dict(writer.counts) for writer in writers]
        until_s = time.monotonic() + PATIENCE_S
        for writer, counts, future in zip(writers, before, futures, strict=True):
            while any(writer.counts[owner] == counts[owner] for owner in counts):
                if future.done():
                    future.result()
                assert time.monotonic() < until_s, f"{writer.name}: {writer.refused}\n{self.logs()}"
                writer.advanced.wait(0.1)
                writer.advanced.clear()

    def new_name(self, writer: str) -> str:
        return f"{PEOPLE[writer]}-{next(self._numbers)}"

    def check(self) -> None:
        """Require that every member still has all that it acknowledged, and its peers see it.

        The owner's copy of each file is read to the end once after it was written, and of a sample again.
        """
        for owner, names in self.acknowledged.items():
            wanted = frozenset(names)
            old = sorted(wanted - self._new[owner])
            again = random.Random(len(wanted)).sample(old, min(len(old), _SAMPLE))
            self._require(
                self.houses[owner], "/shared", wanted, self._new[owner] & wanted | {*again}
            )
            for other in self.others(owner):
                sample = sorted(wanted)[-_SAMPLE:] + again
                self._require(self.people[other], f"/@home.{owner}/shared", wanted, {*sample})
            self._new[owner].clear()

    @staticmethod
    def _require(
        who: Cluster | Person, folder: str, listed: Collection[str], read: Collection[str]
    ) -> None:
        found = who.use(partial(_listed, folder=folder))
        assert found.issuperset(listed), set(listed) - found
        contents = who.use(partial(_contents, folder=folder, names=read))
        assert {name: content_of(name) for name in read} == contents

    def was_acknowledged(self, owner: str, name: str) -> None:
        """Note that ``owner`` has a file of this name from now on."""
        self.acknowledged[owner].add(name)
        self._new[owner].add(name)

    # --- peers that are away, and back -----------------------------------------------------------

    def wait_away(self, member: str, *, seen_by: Sequence[str] = ()) -> None:
        """Return when the others know that ``member`` is away, each within DETECTED_S."""
        began_s = time.monotonic()
        for other in seen_by or self.others(member):
            self._watch(other, member, is_healthy=False)
            took_s = time.monotonic() - began_s
            self.tell(f"{other} knows that {member} is away", took_s)
            assert took_s < DETECTED_S * BUSY

    def _watch(self, here: str, there: str, *, is_healthy: bool) -> None:
        """Return when ``here`` says so of ``there``."""

        async def work(home: Collective) -> None:
            while time.monotonic() < until_s:
                peers = {str(one.domain): one for one in (await home.status()).peers}
                if peers[f"home.{there}"].is_healthy is is_healthy:
                    return
                await asyncio.sleep(0.02)
            raise AssertionError(f"{here} says otherwise of {there}.\n{self.logs()}")

        until_s = time.monotonic() + PATIENCE_S
        self.houses[here].use(work)

    def fails_at_once(self, member: str, *, seen_by: Sequence[str] = ()) -> None:
        """Require that the others' calls to ``member`` fail quickly, and say since when it is away."""
        where = f"/@home.{member}/shared/x"
        said = rf"home\.{member} is away since \d{{4}}-"

        async def work(home: Collective) -> float:
            await home.stat("/shared")
            began_s = time.monotonic()
            for call in (
                lambda: home.stat(where),
                lambda: home.read(where),
                lambda: home.write(where, b"x"),
                lambda: home.copy(where, "/shared/copy"),
            ):
                with pytest.raises(UnreachableError, match=said):
                    await call()
            return (time.monotonic() - began_s) / 4

        for other in seen_by or self.others(member):
            took_s = self.people[other].use(work)
            self.tell(f"a call to {member}, which is away, fails at {other}", took_s)
            assert took_s < AT_ONCE_S * BUSY
            assert self.people[other].cli("stat", where, check=False).code == 5

    def works(self, here: str, there: str) -> None:
        """Require that the person of ``here`` reads and writes at ``there``."""
        name = self.new_name(here)
        path = f"/@home.{there}/shared/{name}"

        async def work(home: Collective) -> bytes:
            await home.write(path, content_of(name))
            return await home.read(path)

        assert self.people[here].use(work) == content_of(name)
        self.was_acknowledged(there, name)

    def wait_back(self, member: str) -> None:
        """Return when ``member`` and the others see each other and their files work, within BACK_S."""
        began_s = time.monotonic()
        pairs = [
            pair for other in self.others(member) for pair in ((other, member), (member, other))
        ]
        for here, there in pairs:
            self.houses.wait_peer(
                self.houses[here], f"home.{there}", lambda peer: bool(peer["is_healthy"])
            )
        for here, there in pairs:
            wait_for(partial(self._is_back, here, there), f"the files of {there} at {here}")
        took_s = time.monotonic() - began_s
        self.tell(f"{member} and its peers work again", took_s)
        assert took_s < BACK_S * BUSY

    def _is_back(self, here: str, there: str) -> bool:
        """Whether the files of ``there`` work; a peer may be seen as it was a moment ago, before it moved."""
        try:
            self.works(here, there)
        except AwayError:
            return False
        return True

    def logs(self) -> str:
        return "\n".join(member.logs() for member in self.houses.members.values())


async def _contents(home: Collective, folder: str, names: Collection[str]) -> dict[str, bytes]:
    turns = asyncio.Semaphore(_READS_AT_ONCE)
    found: dict[str, bytes] = {}

    async def read(name: str) -> None:
        async with turns:
            found[name] = await home.read(f"{folder}/{name}")

    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(read(name))
    return found


async def _listed(home: Collective, folder: str) -> set[str]:
    return {entry.path.name async for entry in home.list(folder)}


class _Writer:
    """A person who writes a file at each member in turn, over and over, and notes what is acknowledged."""

    def __init__(self, lab: Lab, member: str, done: threading.Event) -> None:
        self.name = PEOPLE[member]
        self.counts = dict.fromkeys(lab.people, 0)
        self.refused = ""
        self.advanced = threading.Event()
        self._lab = lab
        self._member = member
        self._done = done

    def run(self) -> None:
        """Write until told to stop; whatever fails is tried again under another name."""
        run_on(self._lab.host(self._member), self._all)

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for owner in self.counts:
                tasks.create_task(self._at(owner))

    async def _at(self, owner: str) -> None:
        while not self._done.is_set():
            credentials, addresses = self._lab.people[self._member].login()
            try:
                async with Collective.connect(credentials, addresses) as home:
                    while not self._done.is_set():
                        await self._write(home, owner)
            except CollectiveError as error:
                self.refused = f"at {owner}: {error}"
            await asyncio.sleep(_PAUSE_S)

    async def _write(self, home: Collective, owner: str) -> None:
        name = self._lab.new_name(self._member)
        root = "" if owner == self._member else f"/@home.{owner}"
        await home.write(f"{root}/shared/{name}", content_of(name))
        self._lab.was_acknowledged(owner, name)
        self.counts[owner] += 1
        self.advanced.set()
        await asyncio.sleep(_PAUSE_S)


@contextlib.contextmanager
def running_strangers(
    folder: Path,
    *,
    members: Sequence[str] = tuple(PEOPLE),
    code: dict[int, Path] | None = None,
    nodes: int = 1,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Lab]:
    """Yield members on hosts of their own, far from each other, that have not peered.

    ``code``: see :class:`Network`.  ``settings``: more variables for each process.
    """
    with Network(len(members), code=code) as network:
        hosts = dict(zip(members, network.hosts, strict=True))

        def prepare(member: Cluster) -> None:
            advertise(member, hosts[member.member])

        extra = {**SETTINGS, **(settings or {})}
        with running_houses(
            folder, *members, nodes=nodes, extra=extra, prepare=prepare, hosts=hosts
        ) as houses:
            network.link(one_way_s=ONE_WAY_S, loss=LOSS)
            yield Lab(network, houses)


@contextlib.contextmanager
def running_lab(folder: Path, **options: Any) -> Iterator[Lab]:
    """Yield members that have all peered, with a person of each; see :func:`running_strangers`."""
    with running_strangers(folder, **options) as lab:
        for one, other in itertools.combinations(lab.houses.members, 2):
            lab.houses.peer(one, other)
        for member in lab.houses.members:
            lab.people[member] = _settled(lab.houses, member)
            lab.acknowledged[member] = set()
        yield lab


def _settled(houses: Houses, member: str) -> Resident:
    """Make the datastore of a member, its person, and the grants of the others' people."""
    cluster = houses[member]
    cluster.cli("mkdir", "/shared")
    joined = houses.person(member, PEOPLE[member], "/shared:read+write")
    for other in houses.members:
        if other != member:
            cluster.cli("grant", "add", "/shared:read+write", f"{PEOPLE[other]}@home.{other}")
    return Resident(joined.member, joined.name)
