"""Certificates in use: each is made known to the catalogue once, and may turn out not to count.

The coordinator cannot know of a certificate that was signed offline before it is used here.  On
first sight its key is bound to its identity; if an invite bound another key meanwhile, the
certificate is refused, so that two parties never have one identity without anybody noticing.
"""

from __future__ import annotations

from typing import Final, Protocol

import structlog

from collective.core.errors import ConflictError, PermissionDeniedError
from collective.core.ids import Domain, SpiffeId
from collective.pki.certificates import Certified

NOTED_MAX: Final = 65_536
"""Certificates remembered as noted; beyond it all are looked up once more."""


class SeenCertificates(Protocol):
    """What is needed of a catalogue here."""

    async def see(
        self,
        issuer: SpiffeId,
        identity: SpiffeId,
        serial: str,
        expires_ms: int,
        key_digest: bytes,
    ) -> None:
        """Take note of a certificate in use."""
        ...


class CertificatesSeen:
    """Tells the catalogue of each certificate once a start."""

    def __init__(self, domain: Domain, certificates: SeenCertificates) -> None:
        """Tell ``certificates``; the member of ``domain`` is taken for the issuer."""
        self._issuer = SpiffeId.coordinator(domain)
        self._certificates = certificates
        self._noted: set[str] = set()
        self._log = structlog.get_logger("coordinator.certificates")

    async def note(self, peer: Certified) -> None:
        """Take note of the certificate of a live connection; free after the first time.

        Raises:
            PermissionDeniedError: it does not count: its key is revoked, or its identity belongs
                to another key by an invite.  Not remembered, so that the operator can decide.
        """
        if peer.serial in self._noted or peer.identity == self._issuer:
            return
        try:
            await self._certificates.see(
                self._issuer,
                peer.identity,
                peer.serial,
                int(peer.expires_s * 1000),
                peer.key_digest,
            )
        except ConflictError as error:
            self._log.warning(
                "certificate_does_not_count", principal=str(peer.identity), why=error.message
            )
            raise PermissionDeniedError(error.message) from error
        if len(self._noted) >= NOTED_MAX:
            self._noted.clear()
        self._noted.add(peer.serial)
