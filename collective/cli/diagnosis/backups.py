"""How old the newest backup is, and whether there is a snapshot of a catalogue in it.

A backup is a copy of a coordinator's data dir: a folder, a tar, or a folder of tars.  What only copies a database
in use may be of no use (docs/how-to/restore.md); a snapshot is whole.
"""

from __future__ import annotations

import os
import tarfile
from typing import Final, NamedTuple

_FOLDER: Final = "snapshots"
_TAR: Final = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


class Backup(NamedTuple):
    """The newest one at a path."""

    path: str
    age_s: float
    has_snapshot: bool | None
    """None: it is of a kind that cannot be looked into here."""


def newest_backup(path: str, now_s: float) -> Backup | None:
    """Return the newest backup at ``path``, a folder or a file; None where there is none."""
    try:
        if not os.path.isdir(path):
            return Backup(path, now_s - os.stat(path).st_mtime, _holds_snapshot(path))
        entries = [entry for entry in os.scandir(path) if entry.is_file() or entry.is_dir()]
        if not entries:
            return None
        tars = [entry for entry in entries if entry.name.endswith(_TAR)]
        newest = max(tars or entries, key=lambda entry: entry.stat().st_mtime)
        age_s = now_s - newest.stat().st_mtime
        if tars:
            return Backup(newest.path, age_s, _holds_snapshot(newest.path))
        return Backup(path, age_s, _has_snapshot_below(path))
    except OSError:
        return None


def _holds_snapshot(file: str) -> bool | None:
    if not os.path.getsize(file):
        return False
    try:
        with tarfile.open(file) as tar:
            return any(member.isfile() and _is_snapshot(member.name) for member in tar)
    except (tarfile.TarError, EOFError):
        return False if file.endswith(_TAR) else None


def _has_snapshot_below(folder: str) -> bool:
    return any(
        _is_snapshot(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names
    )


def _is_snapshot(path: str) -> bool:
    folder, name = os.path.split(path)
    return os.path.basename(folder) == _FOLDER and name.startswith("catalog-")
