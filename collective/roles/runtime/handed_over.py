"""Keys and certificates that the service manager hands over: put into the cert dir where absent.

Under systemd, ``LoadCredential=certs:FOLDER`` shows the files of a folder that only root reads, its
folders flattened into names: ``ca/alice-ca.crt`` comes as ``certs_ca_alice-ca.crt``.  What the cert dir
has already is never replaced, since the process renews it there.  Source: systemd.exec(5).
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Final

import structlog

from collective.core.disk import Disk
from collective.core.small_files import read_small, write_atomically

DIRECTORY_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
PREFIX: Final = "certs_"
FOLDERS: Final = ("bootstraps", "ca", "coordinators", "nodes")
_MODE: Final = 0o600


def take_certificates(environment: Mapping[str, str], cert_dir: str, disk: Disk) -> list[str]:
    """Copy what was handed over into ``cert_dir``; return the paths that are new.  Blocking.

    Raises:
        SettingsError: a file cannot be read, or is too large for a key or a certificate.
        DiskFullError, DiskReadOnlyError, DiskFailedError: the cert dir cannot be written.
    """
    source = environment.get(DIRECTORY_VARIABLE, "")
    if not source or not disk.exists(source):
        return []
    taken = []
    for entry in sorted(disk.list_dir(source)):
        target = _target(entry.name, cert_dir)
        if target is None or entry.is_dir or disk.exists(target):
            continue
        content = read_small(posixpath.join(source, entry.name), disk=disk)
        write_atomically(target, content, permissions=_MODE, disk=disk)
        structlog.get_logger("collective.runtime").info("certificate handed over", path=target)
        taken.append(target)
    return taken


def _target(name: str, cert_dir: str) -> str | None:
    """Return where a credential of this name goes; None for one that is none of ours."""
    if not name.startswith(PREFIX):
        return None
    folder, _, file = name.removeprefix(PREFIX).partition("_")
    if folder not in FOLDERS or not file or file.startswith("."):
        return None
    return posixpath.join(cert_dir, folder, file)
