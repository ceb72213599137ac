"""The certificates of joined collectives on disk: each one's own, and the CAs beside it.

Invariant: a certificate never gives way to one of the same key that is of an older CA, or of the same
CA and ends earlier.  The caller holds the store's lock where it writes.  Blocking: small files only.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from collective.client.identity.config_dir import ConfigDir
from collective.client.identity.documents import JoinedCollective
from collective.core.disk import Disk
from collective.core.errors import NotJoinedError, SettingsError
from collective.core.small_files import read_small
from collective.pki import certificates, pem_files


class StoredCertificates:
    """What is below ``place`` for each collective."""

    def __init__(self, place: ConfigDir, disk: Disk) -> None:
        """Use the folder ``place``."""
        self._place: Final = place
        self._disk: Final = disk

    def write(
        self, name: str, authorities: Sequence[x509.Certificate], certificate: x509.Certificate
    ) -> None:
        """Keep CAs and certificate for the collective ``name``, its folder made first."""
        self._disk.make_dir(self._place.collectives)
        self._disk.make_dir(self._place.collective(name))
        self.write_authorities(name, authorities)
        pem_files.write_certificate(self._place.certificate(name), certificate, disk=self._disk)

    def write_authorities(self, name: str, authorities: Sequence[x509.Certificate]) -> None:
        """Keep the CAs alone."""
        pem_files.write_authorities(self._place.authority(name), authorities, disk=self._disk)

    def take_newer(
        self,
        known: JoinedCollective,
        certificate: x509.Certificate,
        trusted: Sequence[x509.Certificate],
    ) -> None:
        """Keep ``certificate`` if `is_newer` says so."""
        if self.is_newer(certificate, known, trusted):
            path = self._place.certificate(known.name)
            pem_files.write_certificate(path, certificate, disk=self._disk)

    def authorities(self, known: JoinedCollective) -> tuple[x509.Certificate, ...]:
        """Return the CAs of ``known``, none if they cannot be read."""
        try:
            path = self._place.authority(known.name)
            return pem_files.load_authorities_file(path, disk=self._disk)
        except (NotJoinedError, SettingsError):
            return ()

    def key_digest(self, collectives: Sequence[JoinedCollective]) -> bytes | None:
        """Return the SHA-256 of the machine's key by its public half, else by a certificate of it."""
        with contextlib.suppress(NotJoinedError, SettingsError, ValueError, UnsupportedAlgorithm):
            pem = read_small(self._place.public_key, disk=self._disk)
            return hashlib.sha256(_public_der(load_pem_public_key(pem))).digest()
        for one in collectives:
            with contextlib.suppress(NotJoinedError, SettingsError):
                path = self._place.certificate(one.name)
                certificate = pem_files.load_certificate_file(path, disk=self._disk)
                return certificates.key_digest(certificates.certificate_key(certificate))
        return None

    def digests(self, known: JoinedCollective) -> set[bytes]:
        """Return the key digests of every CA that ``known`` had or has."""
        return {known.authority_digest, *(digest_of(one) for one in self.authorities(known))}

    def with_former(
        self, given: Sequence[x509.Certificate], known: JoinedCollective | None
    ) -> tuple[x509.Certificate, ...]:
        """Return ``given`` and the other CAs that ``known`` has, while one is being replaced."""
        former = self.authorities(known) if known else ()
        digests = {digest_of(one) for one in given}
        return *given, *(one for one in former if digest_of(one) not in digests)

    def is_newer(
        self,
        certificate: x509.Certificate,
        known: JoinedCollective,
        trusted: Sequence[x509.Certificate],
    ) -> bool:
        """Tell whether ``certificate`` takes the place of the one that is kept for ``known``.

        It does if it is of a newer CA of ``trusted``, or of the same one and does not end earlier,
        or if the kept one is for another key or cannot be used.
        """
        try:
            kept = pem_files.load_certificate_file(
                self._place.certificate(known.name), disk=self._disk
            )
            same_key = certificates.certificate_key(kept) == certificates.certificate_key(
                certificate
            )
        except (NotJoinedError, SettingsError):
            return True
        return not same_key or _age(certificate, trusted) >= _age(kept, trusted)


def _age(certificate: x509.Certificate, trusted: Sequence[x509.Certificate]) -> tuple[float, float]:
    """Return when the CA began that signed it (0 if none of ``trusted``), and when itself ends."""
    begins = (
        one.not_valid_before_utc.timestamp()
        for one in trusted
        if certificates.is_signed_by(certificate, one)
    )
    return max(begins, default=0.0), certificate.not_valid_after_utc.timestamp()


def public_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public half of ``key`` (PEM)."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _public_der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def digest_of(authority: x509.Certificate) -> bytes:
    """Return the digest of a CA's key, by which a join code pins it."""
    return certificates.key_digest(certificates.certificate_key(authority))
