"""Many members in one process without sockets: real words, books and bundles over catalogues that are dictionaries.

What they tell is encoded and decoded as on the wire, and counted.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from collective.catalog.decisions.peers import STEP_BYTES, next_sequence, renewed, step_of
from collective.catalog.interface.peers import Peers
from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.disk_errors import DiskState
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.core.randomness import Randomness, SeededRandomness
from collective.core.units import Address
from collective.core.world import InlineThreads, World
from collective.federation.exchange.exchanging import PeerWords
from collective.federation.exchange.own_record import OwnRecord
from collective.federation.links.peer_links import EXCHANGE_S
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import PeerBook, ShownTrust, peer_of
from collective.member.trust.own_certificates import OwnCertificates
from collective.model.nodes import NodeStatus, ShownState, Standing
from collective.model.peers import Peer, PeerState
from collective.pki.bundle import open_bundle
from collective.pki.ca import CertificateAuthority
from collective.pki.revocation import RevocationSet
from collective.pki.rotation import Authorities
from collective.pki.trust import TrustStore
from collective.rpc.conversions.peering import word_from, word_message
from collective.rpc.gen.collective.v1 import peering as pb
from collective.rpc.peer_word import PeerWord
from tests.worlds import world_of

NODES: Final = 3
_BOOTSTRAPS: Final = (Address("192.0.2.1", 7444),)


class Kept:
    """Peers and the number of the own bundle, kept as a catalogue keeps them."""

    def __init__(self, chance: Randomness) -> None:
        self.peers: dict[Domain, Peer] = {}
        self.own = (b"", 0)
        self._chance = chance

    async def all(self) -> Sequence[Peer]:
        return [self.peers[domain] for domain in sorted(self.peers)]

    async def renew(self, newer: Peer) -> Peer | None:
        stored = renewed(self.peers.get(newer.domain), newer)
        if stored is not None:
            self.peers[newer.domain] = stored
        return stored

    async def granted(self) -> Mapping[Domain, int]:
        return {}

    async def names_given_out(
        self, _own: Domain, _domains: Collection[Domain]
    ) -> Mapping[Domain, Sequence[SpiffeId]]:
        return {}

    async def own_sequence(self, digest: bytes, *, echoed: int = 0) -> int:
        known, stored = self.own
        step = step_of(self._chance.token(STEP_BYTES))
        sequence = next_sequence(stored, is_same=known == digest, echoed=echoed, step=step)
        self.own = (digest, sequence)
        return sequence


@dataclass(slots=True)
class Own:
    """What a bundle tells of."""

    member: MemberId
    domain: Domain
    authorities: Authorities
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class NoTrust:
    """No certificates are judged."""

    own_trust: TrustStore

    def trust_peers(self, *_: object) -> None:
        pass


@dataclass(slots=True)
class Nodes:
    """Nodes that were seen just now."""

    clock: ManualClock
    member: str

    def shown(self) -> Sequence[NodeStatus]:
        return [
            NodeStatus(
                node=NodeId(f"{self.member}-node-{number:02}"),
                address=f"10.0.0.{number}:7443",
                capacity_bytes=1 << 42,
                used_bytes=1 << 40,
                chunk_count=250_000,
                is_healthy=True,
                state=ShownState.UP,
                last_seen_ms=int(self.clock.wall_s() * 1000),
                certificate_expires_ms=1_900_000_000_000,
                version="1.0.0",
                copies_left=0,
                standing=Standing.APPROVED,
                standing_reason="",
                is_new=False,
                quarantined_bytes=0,
                disk=DiskState.OK,
            )
            for number in range(1, NODES + 1)
        ]


@dataclass(slots=True)
class Revoked:
    present: RevocationSet


class Member:
    """One member."""

    def __init__(self, number: int, clock: ManualClock, world: World) -> None:
        name = f"member{number}"
        member, self.domain = MemberId(name), Domain(f"home.{name}")
        authority = CertificateAuthority.create(member, self.domain, world)
        self._own = Own(
            member, self.domain, Authorities.lone(authority), (Address("192.0.2.1", 7443),)
        )
        self.kept = Kept(world.randomness)
        kept = cast("Peers", self.kept)
        self._moves, self._world, self._clock = 0, world, clock
        self.bundle = OwnBundle(cast("OwnCertificates", self._own), _BOOTSTRAPS, kept, world)
        trust = TrustStore({self.domain: self._own.authorities.trusted})
        self.book = PeerBook(self.domain, kept, cast("ShownTrust", NoTrust(trust)))
        self._record = OwnRecord(Nodes(clock, name), Revoked(RevocationSet()), clock)
        self.words = PeerWords(self.bundle, self._record, self.book, clock)
        self.peers: set[int] = set()

    def move(self) -> None:
        """Be elsewhere from now on, and elsewhere again with each move."""
        self._moves += 1
        self._own.addresses = (Address("192.0.2.77", 7443 + self._moves),)

    def put_back(self, own: tuple[bytes, int]) -> None:
        """Start anew with what ``kept.own`` was in a backup."""
        self.kept.own = own
        self.bundle = OwnBundle(
            cast("OwnCertificates", self._own), _BOOTSTRAPS, cast("Peers", self.kept), self._world
        )
        self.words = PeerWords(self.bundle, self._record, self.book, self._clock)

    def has(self, domain: Domain) -> int:
        """Return the number of the bundle that it has of a peer."""
        return self.book.all[domain].peer.sequence


class Members:
    """All of them, and the bytes that each sent and received."""

    def __init__(self, count: int, peers: int, seed: int) -> None:
        self._clock = ManualClock()
        world = world_of(self._clock, SeededRandomness(seed), threads=InlineThreads())
        self._chance = random.Random(seed)
        self.all = [Member(number, self._clock, world) for number in range(count)]
        self.bytes = [0] * count
        self._sizes: dict[tuple[object, ...], int] = {}
        self.up = set(range(count))
        self._choose_peers(peers)

    def _choose_peers(self, peers: int) -> None:
        count = len(self.all)
        for number, member in enumerate(self.all):
            others = [other for other in range(count) if other != number]
            for other in self._chance.sample(others, min(count - 1, peers)):
                there = self.all[other].peers
                if max(len(member.peers - {other}), len(there - {number})) < limits.PEERS_MAX:
                    member.peers.add(other)
                    there.add(number)

    async def meet(self) -> None:
        """Let each have the bundles of its peers, as after a peering."""
        told = []
        for member in self.all:
            signed, _ = await member.bundle.current()
            peer = peer_of(signed, open_bundle(signed), PeerState.ACTIVE)
            told.append(peer)
        for member in self.all:
            for other in member.peers:
                member.kept.peers[told[other].domain] = told[other]
            await member.book.load()

    async def round(self) -> None:
        """Let everybody that is up exchange with each peer that is."""
        self._clock.advance(EXCHANGE_S)
        pairs = [
            (one, other)
            for one in sorted(self.up)
            for other in sorted(self.all[one].peers & self.up)
        ]
        self._chance.shuffle(pairs)
        for one, other in pairs:
            await self._exchange(one, other)

    async def _exchange(self, one: int, other: int) -> None:
        here, there = self.all[one], self.all[other]
        asked = self._carried(await here.words.to(there.domain), one, other)
        await there.words.take(here.domain, asked)
        answer = self._carried(await there.words.to(here.domain), one, other)
        await here.words.take(there.domain, answer)

    def _carried(self, word: PeerWord, one: int, other: int) -> PeerWord:
        if word.bundle is None and word.record is None and word.known is None and not word.news:
            size = self._size_of_idle(word)  # such words repeat, by the hundred thousand
        else:
            encoded = bytes(word_message(word))
            size, word = len(encoded), word_from(pb.PeerWord.parse(encoded))
        self.bytes[one] += size
        self.bytes[other] += size
        return word

    def _size_of_idle(self, word: PeerWord) -> int:
        key = (
            word.newest_of_yours,
            word.record_of_yours,
            word.known_of_yours,
            word.record_digest,
            word.known_digest,
            word.granted_to_you,
        )
        size = self._sizes.get(key)
        if size is None:
            size = self._sizes[key] = len(bytes(word_message(word)))
        return size

    async def minute(self, rounds: int) -> tuple[float, float]:
        """Return the bytes of so many rounds, of a member that is up, and of it with one such peer."""
        self.bytes = [0] * len(self.all)
        for _ in range(rounds):
            await self.round()
        return self.spent()

    def spent(self) -> tuple[float, float]:
        """Return the bytes since they were set to none, as :meth:`minute` does."""
        total = sum(self.bytes[one] for one in self.up)
        links = sum(len(self.all[one].peers & self.up) for one in self.up)
        return total / len(self.up), total / max(1, links)

    def heard_through(self, moved: int) -> set[int]:
        """Return the peers of ``moved`` that know of its move, or can hear of it from those that do."""
        near = self.all[moved].peers & self.up
        newest = max(self.all[one].has(self.all[moved].domain) for one in near)
        found = {one for one in near if self.all[one].has(self.all[moved].domain) == newest}
        edge = set(found)
        while edge:
            edge = {other for one in edge for other in self.all[one].peers & near} - found
            found |= edge
        return found
