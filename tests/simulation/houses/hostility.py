"""A coordinator that a peer's operator has turned against others: what it tells and what it asks is made up.

What it tells in exchanges is replaced where it leaves its process (:class:`PeerLies`).  What it asks comes
from a program of its own that has the coordinator's certificate (:class:`Forger`): calls in the name of
people for whom it may not speak, and calls that no peer may make.  Whoever is told and asked so must refuse
it, and go on as before.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from collective.core.errors import CollectiveError, NotFoundError
from collective.core.ids import SpiffeId
from collective.pki.bundle import body_of
from collective.rpc.gen.collective.v1 import files as files_pb
from collective.rpc.gen.collective.v1 import peering as peering_pb
from collective.rpc.gen.collective.v1 import people as people_pb
from collective.rpc.headers import PRINCIPAL_KEY
from collective.rpc.links import Channel
from collective.rpc.tls.unverified_gate import UnverifiedGate
from tests.simulation.liar import Lies
from tests.simulation.process import BrokenPromiseError

if TYPE_CHECKING:
    from tests.simulation.houses.household import Household

HUGE: Final = 1 << 62
"""A number of a bundle that nobody ever has."""
CALL_S: Final = 5.0


class PeerLies(Lies):
    """What a coordinator tells its peers instead of the truth."""

    def __init__(self, house: Household, chance: random.Random) -> None:
        """Lie as the coordinator of ``house``."""
        super().__init__("words", chance, [])
        self._house = house

    def told(self, message: Any) -> Any:
        """Return what is sent in the place of ``message``."""
        if not isinstance(message, peering_pb.PeerWord):
            return message
        ledgers = [one.ledger.own for one in (self._house, *self._house.neighbours)]
        chance = self.chance
        word = peering_pb.PeerWord.parse(bytes(message))
        word.newest_of_yours = chance.choice((0, HUGE, word.newest_of_yours))
        word.record = peering_pb.MemberRecord(revoked=self._revoked())
        word.record_digest = chance.randbytes(8)
        members = [peering_pb.KnownMember(domain=str(one), sequence=HUGE) for one in ledgers]
        word.known = peering_pb.KnownMembers(members=members)
        word.known_digest = chance.randbytes(8)
        word.news = [*word.news, *self._news()][:8]
        word.granted_to_you = chance.randrange(1 << 20)
        return word

    def _revoked(self) -> list[str]:
        """Return people, coordinators and nodes of others, who are not this member's to revoke."""
        found = []
        for other in self._house.neighbours:
            found += [person.identity for person in other.people if person.credentials is not None]
            found.append(str(other.coordinator))
            found += [f"spiffe://{other.domain}/node/{name}" for name in other.nodes]
        return found

    def _news(self) -> list[peering_pb.SignedBundle]:
        """Return bundles of others that say more than these have signed: that they are found here."""
        wired = self._house.wired()
        if wired is None or wired.ground.federation.bundle._signed is None:
            return []
        own, found = wired.ground.federation.bundle._signed, []
        for known in wired.ground.federation.book.active():
            moved = replace(
                known.bundle,
                sequence=known.bundle.sequence + self.chance.randrange(1, 9),
                addresses=(self._house.member.coordinator_address,),
            )
            signature = self.chance.choice((known.peer.signature, own.signature))
            found.append(peering_pb.SignedBundle(body=body_of(moved), signature=signature))
        return found


@dataclass(frozen=True, slots=True)
class Forgery:
    """One call that must be refused."""

    what: str
    principal: str
    """In whose name it is made; empty for nobody's."""
    path: str


class Forger:
    """Calls at one house as the coordinator of another."""

    def __init__(self, house: Household, victim: Household, chance: random.Random) -> None:
        """Call at ``victim`` as ``house``."""
        self._house = house
        self._victim = victim
        self._chance = chance

    def forgeries(self) -> list[Forgery]:
        """Return calls for those that the peer does not vouch for, and what no peer may ask."""
        house, victim = self._house, self._victim
        third = [one for one in victim.neighbours if one is not house]
        names = [str(victim.coordinator), str(house.coordinator), "", "spiffe://", "nobody"]
        names += [str(one.coordinator) for one in third]
        calls = [(name, self._path(victim.tops)) for name in names]
        calls += [
            (person.identity, self._path(person.rights.read & person.rights.write))
            for person in victim.residents
        ]
        for one in third:
            for person in one.residents:  # where they may do something, if anywhere
                tops = [top for top in victim.tops if victim.ledger.certain(person.who, top)]
                calls.append((person.identity, self._path(tops or victim.tops)))
        found = [Forgery(what, *call) for call in calls for what in ("stat", "remove")]
        own = self._chance.choice(house.residents).identity
        return found + [Forgery(what, own, "") for what in ("invite", "peers", "remove peer")]

    def _path(self, tops: Iterable[str]) -> str:
        """Return a file in one of these datastores, else one of them itself."""
        files, wanted = self._victim.files, sorted(tops)
        there = [
            path
            for path in files.paths()
            if f"/{path.split('/')[1]}" in wanted and files.certain(path) is not None
        ]
        return self._chance.choice(there or wanted)

    async def forge(self) -> int:
        """Make each call; return how many were refused.  BrokenPromiseError where one is served.

        One that comes to nothing before anybody judged it counts as none.
        """
        machine = self._house.member.machine(f"{self._house.prefix}forger")
        if machine.alive or not self._house.member.machines[self._house.member.coordinator].alive:
            return 0
        process, world, links = machine.begin()
        credentials = self._house.member.operator_credentials(world)

        async def work() -> int:
            channel = links.channel(
                (self._victim.member.coordinator_address,),
                credentials=credentials,
                gate=UnverifiedGate(),
                expect=SpiffeId.coordinator(self._victim.domain),
            )
            async with channel:
                return sum([await self._try(channel, one) for one in self.forgeries()])

        try:
            return int(await machine.run(process, work()))
        finally:
            machine.kill()

    async def _try(self, channel: Channel, forgery: Forgery) -> bool:
        try:
            await _made(channel, forgery)
        except CollectiveError as error:
            if isinstance(error, NotFoundError):
                raise BrokenPromiseError(self._told(forgery, "answered with absence")) from error
            return error.code == "permission_denied"
        raise BrokenPromiseError(self._told(forgery, "served"))

    def _told(self, forgery: Forgery, how: str) -> str:
        return (
            f"{self._victim.domain} {how} a call ({forgery.what}) that {self._house.domain} made for"
            f" {forgery.principal or 'nobody'}"
        )


async def _made(channel: Channel, forgery: Forgery) -> None:
    metadata = {PRINCIPAL_KEY: forgery.principal} if forgery.principal else {}
    told: dict[str, Any] = {"timeout": CALL_S, "metadata": metadata}
    files, people = channel.stub(files_pb.FilesStub), channel.stub(people_pb.PeopleStub)
    peers = channel.stub(peering_pb.PeersStub)
    if forgery.what == "stat":
        await files.stat(files_pb.StatRequest(path=forgery.path), **told)
    elif forgery.what == "remove":
        await files.remove(files_pb.RemoveRequest(path=forgery.path), **told)
    elif forgery.what == "invite":
        await people.generate_invite(people_pb.GenerateInviteRequest(), **told)
    elif forgery.what == "peers":
        await peers.list_peers(peering_pb.ListPeersRequest(), **told)
    else:
        await peers.remove_peer(peering_pb.RemovePeerRequest(domain="home.nobody"), **told)
