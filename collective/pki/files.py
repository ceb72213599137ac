"""Keys and certificates on disk: written atomically, keys 0600, folders 0700.

Every write is: new file beside the old one, flush, rename, flush of the folder; a crash leaves the
old content or the new.  The key is written before the certificate, so a certificate on disk always
has its key.  Blocking; async callers use an executor.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from collective.core.clock import Clock
from collective.core.disk import Disk, OsDisk
from collective.core.errors import NotJoinedError, SettingsError
from collective.core.ids import Domain, SpiffeId
from collective.core.units import Address
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority, authority_owner
from collective.pki.certificates import Certified
from collective.pki.layout import CertDir
from collective.pki.trust import TrustStore

FILE_MAX_BYTES: Final = 64 * 1024
_KEY_MODE: Final = 0o600
_CERTIFICATE_MODE: Final = 0o644


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate, its key and the CA that signed it, loaded, with the files they came from."""

    certificate_path: str
    key_path: str
    ca_path: str
    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey
    authority: x509.Certificate

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
        """Return a store that trusts the CA alone."""
        return TrustStore({self.domain: (self.authority,)})


def load_credentials(
    certificate_path: str, key_path: str, ca_path: str, *, disk: Disk | None = None
) -> Credentials:
    """Return the credentials in three PEM files.

    Raises NotJoinedError when a file is absent, SettingsError when one cannot be used or the key
    does not belong to the certificate.
    """
    disk = disk or OsDisk()
    certificate = load_certificate_file(certificate_path, disk=disk)
    authority = load_certificate_file(ca_path, disk=disk)
    key = load_key_file(key_path, disk=disk)
    if certificates.public_key_der(key.public_key()) != certificates.public_key_der(
        certificates.certificate_key(certificate)
    ):
        raise SettingsError(f"Key {key_path} does not belong to certificate {certificate_path}.")
    return Credentials(certificate_path, key_path, ca_path, certificate, key, authority)


def save_credentials(
    certificate_path: str,
    key_path: str,
    ca_path: str,
    *,
    certificate: x509.Certificate,
    private_key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    disk: Disk | None = None,
) -> Credentials:
    """Write the three files durably, key first and certificate last, and return them loaded."""
    disk = disk or OsDisk()
    write_key(key_path, private_key, disk=disk)
    write_certificate(ca_path, authority, disk=disk)
    write_certificate(certificate_path, certificate, disk=disk)
    return Credentials(certificate_path, key_path, ca_path, certificate, private_key, authority)


def write_certificate(path: str, certificate: x509.Certificate, *, disk: Disk) -> None:
    """Write ``certificate`` as PEM, atomically, readable by all."""
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    write_atomically(path, pem, permissions=_CERTIFICATE_MODE, disk=disk)


def write_key(path: str, key: ec.EllipticCurvePrivateKey, *, disk: Disk) -> None:
    """Write ``key`` as PEM (PKCS#8), atomically, 0600."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_atomically(path, pem, permissions=_KEY_MODE, disk=disk)


def load_certificate_file(path: str, *, disk: Disk) -> x509.Certificate:
    """Return the certificate in a PEM file; NotJoinedError if absent, SettingsError if garbled."""
    try:
        return x509.load_pem_x509_certificate(read_small(path, disk=disk))
    except ValueError as error:
        raise SettingsError(f"Certificate {path} cannot be read; restore or renew it.") from error


def load_key_file(path: str, *, disk: Disk) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key in a PEM file; NotJoinedError if absent, SettingsError if garbled."""
    try:
        key = serialization.load_pem_private_key(read_small(path, disk=disk), password=None)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"Key {path} cannot be read; restore it or join again.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SettingsError(f"Key {path} must be ECDSA P-256.")
    return key


def load_or_create_key(path: str, *, disk: Disk) -> ec.EllipticCurvePrivateKey:
    """Return the key at ``path``, made and written durably first if there is none."""
    if disk.exists(path):
        return load_key_file(path, disk=disk)
    key = certificates.new_private_key()
    write_key(path, key, disk=disk)
    return key


def load_or_create_authority(
    place: CertDir, domain: Domain, clock: Clock, *, disk: Disk
) -> CertificateAuthority:
    """Return the member's CA, made and written durably at the first start.

    Raises SettingsError when its key is missing, or when it is of another domain or member.
    """
    if not disk.exists(place.ca_certificate):
        # The key goes first; one without a certificate is a first start that was interrupted.
        key = load_or_create_key(place.ca_key, disk=disk)
        authority = CertificateAuthority.create(place.member, domain, clock, key=key)
        write_certificate(place.ca_certificate, authority.certificate, disk=disk)
        return authority
    if not disk.exists(place.ca_key):
        raise SettingsError(f"The CA's key {place.ca_key} is missing; restore it from a backup.")
    authority = CertificateAuthority.load(
        read_small(place.ca_certificate, disk=disk), read_small(place.ca_key, disk=disk), clock
    )
    if authority.domain != domain or authority.member != place.member:
        raise SettingsError(
            f"The CA belongs to {authority.member} ({authority.domain}), not to {place.member}"
            f" ({domain}); correct COLLECTIVE_MEMBER_ID and COLLECTIVE_DOMAIN."
        )
    return authority


def prepare_coordinator(
    place: CertDir,
    domain: Domain,
    addresses: tuple[Address, ...],
    clock: Clock,
    *,
    disk: Disk | None = None,
) -> tuple[CertificateAuthority, Credentials]:
    """Return CA and coordinator credentials, making or renewing whatever is missing or due.

    The certificate is issued anew when it is absent, past two thirds of its life, of another CA, or
    when ``addresses`` (those advertised) are no longer the ones it carries.
    """
    disk = disk or OsDisk()
    authority = load_or_create_authority(place, domain, clock, disk=disk)
    key = load_or_create_key(place.coordinator_key, disk=disk)
    identity = SpiffeId.coordinator(domain)
    if disk.exists(place.coordinator_certificate):
        found = load_credentials(
            place.coordinator_certificate, place.coordinator_key, place.ca_certificate, disk=disk
        )
        if _still_good(found, authority, identity, addresses, clock.wall_s()):
            return authority, found
    certificate = authority.issue(identity, key.public_key(), addresses=addresses)
    write_certificate(place.coordinator_certificate, certificate, disk=disk)
    return authority, Credentials(
        place.coordinator_certificate,
        place.coordinator_key,
        place.ca_certificate,
        certificate,
        key,
        authority.certificate,
    )


def write_atomically(path: str, content: bytes, *, permissions: int, disk: Disk) -> None:
    """Replace the file at ``path`` durably; its folder is made 0700 if it is absent."""
    folder = posixpath.dirname(path) or os.curdir
    made = _absent_folders(folder, disk)
    disk.make_dir(folder)
    for new in made:
        disk.sync_dir(posixpath.dirname(new) or os.curdir)
    fresh = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(fresh)
    with disk.open(fresh, "create", permissions=permissions) as file:
        file.write(content, 0)
        file.datasync()
    disk.rename(fresh, path)
    disk.sync_dir(folder)


def read_small(path: str, *, disk: Disk) -> bytes:
    """Return a file's bytes (at most 64 KiB); NotJoinedError if absent, SettingsError if unusable."""
    try:
        with disk.open(path, "read") as file:
            size = file.size_bytes()
            if size > FILE_MAX_BYTES:
                raise SettingsError(f"{path} is too large to be a key or a certificate.")
            buffer = memoryview(bytearray(size))
            return bytes(buffer[: file.read_into(buffer, 0)])
    except FileNotFoundError as error:
        raise NotJoinedError(f"{path} does not exist; join first, or name another file.") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error


def _absent_folders(folder: str, disk: Disk) -> list[str]:
    """Return the folders on the way to ``folder`` that do not exist, outermost first."""
    found: list[str] = []
    while folder and not disk.exists(folder):
        found.append(folder)
        folder = posixpath.dirname(folder)
    return found[::-1]


def _still_good(
    found: Credentials,
    authority: CertificateAuthority,
    identity: SpiffeId,
    addresses: tuple[Address, ...],
    now_s: float,
) -> bool:
    certified = found.certified
    life_s = certified.expires_s - certified.not_before_s
    return (
        certified.identity == identity
        and certified.addresses == addresses
        and found.certificate.issuer == authority.certificate.subject
        and certified.not_before_s <= now_s < certified.not_before_s + life_s * 2 / 3
    )
