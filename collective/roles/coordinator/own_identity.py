"""The coordinator's own certificates: made at the first start, renewed while it runs."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.errors import CollectiveError
from collective.core.ids import Domain
from collective.core.units import Address
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import Certified, certificate_der
from collective.pki.files import Credentials, prepare_coordinator
from collective.pki.layout import CertDir
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.identity import PeerGate
from collective.rpc.tls import ALPN_CHUNK, ALPN_GRPC, client_context, refresh, server_context

CHECK_S: Final = 3600.0


class OwnIdentity:
    """CA, certificate, trust and TLS contexts of this coordinator."""

    def __init__(
        self,
        place: CertDir,
        domain: Domain,
        addresses: tuple[Address, ...],
        clock: Clock,
        disk: Disk,
        authority: CertificateAuthority,
        credentials: Credentials,
    ) -> None:
        """Use what :meth:`prepare` made."""
        self._place = place
        self._domain = domain
        self._clock = clock
        self._disk = disk
        self.addresses = addresses
        self.authority = authority
        self.credentials = credentials
        self.trust = TrustStore({domain: (authority.certificate,)})
        self.gate = PeerGate(self.trust, RevocationSet(), clock)
        self.server_tls = server_context(credentials, self.trust, alpn=(ALPN_GRPC, ALPN_CHUNK))
        self.bootstrap_tls = server_context(
            credentials, self.trust, client_certificates=False, alpn=(ALPN_GRPC,)
        )
        self._chunk_tls = client_context(credentials, self.trust, (ALPN_CHUNK,))
        self._leaves: list[bytes] = [_digest(credentials)]
        self._log = structlog.get_logger("coordinator.identity")

    @classmethod
    async def prepare(
        cls,
        place: CertDir,
        domain: Domain,
        addresses: tuple[Address, ...],
        clock: Clock,
        disk: Disk,
    ) -> OwnIdentity:
        """Make or load CA and certificate; SettingsError when they belong to another member."""
        authority, credentials = await asyncio.to_thread(
            prepare_coordinator, place, domain, addresses, clock, disk=disk
        )
        return cls(place, domain, addresses, clock, disk, authority, credentials)

    @property
    def certified(self) -> Certified:
        """What the present certificate says."""
        return self.credentials.certified

    def chunk_tls(self) -> ssl.SSLContext:
        """Return the context for chunk-stream connections that the coordinator opens."""
        return self._chunk_tls

    def leaf_digests(self) -> Sequence[bytes]:
        """Return SHA-256 of the leaf shown now and of the one before it."""
        return tuple(self._leaves)

    async def keep_fresh(self, renewed: Callable[[Certified], None]) -> None:
        """Renew the certificate when it is due, until cancelled."""
        renewed(self.certified)
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self._renew()
            except CollectiveError as error:
                self._log.error("own_certificate_not_renewed", why=error.message)
            renewed(self.certified)

    async def _renew(self) -> None:
        _, credentials = await asyncio.to_thread(
            prepare_coordinator,
            self._place,
            self._domain,
            self.addresses,
            self._clock,
            disk=self._disk,
        )
        if credentials.certified.serial == self.certified.serial:
            return
        self.credentials = credentials
        for context in (self.server_tls, self.bootstrap_tls, self._chunk_tls):
            refresh(context, credentials, self.trust)
        self._leaves = [_digest(credentials), *self._leaves[:1]]
        self._log.info("own_certificate_renewed", serial=credentials.certified.serial)


def _digest(credentials: Credentials) -> bytes:
    return hashlib.sha256(certificate_der(credentials.certificate)).digest()
