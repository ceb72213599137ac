"""Credentials: a certificate, its key and the CAs beside it, loaded from three PEM files or saved.

The key is written before the certificate, so a certificate on disk always has its key.  The
coordinator's alone are replaced together (:mod:`~.coordinator_certificate`): two renames, and a reader between them
meets a pair that does not fit, so a pair is read again before it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from collective.core.disk import Disk
from collective.core.errors import SettingsError
from collective.core.ids import Domain, SpiffeId
from collective.pki import certificates
from collective.pki.ca import authority_owner
from collective.pki.certificates import Certified
from collective.pki.pem_files import (
    load_authorities_file,
    load_certificate_file,
    load_key_file,
    write_authorities,
    write_certificate,
    write_key,
)
from collective.pki.trust import TrustStore

_PAIR_READS: Final = 3
"""A pair that does not fit is read again: it may be just being replaced."""


class Credentials(NamedTuple):
    """A certificate, its key and the CA that signed it, loaded, with the files they came from."""

    certificate_path: str
    key_path: str
    ca_path: str
    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey
    authority: x509.Certificate
    """The CA that signed the certificate."""
    authorities: tuple[x509.Certificate, ...] = ()
    """Every CA in the file, while one is being replaced; empty: ``authority`` alone."""
    passphrase: bytes | None = None
    """What the key's file is encrypted with; None if it is not."""

    def __repr__(self) -> str:
        """Name the file alone: what else is here is secret, or long."""
        return f"Credentials({self.certificate_path!r})"

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        """Every CA of the member that counts."""
        return self.authorities or (self.authority,)

    @property
    def certified(self) -> Certified:
        """What the certificate says (not checked against trust or time)."""
        return certificates.describe(self.certificate)

    @property
    def identity(self) -> SpiffeId:
        """The SPIFFE id of the certificate."""
        return self.certified.identity

    @property
    def domain(self) -> Domain:
        """The trust domain of the CA."""
        return authority_owner(self.authority)[1]

    def trust(self) -> TrustStore:
        """Return a store that trusts the member's CAs alone."""
        return TrustStore({self.domain: self.trusted})

    def renewed(
        self, certificate: x509.Certificate, authorities: Sequence[x509.Certificate] = ()
    ) -> Credentials:
        """Return the credentials with another certificate, and other CAs if any are given."""
        trusted = tuple(authorities) or self.trusted
        return self._replace(
            certificate=certificate,
            authority=issuer_of(certificate, trusted),
            authorities=trusted,
        )


def load_credentials(
    certificate_path: str,
    key_path: str,
    ca_path: str,
    *,
    passphrase: bytes | None = None,
    disk: Disk,
) -> Credentials:
    """Return the credentials in three PEM files.

    Raises NotJoinedError when a file is absent, SettingsError when one cannot be used or the key
    does not belong to the certificate.
    """
    for _ in range(_PAIR_READS):
        certificate = load_certificate_file(certificate_path, disk=disk)
        key = load_key_file(key_path, passphrase=passphrase, disk=disk)
        if fits(key, certificate):
            break
    else:
        raise SettingsError(f"Key {key_path} does not belong to certificate {certificate_path}.")
    authorities = load_authorities_file(ca_path, disk=disk)
    authority = issuer_of(certificate, authorities)
    return Credentials(
        certificate_path, key_path, ca_path, certificate, key, authority, authorities, passphrase
    )


def save_credentials(
    certificate_path: str,
    key_path: str,
    ca_path: str,
    *,
    certificate: x509.Certificate,
    private_key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authorities: Sequence[x509.Certificate] = (),
    disk: Disk,
) -> Credentials:
    """Write the three files durably, key first and certificate last, and return them loaded.

    The CA's file gets ``authorities`` where a CA is being replaced, else ``authority`` alone.
    """
    trusted = tuple(authorities) or (authority,)
    write_key(key_path, private_key, disk=disk)
    write_authorities(ca_path, trusted, disk=disk)
    write_certificate(certificate_path, certificate, disk=disk)
    return Credentials(
        certificate_path, key_path, ca_path, certificate, private_key, authority, trusted
    )


def issuer_of(
    certificate: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> x509.Certificate:
    """Return which of ``authorities`` signed ``certificate``; the first if none did."""
    if len(authorities) == 1:
        return authorities[0]
    for authority in authorities:
        if certificates.is_signed_by(certificate, authority):
            return authority
    return authorities[0]


def fits(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    """Tell whether ``certificate`` is for ``key``."""
    return certificates.public_key_der(key.public_key()) == certificates.public_key_der(
        certificates.certificate_key(certificate)
    )
