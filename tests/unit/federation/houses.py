"""Members' sides of peering over real catalogues; what goes between them goes by hand."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, cast

from cryptography import x509

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.core.world import InlineThreads, World
from collective.federation.peers.accepting import Accepting
from collective.federation.peers.inviting import Inviting
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import PeerBook
from collective.member.people.code_secrets import CodeSecrets
from collective.member.people.guess_limiter import GuessLimiter
from collective.member.people.invites import InviteIssuer
from collective.member.trust.own_certificates import OwnCertificates
from collective.model.calls import Call
from collective.model.peers import PeeringAttempt, PeerState
from collective.model.trust import Phase
from collective.pki import certificates
from collective.pki.bundle import SignedBundle
from collective.pki.ca import CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.rotation import Authorities
from collective.pki.trust import TrustStore
from collective.rpc.conversions.peering import bundle_from, bundle_message
from collective.rpc.gen.collective.v1 import bootstrap as pb
from collective.rpc.links import Links
from collective.rpc.tls.gate import ALL_ROLES
from tests.unit.pki.bundles import CLOCK as MADE
from tests.unit.pki.bundles import member_of
from tests.worlds import REAL, world_of


@dataclass
class Own:
    """What a member has of its own, which a test changes as it likes."""

    authority: CertificateAuthority
    addresses: tuple[Address, ...]

    def __post_init__(self) -> None:
        self.authorities = Authorities.lone(self.authority)

    @property
    def domain(self) -> Domain:
        return self.authority.domain

    @property
    def member(self) -> MemberId:
        return member_of(self.domain)

    def overlap(self, newest: CertificateAuthority) -> None:
        """Begin a rotation: both CAs count."""
        both = (self.authority.certificate, newest.certificate)
        link = self.authority.link(newest.certificate)
        self.authorities = Authorities(self.authority, newest, both, Phase.OVERLAP, (link,))


@dataclass
class Shown:
    """Where certificates are judged: remembers what counts."""

    own_trust: TrustStore
    trusted: Mapping[Domain, Sequence[x509.Certificate]] = field(default_factory=dict)
    shut_out: frozenset[Domain] = frozenset()

    def trust_peers(
        self, authorities: Mapping[Domain, Sequence[x509.Certificate]], shut_out: frozenset[Domain]
    ) -> None:
        self.trusted, self.shut_out = dict(authorities), shut_out

    @property
    def counting(self) -> set[Domain]:
        """Peers whose certificates are taken for what they say."""
        return set(self.trusted) - self.shut_out


@dataclass
class Bootstrap:
    """What answers a stub of the bootstrap service: a house, or something else in its place."""

    inviting: Inviting
    leaf: bytes
    served: list[str] = field(default_factory=list)
    second: SignedBundle | None = None
    """Told in the place of the bundle of before, once the secret was proved."""

    async def begin_peering(self, message: pb.BeginPeeringRequest, **_: Any) -> Any:
        self.served.append("begin")
        nonce, bundle = await self.inviting.begin(message.code_id)
        return pb.BeginPeeringResponse(nonce=nonce, bundle=bundle_message(bundle))

    async def peer(self, message: pb.PeerRequest, **_: Any) -> Any:
        self.served.append("peer")
        signed = bundle_from(message.bundle)
        digest = hashlib.sha256(self.leaf).digest()
        attempt = PeeringAttempt(
            message.code_id, message.nonce, signed.body, signed.signature, message.proof, (digest,)
        )
        bundle, peer = await self.inviting.redeem(attempt)
        return pb.PeerResponse(
            bundle=bundle_message(self.second or bundle),
            is_waiting=peer.state is PeerState.WAITING,
        )


@dataclass
class Wires:
    """Connects by address, as the gate of the caller allows."""

    at: dict[Address, Bootstrap] = field(default_factory=dict)

    def channel(self, addresses: Sequence[Address], *, gate: Any, **_: Any) -> Any:
        bootstrap = self.at[addresses[0]]

        @asynccontextmanager
        async def opened() -> AsyncIterator[None]:
            gate.verify(bootstrap.leaf, ALL_ROLES, "server")
            yield

        return _Channel(bootstrap, opened)


@dataclass
class _Channel:
    bootstrap: Bootstrap
    opened: Callable[[], Any]

    def stub(self, _: type) -> Any:
        return self.bootstrap

    async def __aenter__(self) -> Self:
        await self.opened().__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@dataclass
class House:
    """One member."""

    catalog: SqliteCatalog
    own: Own
    shown: Shown
    book: PeerBook
    bundle: OwnBundle
    inviting: Inviting
    accepting: Accepting
    bootstrap: Bootstrap
    clock: ManualClock
    world: World

    @property
    def domain(self) -> Domain:
        return self.own.domain

    @property
    def operator(self) -> Call:
        return Call.own(self.domain)

    def person(self, name: str) -> Call:
        return Call(SpiffeId.user(self.domain, GlobalId(name, self.domain)), is_operator=False)

    async def signed(self) -> SignedBundle:
        return (await self.bundle.current())[0]

    async def takes(self, other: House) -> None:
        """Peer with ``other`` without a code."""
        await self.book.accept(self.operator, await other.signed(), replaces=False)


NUMBERS: Final = {"home.alice": 1, "garage.bob": 2, "home.carol": 3}


@asynccontextmanager
async def house(
    folder: Path, authority: CertificateAuthority, wires: Wires | None = None
) -> AsyncIterator[House]:
    """Open the member of ``authority``."""
    clock = ManualClock(MADE.wall_s())
    number = NUMBERS[authority.domain]
    address, bootstrap = Address(f"10.0.0.{number}", 8001), Address(f"10.0.0.{number}", 9001)
    world = world_of(clock, SeededRandomness(number), threads=InlineThreads())
    wires = wires or Wires()
    own = Own(authority, (address,))
    shown = Shown(TrustStore({authority.domain: (authority.certificate,)}))
    catalog = await SqliteCatalog.open(str(folder / authority.domain), world, CatalogSettings())
    try:
        book = PeerBook(authority.domain, catalog.peers, shown)
        bundle = OwnBundle(cast("OwnCertificates", own), [bootstrap], catalog.peers, world)
        place = CertDir(str(folder), own.member)
        secrets = CodeSecrets(catalog.codes, clock, world.randomness, GuessLimiter(clock, _at_once))
        invites = InviteIssuer(
            cast("OwnCertificates", own), catalog.codes, [bootstrap], place, world
        )
        inviting = Inviting(catalog.identities, book, bundle, invites, secrets, clock)
        accepting = Accepting(catalog.identities, book, bundle, cast("Links", wires), clock)
        key = certificates.new_private_key(REAL.randomness).public_key()
        leaf = authority.issue(SpiffeId.coordinator(authority.domain), key, addresses=(address,))
        wires.at[bootstrap] = Bootstrap(inviting, certificates.certificate_der(leaf))
        yield House(
            catalog,
            own,
            shown,
            book,
            bundle,
            inviting,
            accepting,
            wires.at[bootstrap],
            clock,
            world,
        )
    finally:
        await catalog.close()


async def _at_once(_: float) -> None:
    return
