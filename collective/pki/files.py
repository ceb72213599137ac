"""Keys and certificates on disk: written atomically, keys 0600, folders 0700.

Every write is: new file beside the old one, flush, rename, flush of the folder; a crash leaves the
old content or the new.  The key is written before the certificate, so a certificate on disk always
has its key.  The coordinator's alone are replaced together (:func:`replace_pair`): two renames, and
a crash between them leaves a key without its certificate, for which the next start makes both anew.
Blocking; async callers use an executor.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from collective.core.clock import Clock
from collective.core.disk import Disk, OsDisk
from collective.core.errors import NotJoinedError, SettingsError, UsageError
from collective.core.ids import Domain, SpiffeId
from collective.core.units import Address
from collective.pki import certificates
from collective.pki.ca import LEAF_LIFE_S, CertificateAuthority, authority_owner
from collective.pki.certificates import Certified
from collective.pki.layout import CertDir
from collective.pki.trust import TrustStore

FILE_MAX_BYTES: Final = 64 * 1024
AUTHORITIES_MAX: Final = 4
"""CAs that one member can have at once: the present one, its successor, and room for haste."""
_KEY_MODE: Final = 0o600
_CERTIFICATE_MODE: Final = 0o644
_PAIR_READS: Final = 3
"""A pair that does not fit is read again: it may be just being replaced."""
_ENCRYPTED_LABEL: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Credentials:
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
    passphrase: bytes | None = field(default=None, repr=False)
    """What the key's file is encrypted with; None if it is not."""

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
        return replace(
            self,
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
    disk: Disk | None = None,
) -> Credentials:
    """Return the credentials in three PEM files.

    Raises NotJoinedError when a file is absent, SettingsError when one cannot be used or the key
    does not belong to the certificate.
    """
    disk = disk or OsDisk()
    for _ in range(_PAIR_READS):
        certificate = load_certificate_file(certificate_path, disk=disk)
        key = load_key_file(key_path, passphrase=passphrase, disk=disk)
        if _fits(key, certificate):
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
    disk: Disk | None = None,
) -> Credentials:
    """Write the three files durably, key first and certificate last, and return them loaded.

    The CA's file gets ``authorities`` where a CA is being replaced, else ``authority`` alone.
    """
    disk = disk or OsDisk()
    trusted = tuple(authorities) or (authority,)
    write_key(key_path, private_key, disk=disk)
    write_authorities(ca_path, trusted, disk=disk)
    write_certificate(certificate_path, certificate, disk=disk)
    return Credentials(
        certificate_path, key_path, ca_path, certificate, private_key, authority, trusted
    )


def write_certificate(path: str, certificate: x509.Certificate, *, disk: Disk) -> None:
    """Write ``certificate`` as PEM, atomically, readable by all."""
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    write_atomically(path, pem, permissions=_CERTIFICATE_MODE, disk=disk)


def write_authorities(path: str, authorities: Sequence[x509.Certificate], *, disk: Disk) -> None:
    """Write every CA in ``authorities`` to one PEM file, atomically, the one that signs first."""
    assert 0 < len(authorities) <= AUTHORITIES_MAX
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in authorities)
    write_atomically(path, pem, permissions=_CERTIFICATE_MODE, disk=disk)


def write_key(
    path: str, key: ec.EllipticCurvePrivateKey, *, passphrase: bytes | None = None, disk: Disk
) -> None:
    """Write ``key`` as PEM (PKCS#8), atomically, 0600, encrypted if there is a ``passphrase``."""
    write_atomically(path, _key_pem(key, passphrase), permissions=_KEY_MODE, disk=disk)


def replace_pair(
    key_path: str,
    certificate_path: str,
    key: ec.EllipticCurvePrivateKey,
    certificate: x509.Certificate,
    *,
    disk: Disk,
) -> None:
    """Put another key and its certificate, in the same folder, in place of the present ones.

    Both are durable beside the old ones before either is renamed, so that readers meet a pair that
    does not fit for a moment only.
    """
    folder = _ready_folder(key_path, disk)
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    fresh_key = _write_fresh(key_path, _key_pem(key, None), permissions=_KEY_MODE, disk=disk)
    fresh_certificate = _write_fresh(
        certificate_path, pem, permissions=_CERTIFICATE_MODE, disk=disk
    )
    disk.rename(fresh_key, key_path)
    disk.rename(fresh_certificate, certificate_path)
    disk.sync_dir(folder)


def load_certificate_file(path: str, *, disk: Disk) -> x509.Certificate:
    """Return the certificate in a PEM file; NotJoinedError if absent, SettingsError if garbled."""
    try:
        return x509.load_pem_x509_certificate(read_small(path, disk=disk))
    except ValueError as error:
        raise SettingsError(f"Certificate {path} cannot be read; restore or renew it.") from error


def load_authorities_file(path: str, *, disk: Disk) -> tuple[x509.Certificate, ...]:
    """Return the CAs in a PEM file, at least one; errors as :func:`load_certificate_file`."""
    try:
        found = x509.load_pem_x509_certificates(read_small(path, disk=disk))
    except ValueError as error:
        raise SettingsError(f"Certificate {path} cannot be read; restore or renew it.") from error
    if len(found) > AUTHORITIES_MAX:
        raise SettingsError(f"{path} holds more CA certificates than a member can have.")
    return tuple(found)


def issuer_of(
    certificate: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> x509.Certificate:
    """Return which of ``authorities`` signed ``certificate``; the first if none did."""
    for authority in authorities:
        if is_signed_by(certificate, authority):
            return authority
    return authorities[0]


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether ``authority`` signed ``certificate``; nothing else is checked."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_encrypted_key(path: str, *, disk: Disk) -> bool:
    """Tell whether the key in a PEM file needs a passphrase; NotJoinedError if it is absent."""
    return _ENCRYPTED_LABEL in read_small(path, disk=disk)


def load_key_file(
    path: str, *, passphrase: bytes | None = None, disk: Disk
) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key in a PEM file; NotJoinedError if absent, SettingsError if garbled.

    ``passphrase`` is used only if the key is encrypted; UsageError if it is then absent or wrong.
    """
    pem = read_small(path, disk=disk)
    is_encrypted = _ENCRYPTED_LABEL in pem
    if is_encrypted and not passphrase:
        raise UsageError(f"Key {path} has a passphrase; set COLLECTIVE_PASSPHRASE to it.")
    try:
        key = serialization.load_pem_private_key(pem, passphrase if is_encrypted else None)
    except (ValueError, TypeError) as error:
        if is_encrypted:
            raise UsageError(f"This is not the passphrase of {path}; try again.") from error
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
        _refuse_another_members(place, disk)
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


def _refuse_another_members(place: CertDir, disk: Disk) -> None:
    """Raise SettingsError where the cert dir has the CA of another member, key and all."""
    folder = posixpath.dirname(place.ca_key)
    own = posixpath.basename(place.ca_key)
    suffix = own.removeprefix(place.member)
    for entry in disk.list_dir(folder) if disk.exists(folder) else ():
        if entry.name.endswith(suffix) and entry.name != own:
            raise SettingsError(
                f"The CA belongs to {entry.name.removesuffix(suffix)}, not to {place.member};"
                " correct COLLECTIVE_MEMBER_ID, or give each member a cert dir of its own."
            )


def prepare_coordinator(
    place: CertDir,
    domain: Domain,
    addresses: tuple[Address, ...],
    clock: Clock,
    *,
    lifetime_s: float = LEAF_LIFE_S,
    disk: Disk | None = None,
) -> tuple[CertificateAuthority, Credentials]:
    """Return CA and coordinator credentials, making or renewing whatever is missing or due.

    The certificate is issued anew when it is absent, past two thirds of its life, of another CA, or
    when ``addresses`` (those advertised) are no longer the ones it carries.  **A key lives as long
    as the CA that certified it**: whenever the certificate is not of the CA that signs now, or does
    not belong to the key, there is a new key.  So a CA's replacement ends the key that a thief may
    have, and a crash at any point of it is mended by the next start.
    """
    disk = disk or OsDisk()
    authority = load_or_create_authority(place, domain, clock, disk=disk)
    identity = SpiffeId.coordinator(domain)
    found = _present_pair(place, authority, disk)
    if found is not None and _still_good(found, identity, addresses, clock.wall_s()):
        return authority, found
    key = certificates.new_private_key() if found is None else found.private_key
    certificate = authority.issue(
        identity, key.public_key(), lifetime_s=lifetime_s, addresses=addresses
    )
    if found is None:
        replace_pair(
            place.coordinator_key, place.coordinator_certificate, key, certificate, disk=disk
        )
    else:
        write_certificate(place.coordinator_certificate, certificate, disk=disk)
    return authority, Credentials(
        place.coordinator_certificate,
        place.coordinator_key,
        place.ca_certificate,
        certificate,
        key,
        authority.certificate,
        load_authorities_file(place.ca_certificate, disk=disk),
    )


def write_atomically(path: str, content: bytes, *, permissions: int, disk: Disk) -> None:
    """Replace the file at ``path`` durably; its folder is made 0700 if it is absent."""
    folder = _ready_folder(path, disk)
    fresh = _write_fresh(path, content, permissions=permissions, disk=disk)
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


def _ready_folder(path: str, disk: Disk) -> str:
    """Return the folder of ``path``, made durably if it was absent."""
    folder = posixpath.dirname(path) or os.curdir
    made = _absent_folders(folder, disk)
    disk.make_dir(folder)
    for new in made:
        disk.sync_dir(posixpath.dirname(new) or os.curdir)
    return folder


def _write_fresh(path: str, content: bytes, *, permissions: int, disk: Disk) -> str:
    """Write ``content`` to a file beside ``path``, flushed; return its path."""
    fresh = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(fresh)
    with disk.open(fresh, "create", permissions=permissions) as file:
        file.write(content, 0)
        file.datasync()
    return fresh


def _key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        protection = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )


def _fits(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    """Tell whether ``certificate`` is for ``key``."""
    return certificates.public_key_der(key.public_key()) == certificates.public_key_der(
        certificates.certificate_key(certificate)
    )


def _absent_folders(folder: str, disk: Disk) -> list[str]:
    """Return the folders on the way to ``folder`` that do not exist, outermost first."""
    found: list[str] = []
    while folder and not disk.exists(folder):
        found.append(folder)
        folder = posixpath.dirname(folder)
    return found[::-1]


def _present_pair(
    place: CertDir, authority: CertificateAuthority, disk: Disk
) -> Credentials | None:
    """Return the coordinator's key and certificate if they fit, and ``authority`` signed them."""
    key_path, certificate_path = place.coordinator_key, place.coordinator_certificate
    if not (disk.exists(key_path) and disk.exists(certificate_path)):
        return None
    certificate = load_certificate_file(certificate_path, disk=disk)
    key = load_key_file(key_path, disk=disk)
    if not _fits(key, certificate) or not is_signed_by(certificate, authority.certificate):
        return None
    authorities = load_authorities_file(place.ca_certificate, disk=disk)
    return Credentials(
        certificate_path,
        key_path,
        place.ca_certificate,
        certificate,
        key,
        authority.certificate,
        authorities,
    )


def _still_good(
    found: Credentials, identity: SpiffeId, addresses: tuple[Address, ...], now_s: float
) -> bool:
    certified = found.certified
    life_s = certified.expires_s - certified.not_before_s
    return (
        certified.identity == identity
        and certified.addresses == addresses
        and certified.not_before_s <= now_s < certified.not_before_s + life_s * 2 / 3
    )
