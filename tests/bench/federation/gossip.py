"""How news of members spreads, and what that costs, for 3 to 500 members in one process without sockets.

Each member has the real words, book and bundle; only its catalogue is a dictionary that decides as the
real one does.  Each peers with some others that a seed chose.  A round is EXCHANGE_S: each member that is
up exchanges with each of its peers that is, in an order by the seed, and what they tell is encoded and
decoded as on the wire.  Bytes are those of the words; what carries them is measured in ``idle``.

Two things happen: a member changes its address while a third of the others are down; and when these come
back, the member itself is gone, so that they can hear of it only through a peer that both have.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from collective.catalog.decisions.peers import next_sequence, renewed
from collective.catalog.interface.peers import Peers
from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.ids import Domain, MemberId, NodeId
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.core.world import InlineThreads, World
from collective.federation.links.peer_links import EXCHANGE_S
from collective.federation.membership.own_record import OwnRecord
from collective.federation.membership.words import PeerWords
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import PeerBook, ShownTrust, peer_of
from collective.member.trust.own_certificates import OwnCertificates
from collective.model.nodes import NodeStatus
from collective.model.peers import Peer, PeerState
from collective.pki.bundle import open_bundle
from collective.pki.ca import CertificateAuthority
from collective.pki.revocation import RevocationSet
from collective.pki.rotation import Authorities
from collective.rpc.conversions.peering import word_from, word_message
from collective.rpc.gen.collective.v1 import peering as pb
from collective.rpc.peer_word import PeerWord
from tests.bench.report import Row
from tests.worlds import world_of

SIZES: Final = (3, 10, 30, 100, 300, 500)
QUICK_SIZES: Final = (3, 10, 30)
PEERS: Final = 8
"""Others that each member chooses; with those that choose it, most have about twice as many."""
MORE_PEERS: Final = (4, 8, 16, 32)
QUICK_MORE_PEERS: Final = (4, 8)
MINUTE_ROUNDS: Final = round(60 / EXCHANGE_S)
NODES: Final = 3
ROUNDS_MAX: Final = 60
LINEAR: Final = 1.25
"""What a peer costs may be so many times what it costs where there are fewest."""
HEARD_ROUNDS: Final = 1
"""A member that moved calls its peers itself."""
_SEED: Final = 5


@dataclass(frozen=True, slots=True)
class Gossip:
    """What happened among so many members."""

    members: int
    peers: float
    """Of one, on average."""
    rounds: int
    """Until each peer that was up knew where the moved member is; ROUNDS_MAX + 1: not within that."""
    rounds_through_others: int
    """Until each that came back and could hear of it through others did; 0: there was none."""
    steady_bytes: float
    """Of a member in a minute, sent and received."""
    change_bytes: float
    """The same, in the minute of the change, for those that are up."""
    steady_peer_bytes: float
    """Of a member in a minute with one peer that is up."""
    change_peer_bytes: float


class _Kept:
    """Peers and the number of the own bundle, kept as a catalogue keeps them."""

    def __init__(self) -> None:
        self.peers: dict[Domain, Peer] = {}
        self._own = (b"", 0)

    async def all(self) -> Sequence[Peer]:
        return [self.peers[domain] for domain in sorted(self.peers)]

    async def renew(self, newer: Peer) -> Peer | None:
        stored = renewed(self.peers.get(newer.domain), newer)
        if stored is not None:
            self.peers[newer.domain] = stored
        return stored

    async def own_sequence(self, digest: bytes, *, echoed: int = 0) -> int:
        known, stored = self._own
        sequence = next_sequence(stored, is_same=known == digest, echoed=echoed)
        self._own = (digest, sequence)
        return sequence


@dataclass(slots=True)
class _Own:
    """What a bundle tells of."""

    member: MemberId
    domain: Domain
    authorities: Authorities
    addresses: tuple[Address, ...]


class _NoTrust:
    """No certificates are judged."""

    def trust_peers(self, *_: object) -> None:
        pass


@dataclass(slots=True)
class _Nodes:
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
                state="up",
                last_seen_ms=int(self.clock.wall_s() * 1000),
                certificate_expires_ms=1_900_000_000_000,
                version="1.0.0",
                copies_left=0,
                standing="approved",
                standing_reason="",
                is_new=False,
                quarantined_bytes=0,
                disk="ok",
            )
            for number in range(1, NODES + 1)
        ]


@dataclass(slots=True)
class _Revoked:
    present: RevocationSet


class _Member:
    """One member."""

    def __init__(self, number: int, clock: ManualClock, world: World) -> None:
        name = f"member{number}"
        member, self.domain = MemberId(name), Domain(f"home.{name}")
        authority = CertificateAuthority.create(member, self.domain, world)
        self._own = _Own(
            member, self.domain, Authorities.lone(authority), (Address("192.0.2.1", 7443),)
        )
        self.kept = _Kept()
        kept = cast("Peers", self.kept)
        bootstraps = (Address("192.0.2.1", 7444),)
        self.bundle = OwnBundle(cast("OwnCertificates", self._own), bootstraps, kept, world)
        self.book = PeerBook(self.domain, kept, cast("ShownTrust", _NoTrust()))
        record = OwnRecord(_Nodes(clock, name), _Revoked(RevocationSet()), clock)
        self.words = PeerWords(self.bundle, record, self.book, clock)
        self.peers: set[int] = set()

    def move(self) -> None:
        """Be elsewhere from now on."""
        self._own.addresses = (Address("192.0.2.77", 7443),)

    def has(self, domain: Domain) -> int:
        """Return the number of the bundle that it has of a peer."""
        return self.book.all[domain].peer.sequence


class _Members:
    """All of them, and the bytes that each sent and received."""

    def __init__(self, count: int, peers: int, seed: int) -> None:
        self._clock = ManualClock()
        world = world_of(self._clock, SeededRandomness(seed), threads=InlineThreads())
        self._chance = random.Random(seed)
        self.all = [_Member(number, self._clock, world) for number in range(count)]
        self.bytes = [0] * count
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
        encoded = bytes(word_message(word))
        self.bytes[one] += len(encoded)
        self.bytes[other] += len(encoded)
        return word_from(pb.PeerWord.parse(encoded))

    async def minute(self) -> tuple[float, float]:
        """Return the bytes of a minute, of a member that is up, and of it with one such peer."""
        self.bytes = [0] * len(self.all)
        for _ in range(MINUTE_ROUNDS):
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


async def _simulate(count: int, peers: int) -> Gossip:
    members = _Members(count, peers, _SEED)
    await members.meet()
    for _ in range(3):
        await members.round()
    steady, steady_peer = await members.minute()
    moved = 0
    mover = members.all[moved]
    down = set(random.Random(_SEED).sample(range(1, count), count // 3))
    members.up -= down
    mover.move()
    _, newest = await mover.bundle.current()

    def behind(who: set[int]) -> set[int]:
        return {one for one in who if members.all[one].has(mover.domain) < newest}

    members.bytes = [0] * count
    rounds = 0
    for number in range(1, max(ROUNDS_MAX, MINUTE_ROUNDS) + 1):
        is_behind = bool(behind(mover.peers & members.up))
        rounds += is_behind
        if not is_behind and number > MINUTE_ROUNDS:
            break
        await members.round()
        if number == MINUTE_ROUNDS:
            change, change_peer = members.spent()
    through_others = await _come_back(members, moved, down, newest)
    return Gossip(
        members=count,
        peers=sum(len(one.peers) for one in members.all) / count,
        rounds=rounds,
        rounds_through_others=through_others,
        steady_bytes=steady,
        change_bytes=change,
        steady_peer_bytes=steady_peer,
        change_peer_bytes=change_peer,
    )


async def _come_back(members: _Members, moved: int, down: set[int], newest: int) -> int:
    """Return how many rounds those that were down need to hear of the move while the mover is away."""
    members.up = set(range(len(members.all))) - {moved}
    domain = members.all[moved].domain
    waiting = members.heard_through(moved) & down
    rounds = 0
    while any(members.all[one].has(domain) < newest for one in waiting):
        rounds += 1
        if rounds > ROUNDS_MAX:
            break
        await members.round()
    return rounds


def measure_gossip(*, quick: bool) -> tuple[list[Gossip], list[Gossip]]:
    """Return what happened for each number of members, and at one size for each number of peers."""
    sizes = QUICK_SIZES if quick else SIZES
    by_size = [asyncio.run(_simulate(count, PEERS)) for count in sizes]
    more = QUICK_MORE_PEERS if quick else MORE_PEERS
    members = 30 if quick else 100
    return by_size, [asyncio.run(_simulate(members, peers)) for peers in more]


def gossip_rows(by_size: list[Gossip], by_peers: list[Gossip]) -> list[Row]:
    """Return the lines of the table."""
    rows: list[Row] = []
    for one in [*by_size, *by_peers]:
        name = f"gossip, {one.members} members with {one.peers:.1f} peers"
        rows += [
            Row(
                f"{name}: rounds until a move is known",
                f"{one.rounds}; through others {one.rounds_through_others or '-'}",
                "",
                f"<= {HEARD_ROUNDS}, <= {ROUNDS_MAX}",
                one.rounds <= HEARD_ROUNDS and one.rounds_through_others <= ROUNDS_MAX,
            ),
            Row(
                f"{name}: KB a minute, steady and at the change",
                f"{one.steady_bytes / 1e3:.1f}, {one.change_bytes / 1e3:.1f}",
                f"{one.steady_peer_bytes / 1e3:.2f}, {one.change_peer_bytes / 1e3:.2f} a peer",
                "",
                None,
            ),
        ]
    return [*rows, _linear("members", by_size), _linear("peers", by_peers)]


def _linear(of: str, found: list[Gossip]) -> Row:
    first = found[0]
    steady = max(one.steady_peer_bytes / first.steady_peer_bytes for one in found)
    change = max(one.change_peer_bytes / first.change_peer_bytes for one in found)
    return Row(
        f"gossip: bytes with one peer, to those where {of} are fewest",
        "",
        f"{steady:.2f} x, {change:.2f} x",
        f"<= {LINEAR:g} x",
        max(steady, change) <= LINEAR,
    )
