"""The coordinator's own certificate and CAs: made at the first start, renewed while it runs.

Renewal and a CA's replacement touch no connection: handshakes to come show the new certificate, and
what keeps connections compares theirs with the one in use.  A CA's replacement replaces the key as
well, and with it all that follows from it: the ticket root.  Nobody is told of a change: what depends
on certificate, CAs or root asks for them whenever it acts.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from collective.core.backoff import Backoff
from collective.core.ids import Domain, MemberId, SpiffeId
from collective.core.units import Address
from collective.core.work import IDLE, Outcome, Worker
from collective.core.world import World
from collective.member.metrics import MemberMetrics
from collective.model.trust import Phase
from collective.pki import rotation
from collective.pki.ca import LEAF_LIFE_S, CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.certificates import Certified, certificate_der
from collective.pki.coordinator_certificate import prepare_coordinator
from collective.pki.credentials import Credentials
from collective.pki.renewal_times import is_due, next_look_s, retries
from collective.pki.rotation import Authorities
from collective.pki.trust import TrustStore

Step = Callable[..., Authorities]
"""One of ``pki.rotation``'s begin, switch and close."""


class Issuer(Protocol):
    """The CAs that sign certificates of a member."""

    @property
    def authorities(self) -> Authorities:
        """Those of now."""
        ...

    @property
    def lifetime_s(self) -> float:
        """How long what they issue lives."""
        ...


class Shown(Protocol):
    """Where the coordinator's certificate and CAs count: handshakes, and the check of each peer."""

    def trust(self, trust: TrustStore) -> None:
        """Let other CAs count from now on; connections that count by none of them end."""
        ...

    def show(self, credentials: Credentials) -> None:
        """Show another certificate in the handshakes to come."""
        ...


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """What a coordinator's certificates are made of."""

    place: CertDir
    domain: Domain
    addresses: tuple[Address, ...]
    """Where others reach it."""
    lifetime_s: float = LEAF_LIFE_S


@dataclass(frozen=True, slots=True)
class Prepared:
    """CAs and certificate as they are on disk."""

    authorities: Authorities
    credentials: Credentials

    @property
    def trust(self) -> TrustStore:
        """The CAs that count."""
        return TrustStore({self.authorities.signing.domain: self.authorities.trusted})


async def load_authorities(plan: CertificatePlan, world: World) -> Authorities:
    """Load the CAs, or make the first; SettingsError when they are another member's."""
    return await world.threads.run(rotation.load, plan.place, plan.domain, world)


async def prepare(plan: CertificatePlan, authorities: Authorities, world: World) -> Prepared:
    """Make or load the certificate."""
    return Prepared(authorities, await world.threads.run(_credentials, plan, world))


class OwnCertificates:
    """CAs and certificate of this coordinator, on disk and in use."""

    def __init__(
        self, plan: CertificatePlan, prepared: Prepared, shown: Shown, world: World
    ) -> None:
        """Use what :func:`prepare` found; ``shown`` has it already."""
        self._plan = plan
        self._shown = shown
        self._world = world
        self.clock = world.clock
        """The time by which certificates count."""
        self._threads = world.threads
        self._authorities = prepared.authorities
        self._credentials = prepared.credentials
        self._ticket_root = root_of(prepared.credentials)
        self._rotations_ended = 0
        self._leaves: list[bytes] = [_digest(prepared.credentials)]
        self._changing = asyncio.Lock()
        self.changed = asyncio.Event()
        """Set when other CAs count; for the one worker that waits for it."""
        self._log = structlog.get_logger("coordinator.identity")

    @property
    def place(self) -> CertDir:
        """Where everything lies on disk."""
        return self._plan.place

    @property
    def domain(self) -> Domain:
        """The member's trust domain."""
        return self._plan.domain

    @property
    def member(self) -> MemberId:
        """The member."""
        return self._plan.place.member

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others reach the coordinator."""
        return self._plan.addresses

    @property
    def lifetime_s(self) -> float:
        """How long certificates live that are issued here."""
        return self._plan.lifetime_s

    @property
    def identity(self) -> SpiffeId:
        """The coordinator's."""
        return SpiffeId.coordinator(self._plan.domain)

    @property
    def authorities(self) -> Authorities:
        """The CAs of now."""
        return self._authorities

    @property
    def authority(self) -> CertificateAuthority:
        """The CA that signs servers and joins now, and that join codes pin."""
        return self._authorities.signing

    @property
    def credentials(self) -> Credentials:
        """The certificate and key in use."""
        return self._credentials

    @property
    def certified(self) -> Certified:
        """What the present certificate says."""
        return self._credentials.certified

    @property
    def ticket_root(self) -> bytes:
        """What ticket keys are derived from; the same after a restart, another with another key."""
        return self._ticket_root

    @property
    def rotations_ended(self) -> int:
        """How often since the start a former CA ceased to count, and its coordinator's key with it."""
        return self._rotations_ended

    def leaf_digests(self) -> Sequence[bytes]:
        """Return SHA-256 of the leaf shown now and of the one before it."""
        return tuple(self._leaves)

    def trusted_ders(self) -> list[bytes]:
        """Return every CA that counts (DER), the one that signs first."""
        return [certificate_der(one) for one in self._authorities.trusted]

    def link_ders(self) -> list[bytes]:
        """Return the old CA's word for the new one (DER), while a rotation is under way."""
        return [certificate_der(one) for one in self._authorities.links]

    def to_follow(self) -> bytes:
        """Return the digest of the new CA while one is being replaced, else nothing."""
        known = self._authorities
        return b"" if known.phase is Phase.NONE else known.newest.digest

    async def move(self, addresses: tuple[Address, ...], lifetime_s: float) -> None:
        """Let others find the coordinator at ``addresses``: its certificate says so from now on.

        Certificates that are issued from now on live ``lifetime_s`` seconds.  Cancellation may leave
        the new certificate on disk only; the next start or renewal takes it into use.
        """
        async with self._changing:
            self._plan = replace(self._plan, addresses=addresses, lifetime_s=lifetime_s)
            await self._renew()
        self.changed.set()

    async def renew_if_due(self) -> None:
        """Renew the certificate if it is due."""
        if is_due(self.certified, self.clock.wall_s()):
            async with self._changing:
                await self._renew()

    def next_look_s(self) -> float:
        """Return seconds until the certificate may be due."""
        return next_look_s(self.certified, self.clock.wall_s())

    async def rotate(self, step: Step) -> Authorities:
        """Take one step of a CA's replacement on disk and into use.

        Raises ConflictError when it is not the step that comes next.  Cancellation may leave the
        step on disk only; the next start takes it into use.
        """
        async with self._changing:
            authorities = await self._threads.run(
                lambda: step(self._plan.place, self._plan.domain, self._world)
            )
            self._shown.trust(Prepared(authorities, self._credentials).trust)
            await self._renew()
            # Seen by others only now: who connects anew because of it meets the new certificate,
            # without which it drops no old CA.
            self._authorities = authorities
            if authorities.phase is Phase.NONE:
                self._rotations_ended += 1
            self.changed.set()
            self._log.warning(
                "authorities_changed",
                phase=authorities.phase.value,
                signing=authorities.signing.digest.hex(),
                trusted=len(authorities.trusted),
            )
            return authorities

    async def _renew(self) -> None:
        credentials = await self._threads.run(_credentials, self._plan, self._world)
        before, self._credentials = self._credentials, credentials
        if credentials.certified.serial == before.certified.serial:
            return
        self._shown.show(credentials)
        self._leaves = [_digest(credentials), *self._leaves[:1]]
        self._ticket_root = root_of(credentials)
        self._log.info("own_certificate_renewed", serial=credentials.certified.serial)


class Freshness(Worker):
    """Renews the coordinator's own certificate when it is due."""

    name = "own certificate"

    def __init__(self, own: OwnCertificates, metrics: MemberMetrics) -> None:
        """Renew that of ``own``; ``metrics`` show the one in use."""
        self._own = own
        self._metrics = metrics

    @property
    def backoff(self) -> Backoff:
        """How long to wait after a failure: by the certificate's life."""
        return retries(self._own.certified)

    async def work(self) -> Outcome:
        """Look once."""
        await self._own.renew_if_due()
        certified = self._own.certified
        self._metrics.certificate(str(certified.identity), certified.expires_s)
        return IDLE

    async def wait(self) -> None:
        """Wait until it may be due."""
        await asyncio.sleep(self._own.next_look_s())


def root_of(credentials: Credentials) -> bytes:
    """Return a secret that follows from the private key and says nothing about it."""
    scalar = credentials.private_key.private_numbers().private_value
    kdf = HKDF(hashes.SHA256(), length=32, salt=None, info=b"collective ticket root 1")
    return kdf.derive(scalar.to_bytes(66, "big"))


def _credentials(plan: CertificatePlan, world: World) -> Credentials:
    _, credentials = prepare_coordinator(
        plan.place, plan.domain, plan.addresses, world, lifetime_s=plan.lifetime_s
    )
    return credentials


def _digest(credentials: Credentials) -> bytes:
    return hashlib.sha256(certificate_der(credentials.certificate)).digest()
