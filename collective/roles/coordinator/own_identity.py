"""The coordinator's own certificates and CAs: made at the first start, renewed while it runs.

Renewal and a CA's replacement touch no connection: contexts that are in use get the new certificate
for the handshakes to come, and whoever keeps connections of his own is told to open new ones.
A CA's replacement replaces the key as well, and with it all that follows from it: the ticket root.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

import structlog
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from collective.core.backoff import Backoff
from collective.core.ids import Domain
from collective.core.units import Address
from collective.core.work import IDLE, Outcome, Worker
from collective.core.world import World
from collective.pki import rotation
from collective.pki.ca import LEAF_LIFE_S, CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.certificates import Certified, certificate_der
from collective.pki.coordinator_certificate import prepare_coordinator
from collective.pki.credentials import Credentials
from collective.pki.renewal_pace import next_look_s, retries
from collective.pki.renewal_times import is_due
from collective.pki.revocation import RevocationSet
from collective.pki.rotation import Authorities, Phase
from collective.pki.trust import TrustStore
from collective.rpc.identity import PeerGate
from collective.rpc.links import Links, Persona

Step = Callable[..., Authorities]
"""One of ``pki.rotation``'s begin, switch and close."""


class Freshness(Worker):
    """Renews the coordinator's own certificate when it is due."""

    name = "own certificate"

    def __init__(self, identity: OwnIdentity, seen: Callable[[Certified], None]) -> None:
        """Renew that of ``identity``; ``seen`` is told of the one in use."""
        self._identity = identity
        self._seen = seen

    @property
    def backoff(self) -> Backoff:
        """How long to wait after a failure: by the certificate's life."""
        return retries(self._identity.certified)

    async def work(self) -> Outcome:
        """Look once."""
        await self._identity.renew_if_due()
        self._seen(self._identity.certified)
        return IDLE

    async def wait(self) -> None:
        """Wait until it may be due."""
        await asyncio.sleep(self._identity.next_look_s())


class OwnIdentity:
    """CAs, certificate, trust and personas of this coordinator."""

    def __init__(
        self,
        place: CertDir,
        domain: Domain,
        addresses: tuple[Address, ...],
        world: World,
        links: Links,
        authorities: Authorities,
        credentials: Credentials,
        *,
        lifetime_s: float = LEAF_LIFE_S,
    ) -> None:
        """Use what :meth:`prepare` made."""
        self.place = place
        self.disk = world.disk
        self._world = world
        self._domain = domain
        self._clock = world.clock
        self._threads = world.threads
        self._lifetime_s = lifetime_s
        self.addresses = addresses
        self.authorities = authorities
        self.credentials = credentials
        self.trust = TrustStore({domain: authorities.trusted})
        self.gate = PeerGate(self.trust, RevocationSet(), world.clock)
        self.server = links.server_persona(credentials, self.trust)
        self.bootstrap = links.server_persona(
            credentials, self.trust, client_certificates=False, chunk_stream=False
        )
        self._chunk_client = links.client_persona(credentials, self.trust)
        self._leaves: list[bytes] = [_digest(credentials)]
        self._changing = asyncio.Lock()
        self.on_trust: Callable[[], object] | None = None
        """Called when other CAs count: closes connections whose CA does not any more."""
        self.on_ticket_root: Callable[[bytes], object] | None = None
        """Called with the new ticket root when there is another key."""
        self.on_former_ended: Callable[[], object] | None = None
        """Called when no CA but the present one counts any more."""
        self._log = structlog.get_logger("coordinator.identity")

    @classmethod
    async def prepare(
        cls,
        place: CertDir,
        domain: Domain,
        addresses: tuple[Address, ...],
        world: World,
        links: Links,
        *,
        lifetime_s: float = LEAF_LIFE_S,
    ) -> OwnIdentity:
        """Make or load CAs and certificate; SettingsError when they are another member's."""

        def work() -> tuple[Authorities, Credentials]:
            authorities = rotation.load(place, domain, world)
            _, credentials = prepare_coordinator(
                place, domain, addresses, world, lifetime_s=lifetime_s
            )
            return authorities, credentials

        authorities, credentials = await world.threads.run(work)
        return cls(
            place,
            domain,
            addresses,
            world,
            links,
            authorities,
            credentials,
            lifetime_s=lifetime_s,
        )

    @property
    def authority(self) -> CertificateAuthority:
        """The CA that signs servers and joins now, and that join codes pin."""
        return self.authorities.signing

    @property
    def certified(self) -> Certified:
        """What the present certificate says."""
        return self.credentials.certified

    @property
    def ticket_root(self) -> bytes:
        """What ticket keys are derived from; the same after a restart, another with another key."""
        return root_of(self.credentials)

    @property
    def chunk_client(self) -> Persona:
        """The persona of chunk-stream connections that the coordinator opens."""
        return self._chunk_client

    def leaf_digests(self) -> Sequence[bytes]:
        """Return SHA-256 of the leaf shown now and of the one before it."""
        return tuple(self._leaves)

    def trusted_ders(self) -> list[bytes]:
        """Return every CA that counts (DER), the one that signs first."""
        return [certificate_der(one) for one in self.authorities.trusted]

    def link_ders(self) -> list[bytes]:
        """Return the old CA's word for the new one (DER), while a rotation is under way."""
        return [certificate_der(one) for one in self.authorities.links]

    def to_follow(self) -> bytes:
        """Return the digest of the new CA while one is being replaced, else nothing."""
        known = self.authorities
        return b"" if known.phase is Phase.NONE else known.newest.digest

    async def renew_if_due(self) -> None:
        """Renew the certificate if it is due."""
        if is_due(self.certified, self._clock.wall_s()):
            async with self._changing:
                await self._renew()

    def next_look_s(self) -> float:
        """Return seconds until the certificate may be due."""
        return next_look_s(self.certified, self._clock.wall_s())

    async def rotate(self, step: Step) -> Authorities:
        """Take one step of a CA's replacement on disk and into use.

        Raises ConflictError when it is not the step that comes next.  Cancellation may leave the
        step on disk only; the next start takes it into use.
        """
        async with self._changing:
            authorities = await self._threads.run(
                lambda: step(self.place, self._domain, self._world)
            )
            self.trust = TrustStore({self._domain: authorities.trusted})
            self.gate.replace(trust=self.trust)
            for persona in (self.server, self.bootstrap, self._chunk_client):
                persona.refresh(None, self.trust)
            await self._renew()
            # Told to others only now: whoever connects anew because of it meets the new certificate,
            # without which he drops no old CA.
            self.authorities = authorities
            if self.on_trust is not None:
                self.on_trust()
            if authorities.phase is Phase.NONE and self.on_former_ended is not None:
                self.on_former_ended()
            self._log.warning(
                "authorities_changed",
                phase=authorities.phase.value,
                signing=authorities.signing.digest.hex(),
                trusted=len(authorities.trusted),
            )
            return authorities

    async def _renew(self) -> None:
        _, credentials = await self._threads.run(
            prepare_coordinator,
            self.place,
            self._domain,
            self.addresses,
            self._world,
            lifetime_s=self._lifetime_s,
        )
        before, self.credentials = self.credentials, credentials
        if credentials.certified.serial == before.certified.serial:
            return
        for persona in (self.server, self.bootstrap, self._chunk_client):
            persona.refresh(credentials, self.trust)
        self._leaves = [_digest(credentials), *self._leaves[:1]]
        self._log.info("own_certificate_renewed", serial=credentials.certified.serial)
        if root_of(credentials) != root_of(before) and self.on_ticket_root is not None:
            self.on_ticket_root(self.ticket_root)


def root_of(credentials: Credentials) -> bytes:
    """Return a secret that follows from the private key and says nothing about it."""
    scalar = credentials.private_key.private_numbers().private_value
    kdf = HKDF(hashes.SHA256(), length=32, salt=None, info=b"collective ticket root 1")
    return kdf.derive(scalar.to_bytes(66, "big"))


def _digest(credentials: Credentials) -> bytes:
    return hashlib.sha256(certificate_der(credentials.certificate)).digest()
