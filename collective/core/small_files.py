"""Small files that are written whole: read with a limit, replaced atomically and durably.

Owns the order that makes a replacement safe: new file beside the old one, flush, rename, flush of the
folder; a crash leaves the old content or the new.  Folders on the way are made 0700.  What the files
say (keys, certificates, notes of a role) is their owner's.  Blocking; async callers use an executor.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Sequence
from typing import Final, NamedTuple

from collective.core.disk import Disk
from collective.core.disk_errors import disk_errors
from collective.core.errors import NotJoinedError, SettingsError

FILE_MAX_BYTES: Final = 64 * 1024
_FRESH: Final = ".new"


class NewContent(NamedTuple):
    """What one file is to hold, and its permissions."""

    path: str
    content: bytes
    permissions: int


def write_atomically(path: str, content: bytes, *, permissions: int, disk: Disk) -> None:
    """Replace the file at ``path`` durably; its folder is made 0700 if it is absent.

    Raises as :func:`replace_together`.
    """
    replace_together((NewContent(path, content, permissions),), disk=disk)


def replace_together(contents: Sequence[NewContent], *, disk: Disk) -> None:
    """Replace files of one folder, renamed in the order given.

    All are durable beside the old ones before the first is renamed, so that readers meet a mixture
    for a moment only; a crash between two renames leaves one.  What a failure leaves beside them is
    removed as far as the disk allows: it may be a secret.

    Raises:
        DiskFullError, DiskReadOnlyError, DiskFailedError: some of it was not written; the old content
            is still there, or the new one is.
    """
    folder = posixpath.dirname(contents[0].path) or os.curdir
    with disk_errors(f"{contents[0].path} cannot be written: its"):
        _ready_folder(folder, disk)
        try:
            fresh = [_write_fresh(each, disk) for each in contents]
            for new_path, each in zip(fresh, contents, strict=True):
                disk.rename(new_path, each.path)
        except OSError:
            _drop_fresh(contents, disk)
            raise
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


def _ready_folder(folder: str, disk: Disk) -> None:
    """Make ``folder`` durably if it is absent."""
    made = _absent_folders(folder, disk)
    disk.make_dir(folder)
    for new in made:
        disk.sync_dir(posixpath.dirname(new) or os.curdir)


def _write_fresh(wanted: NewContent, disk: Disk) -> str:
    """Write the content to a file beside its path, flushed; return the new file's path."""
    fresh = wanted.path + _FRESH
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(fresh)
    with disk.open(fresh, "create", permissions=wanted.permissions) as file:
        file.write(wanted.content, 0)
        file.datasync()
    return fresh


def _drop_fresh(contents: Sequence[NewContent], disk: Disk) -> None:
    for each in contents:
        with contextlib.suppress(OSError):
            disk.unlink(each.path + _FRESH)


def _absent_folders(folder: str, disk: Disk) -> list[str]:
    """Return the folders on the way to ``folder`` that do not exist, outermost first."""
    found: list[str] = []
    while folder and not disk.exists(folder):
        found.append(folder)
        folder = posixpath.dirname(folder)
    return found[::-1]
