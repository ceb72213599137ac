"""The ways to a member's files that this suite holds to one protocol.

Each gives a folder of the test's own, two people, and what the owner's operator does about their rights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from collective.client.collective import Collective
from collective.client.files.interface import Files
from collective.core.ids import GlobalId, SpiffeId
from collective.core.paths import FilePath
from collective.core.units import Address
from collective.model.calls import Call
from collective.model.rights import Right
from collective.pki.credentials import load_credentials
from tests.integration.cluster import Cluster
from tests.integration.federation.houses import Houses, Person
from tests.unit.member.cluster import DOMAIN
from tests.unit.member.farm import OPERATOR, Scene, scene
from tests.worlds import REAL

ALL: Final = Right.READ | Right.WRITE | Right.SHARE


class Way(ABC):
    """One way, for one test."""

    root: str
    """A folder that is there, as ann calls it, in which she may do all."""
    ann: Files
    eve: Files
    """Somebody with no right there, unless a test gives her one."""
    operator: Files
    """The owner's own, who may do all; its paths are the owner's (:meth:`at_owner`)."""

    def path(self, *names: str) -> str:
        """Return what lies in the folder, as ann and eve call it."""
        return "/".join((self.root, *names))

    @abstractmethod
    def at_owner(self, path: str) -> str:
        """Return what the owner calls a path."""

    @abstractmethod
    async def grant(self, who: str, rights: Right, path: str, *, expires_s: float = 0) -> str:
        """Give ``ann`` or ``eve`` rights; return the grant's id.  ``expires_s``: Unix seconds."""

    @abstractmethod
    async def ungrant(self, grant_id: str) -> None:
        """Take a grant back."""


class LocalWay(Way):
    """In the process of the coordinator: a real catalogue, and the engine over pretended nodes."""

    def __init__(self, here: Scene, root: str) -> None:
        self.here = here
        self.root = root
        self._who = {name: SpiffeId.user(DOMAIN, GlobalId(name, DOMAIN)) for name in ("ann", "eve")}
        self.ann, self.eve = (
            here.in_process.files(Call(who, is_operator=False)) for who in self._who.values()
        )
        self.operator = here.in_process.files(OPERATOR)

    def at_owner(self, path: str) -> str:
        return path

    async def grant(self, who: str, rights: Right, path: str, *, expires_s: float = 0) -> str:
        made = await self.here.catalog.grants.add(
            OPERATOR, FilePath.parse(path), rights, self._who[who], expires_s or None
        )
        return made.id

    async def ungrant(self, grant_id: str) -> None:
        await self.here.catalog.grants.remove(OPERATOR, grant_id)


class NetworkWay(Way):
    """Over mutual TLS to the own member, and from there to a peer where ``root`` is one's."""

    def __init__(self, ann: Collective, eve: Collective, operator: Collective, root: str) -> None:
        self.ann, self.eve = ann, eve
        self.operator = self._operator = operator
        self.root = root

    def at_owner(self, path: str) -> str:
        parsed = FilePath.parse(path)
        return str(parsed if parsed.peer_domain is None else FilePath(parsed.names[1:]))

    async def grant(self, who: str, rights: Right, path: str, *, expires_s: float = 0) -> str:
        made = await self._operator.people.add_grant(
            FilePath.parse(self.at_owner(path)),
            rights,
            f"{who}@home.alice",
            expires_ms=round(expires_s * 1000),
        )
        return made.id

    async def ungrant(self, grant_id: str) -> None:
        await self._operator.people.remove_grant(grant_id)


@asynccontextmanager
async def local_way(folder: Path, name: str) -> AsyncIterator[Way]:
    """Open a member in this process."""
    async with scene(folder) as here:
        way = LocalWay(here, f"/shared/{name}")
        await way.operator.mkdir(way.root, parents=True)
        await way.grant("ann", ALL, "/shared")
        yield way


@asynccontextmanager
async def network_way(houses: Houses, name: str, *, is_peer: bool) -> AsyncIterator[Way]:
    """Connect ann, eve and the owner's operator to members that run."""
    alice = houses["alice"]
    owner = houses["bob"] if is_peer else alice
    top = "/@home.bob/shared" if is_peer else "/shared"
    async with (
        as_person(Person(alice, "ann")) as ann,
        as_person(Person(alice, "eve")) as eve,
        as_operator(owner) as operator,
    ):
        await operator.mkdir(f"/shared/{name}")
        yield NetworkWay(ann, eve, operator, f"{top}/{name}")


@asynccontextmanager
async def as_person(person: Person) -> AsyncIterator[Collective]:
    """Connect somebody to their member."""
    credentials, addresses = person.login()
    async with Collective.connect(credentials, addresses) as made:
        yield made


@asynccontextmanager
async def as_operator(cluster: Cluster) -> AsyncIterator[Collective]:
    """Connect the operator of a member."""
    ca, certificate, key = (cluster.operator[index] for index in (3, 5, 7))
    credentials = load_credentials(certificate, key, ca, disk=REAL.disk)
    address = Address("127.0.0.1", cluster.coordinator_port)
    async with Collective.connect(credentials, [address]) as made:
        yield made


def prepare(houses: Houses) -> None:
    """Peer alice's and bob's; have ann and eve join alice's, and ann have rights at both."""
    houses.peer("alice", "bob")
    alice, bob = houses["alice"], houses["bob"]
    for cluster in (alice, bob):
        cluster.wait_heartbeats(2)  # with which nodes hear of peers
        cluster.cli("mkdir", "/shared")
        cluster.cli("mkdir", "/elsewhere")
    houses.person("alice", "ann", "/shared:read+write+share")
    houses.person("alice", "eve", "/elsewhere:read")
    bob.cli("grant", "add", "/shared:read+write+share", "ann@home.alice")
    bob.cli("grant", "add", "/elsewhere:read", "eve@home.alice")
