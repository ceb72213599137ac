"""What a coordinator has of its own, for parts that ask for it, and those that need little else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from collective.catalog.interface import Catalog
from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.core.world import World
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.people.code_secrets import CodeSecrets
from collective.member.people.guess_limiter import GuessLimiter
from collective.member.people.joining import Joining
from collective.member.people.receivers import PeerDomains
from collective.member.trust.followers import Followers
from collective.member.trust.renewals import CertificateRenewals
from collective.member.trust.revocations import Revocations
from collective.pki.ca import LEAF_LIFE_S, CertificateAuthority
from collective.pki.certificates import Certified
from collective.pki.revocation import RevocationSet
from collective.pki.rotation import Authorities
from tests.unit.member.alone import no_peers


def own_leaf(
    identity: SpiffeId, *, serial: str = "c0ffee", key_digest: bytes = b"\xc0" * 32
) -> Certified:
    return Certified(identity, serial, 0.0, 2.0**32, key_digest=key_digest)


@dataclass
class Own:
    """A certificate that a test changes as it likes."""

    identity: SpiffeId
    certified: Certified = field(init=False)

    def __post_init__(self) -> None:
        self.certified = own_leaf(self.identity)


@dataclass
class OwnAuthorities:
    """CAs that a test changes as it likes."""

    authorities: Authorities
    lifetime_s: float = LEAF_LIFE_S


def lone(authority: CertificateAuthority) -> OwnAuthorities:
    return OwnAuthorities(Authorities.lone(authority))


@dataclass
class Revoked:
    """What is revoked."""

    present: RevocationSet = field(default_factory=RevocationSet)


class Following(Followers):
    """Remembers who followed, in a rotation or not."""

    def __init__(self, own: OwnAuthorities, world: World) -> None:
        super().__init__(own, "/none", world)
        self.noted: list[SpiffeId] = []

    async def note(self, identity: SpiffeId) -> None:
        self.noted.append(identity)


def joining_over(
    own: OwnAuthorities,
    catalog: Any,
    world: World,
    *,
    followers: Followers | None = None,
    guess_limiter: GuessLimiter | None = None,
    peers: PeerDomains | None = None,
) -> Joining:
    return Joining(
        own,
        cast("Catalog", catalog),
        LiveNodes(own.authorities.signing.domain, catalog.nodes, world.clock, world.randomness),
        UnknownNodes(world.clock),
        followers or Following(own, world),
        CodeSecrets(
            cast("Catalog", catalog).codes,
            world.clock,
            world.randomness,
            guess_limiter or GuessLimiter(world.clock),
        ),
        peers or no_peers(),
        world,
    )


def renewals_over(
    own: OwnAuthorities,
    catalog: Any,
    world: World,
    *,
    followers: Followers | None = None,
    revoked: Revoked | Revocations | None = None,
) -> CertificateRenewals:
    return CertificateRenewals(
        own,
        cast("Catalog", catalog),
        cast("Revocations", revoked or Revoked()),
        followers or Following(own, world),
        world,
    )


@dataclass
class Shown:
    """What a bootstrap listener of the coordinator shows, and where that is to be found."""

    leaves: Sequence[bytes] = ()
    addresses: Sequence[Address] = ()

    def leaf_digests(self) -> Sequence[bytes]:
        return self.leaves
