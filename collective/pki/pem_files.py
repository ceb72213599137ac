"""Keys and certificates as PEM files: keys 0600, folders 0700, each written atomically.

Refuses what cannot be a key or certificate of a member, in one sentence each.  Blocking; async
callers use an executor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from collective.core.disk import Disk
from collective.core.errors import RejectedError, SettingsError, UsageError
from collective.core.small_files import NewContent, read_small, replace_together, write_atomically
from collective.core.world import World
from collective.pki import certificates

AUTHORITIES_MAX: Final = 4
"""CAs that one member can have at once: the present one, its successor, and room for haste."""
_KEY_MODE: Final = 0o600
_CERTIFICATE_MODE: Final = 0o644
_ENCRYPTED_LABEL: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


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
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    replace_together(
        (
            NewContent(key_path, _key_pem(key, None), _KEY_MODE),
            NewContent(certificate_path, pem, _CERTIFICATE_MODE),
        ),
        disk=disk,
    )


def load_certificate_file(path: str, *, disk: Disk) -> x509.Certificate:
    """Return the certificate in a PEM file; NotJoinedError if absent, SettingsError if garbled."""
    try:
        return certificates.load_pem_certificates(read_small(path, disk=disk))[0]
    except RejectedError as error:
        raise SettingsError(f"Certificate {path} cannot be read; restore or renew it.") from error


def load_authorities_file(path: str, *, disk: Disk) -> tuple[x509.Certificate, ...]:
    """Return the CAs in a PEM file, at least one; errors as :func:`load_certificate_file`."""
    try:
        found = certificates.load_pem_certificates(read_small(path, disk=disk))
    except RejectedError as error:
        raise SettingsError(f"Certificate {path} cannot be read; restore or renew it.") from error
    if len(found) > AUTHORITIES_MAX:
        raise SettingsError(f"{path} holds more CA certificates than a member can have.")
    return found


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


def load_or_create_key(path: str, world: World) -> ec.EllipticCurvePrivateKey:
    """Return the key at ``path``, made and written durably first if there is none."""
    if world.disk.exists(path):
        return load_key_file(path, disk=world.disk)
    key = certificates.new_private_key(world.randomness)
    write_key(path, key, disk=world.disk)
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        protection = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )
