"""Keys and certificates that the service manager hands over: put into the cert dir where absent.

Under systemd, ``LoadCredential=certs:FOLDER`` shows the files of a folder that only root reads, its
folders flattened into names: ``ca/alice-ca.crt`` comes as ``certs_ca_alice-ca.crt``.  What the cert dir
has already stays, since the process renews it there, but for a certificate that has run out: it goes, with
its key, for a pair that counts.  Source: systemd.exec(5).
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from collective.core.disk import Disk
from collective.core.small_files import NewContent, read_small, replace_together, write_atomically

DIRECTORY_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
PREFIX: Final = "certs_"
FOLDERS: Final = ("bootstraps", "ca", "coordinators", "nodes")
_MODE: Final = 0o600


def take_certificates(
    environment: Mapping[str, str], cert_dir: str, disk: Disk, now_s: float
) -> list[str]:
    """Copy what was handed over into ``cert_dir``; return the paths that are new.  Blocking.

    What is passed over, though it differs from what is there, is logged.  ``now_s``: Unix seconds.

    Raises:
        SettingsError: a file cannot be read, or is too large for a key or a certificate.
        DiskFullError, DiskReadOnlyError, DiskFailedError: the cert dir cannot be written.
    """
    source = environment.get(DIRECTORY_VARIABLE, "")
    if not source or not disk.exists(source):
        return []
    given = _given(source, cert_dir, disk)
    log = structlog.get_logger("collective.runtime")
    taken = _replace_expired(given, disk, now_s)
    for target, content in given.items():
        if target in taken:
            continue
        if not disk.exists(target):
            write_atomically(target, content, permissions=_MODE, disk=disk)
            taken.append(target)
        elif read_small(target, disk=disk) != content:
            log.info(
                "handed over and not taken: a pair that counts replaces only what has run out",
                path=target,
            )
    for path in taken:
        log.info("certificate handed over", path=path)
    return taken


def _given(source: str, cert_dir: str, disk: Disk) -> dict[str, bytes]:
    """Return what was handed over, by where it goes."""
    found = {}
    for entry in sorted(disk.list_dir(source)):
        target = _target(entry.name, cert_dir)
        if target is not None and not entry.is_dir:
            found[target] = read_small(posixpath.join(source, entry.name), disk=disk)
    return found


def _replace_expired(given: Mapping[str, bytes], disk: Disk, now_s: float) -> list[str]:
    """Put certificates with their keys in place of those that have run out; return the paths."""
    replaced: list[str] = []
    for path, content in given.items():
        base, ending = posixpath.splitext(path)
        key_path = f"{base}.key"
        if ending != ".crt" or key_path not in given or not disk.exists(path):
            continue
        key = given[key_path]
        present = read_small(path, disk=disk)
        if not (_has_run_out(present, now_s) and _is_usable_pair(content, key, now_s)):
            continue
        pair = (NewContent(key_path, key, _MODE), NewContent(path, content, _MODE))
        replace_together(pair, disk=disk)
        replaced += [key_path, path]
    return replaced


def _has_run_out(pem: bytes, now_s: float) -> bool:
    """Tell whether a certificate counts no more; False for what is none."""
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp() < now_s
    except ValueError:
        return False


def _is_usable_pair(pem: bytes, key_pem: bytes, now_s: float) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError):
        return False
    return key.public_key() == certificate.public_key() and not _has_run_out(pem, now_s)


def _target(name: str, cert_dir: str) -> str | None:
    """Return where a credential of this name goes; None for one that is none of ours."""
    if not name.startswith(PREFIX):
        return None
    folder, _, file = name.removeprefix(PREFIX).partition("_")
    if folder not in FOLDERS or not file or file.startswith("."):
        return None
    return posixpath.join(cert_dir, folder, file)
