"""How old the newest backup is, and whether there is a snapshot of a catalogue in it.

A backup is a copy of a coordinator's data dir: a folder, a tar, or a folder of such.  What only copies a database
in use may be of no use (docs/how-to/restore.md); a snapshot is whole.  Beside the tars of data dirs others may lie, of
cert dirs for one: the newest that holds a snapshot counts.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

_CATALOGS: Final = ("catalog", "data/catalog")
"""Where a data dir has its catalogue, or the folder that the data dir is in."""
_FOLDER: Final = "snapshots"
"""In a catalogue's folder.  Other programs have one of that name, too."""
_TAR: Final = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_LOOKED_INTO_MAX: Final = 8
"""Tars of a folder, the newest first: to look into one is to read it."""
_READ_BYTES: Final = 1 << 20
_UNREADABLE: Final = (
    tarfile.TarError,
    EOFError,
    OSError,
    ValueError,  # of a damaged size, where a header has it in words
    OverflowError,  # where it has it in bytes
    zlib.error,
    lzma.LZMAError,
)
"""Of a file that is damaged, cut off, or of another kind."""


class Backup(NamedTuple):
    """The newest one at a path."""

    path: str
    age_s: float
    has_snapshot: bool | None
    """None: it is of a kind that cannot be looked into here."""


def newest_backup(path: str, now_s: float) -> Backup | None:
    """Return the newest backup at ``path``, a folder or a file; None where there is none.

    Raises PermissionError where what may be one cannot be looked at.
    """
    try:
        if not os.path.isdir(path):
            return Backup(path, now_s - os.stat(path).st_mtime, _holds_snapshot(path))
        there = [os.path.join(path, name) for name in os.listdir(path)]
    except PermissionError:
        raise
    except OSError:
        return None
    if _is_data_dir(path):
        return Backup(path, now_s - _changed_s(path), _has_snapshot_below(path))
    return _newest_of(there, now_s)


def _newest_of(there: Sequence[str], now_s: float) -> Backup | None:
    ages_s, shut = _ages_s(there, now_s)
    newest = sorted(ages_s, key=lambda one: ages_s[one])
    for one in newest[:_LOOKED_INTO_MAX]:
        try:
            has = _has_snapshot_below(one) if os.path.isdir(one) else _holds_snapshot(one)
        except PermissionError as error:
            shut = shut or error
            continue
        if has:
            return Backup(one, ages_s[one], has_snapshot=True)
    if shut is not None:
        raise shut
    if not newest:
        return None
    has_tar = any(one.endswith(_TAR) for one in newest)
    return Backup(newest[0], ages_s[newest[0]], False if has_tar else None)


def _ages_s(there: Sequence[str], now_s: float) -> tuple[dict[str, float], PermissionError | None]:
    """Return how old each file and folder is, and the first error where one cannot be seen."""
    ages_s: dict[str, float] = {}
    shut: PermissionError | None = None
    for one in there:
        try:
            if _may_be_one(one):
                ages_s[one] = now_s - _changed_s(one)
        except PermissionError as error:
            shut = shut or error
    return ages_s, shut


def _is_data_dir(path: str) -> bool:
    return any(os.path.isdir(os.path.join(path, catalog)) for catalog in _CATALOGS)


def _may_be_one(path: str) -> bool:
    """Tell whether a file or a folder is there; PermissionError where that cannot be seen."""
    try:
        kind = os.stat(path).st_mode
    except PermissionError:
        raise
    except OSError:  # it leads nowhere, or has just gone
        return False
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind)


def _changed_s(path: str) -> float:
    """Return when a file last changed, or what a folder has of a catalogue: a copy of it may keep all times."""
    looked_at = [path]
    for folder in (path, *(os.path.join(path, catalog, _FOLDER) for catalog in _CATALOGS)):
        with suppress(OSError):  # it is a file, or not there
            looked_at += [folder, *(os.path.join(folder, name) for name in os.listdir(folder))]
    seen_s = [0.0]
    for one in looked_at:
        with suppress(OSError):  # it has just gone
            seen_s.append(os.stat(one).st_mtime)
    return max(seen_s)


def _holds_snapshot(file: str) -> bool | None:
    """Look into a tar: whether it has a snapshot, to its last byte."""
    try:
        if not os.path.getsize(file):
            return False
        with tarfile.open(file) as tar:
            for member in tar:
                if member.isfile() and member.size and _is_snapshot(member.name):
                    _read_through(tar, member)
                    return True
            return False
    except PermissionError:
        raise
    except _UNREADABLE:
        return False if file.endswith(_TAR) else None


def _read_through(tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Raise where the member is cut off, or the tar is compressed and damaged: its checksum may be at its end."""
    content = tar.extractfile(member)
    assert content is not None
    left = member.size
    while left:
        some = content.read(_READ_BYTES)
        if not some:
            raise tarfile.ReadError("it is cut off")
        left -= len(some)
    is_plain = isinstance(tar.fileobj, io.BufferedReader)
    while not is_plain and tar.fileobj is not None and tar.fileobj.read(_READ_BYTES):
        pass


def _has_snapshot_below(folder: str) -> bool:
    return any(
        _is_snapshot(path) and _is_filled(path)
        for at, _, names in os.walk(folder, onerror=_tell_of_rights)
        for path in (os.path.join(at, name) for name in names)
    )


def _tell_of_rights(error: OSError) -> None:
    """Raise what else a folder that has just gone would be taken for."""
    if isinstance(error, PermissionError):
        raise error


def _is_filled(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except PermissionError:
        raise
    except OSError:  # it has just been replaced, or leads nowhere
        return False


def _is_snapshot(path: str) -> bool:
    folder, name = os.path.split(path)
    is_copy = name.startswith("catalog-") and name.endswith(".db")
    return os.path.basename(folder) == _FOLDER and is_copy
