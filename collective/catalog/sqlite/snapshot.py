"""Snapshots: a consistent copy of a serving catalogue, with its checksum.

``snapshots/catalog-<epoch>-<sequence>.db`` and the same name with ``.b3`` (BLAKE3 in hex).  A copy is
published by rename after it is flushed, the checksum after the copy, and only then are older pairs
removed: whatever moment a backup is taken at, one complete pair is there.
"""

from __future__ import annotations

import contextlib
import errno
import os

import apsw
from blake3 import blake3

from collective.catalog.model import Position
from collective.catalog.sqlite.writer import translate
from collective.core.disk import Disk
from collective.core.errors import NoSpaceError

FOLDER = "snapshots"


_READ_BYTES = 1024 * 1024


def write_snapshot(db: apsw.Connection, data_dir: str, position: Position, disk: Disk) -> str:
    """Write one snapshot at least as new as ``position`` (blocking); return its path.

    Raises NoSpaceError when it does not fit; older snapshots stay.
    """
    folder = os.path.join(data_dir, FOLDER)
    name = f"catalog-{position.epoch:08d}-{position.sequence:016d}.db"
    path = os.path.join(folder, name)
    draft = os.path.join(folder, "draft.tmp")
    try:
        disk.make_dir(folder)
        for leftover in (draft, f"{draft}-journal"):
            with contextlib.suppress(FileNotFoundError):
                disk.unlink(leftover)
        _copy(db, draft)
        checksum = _flushed_digest(draft, disk)
        disk.rename(draft, path)
        with disk.open(draft, "create") as file:
            file.write(f"{checksum}  {name}\n".encode("ascii"), 0)
            file.datasync()
        disk.rename(draft, f"{path}.b3")
        disk.sync_dir(folder)
        disk.sync_dir(data_dir)
        for old in disk.list_dir(folder):
            if old.name not in {name, f"{name}.b3"}:
                disk.unlink(os.path.join(folder, old.name))
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or errno.EIO)
        raise NoSpaceError(
            f"The snapshot could not be written ({reason}); free some space in {folder}."
        ) from error
    return path


def _copy(db: apsw.Connection, draft: str) -> None:
    try:
        db.execute("VACUUM INTO ?", (draft,))
    except apsw.Error as error:
        raise translate(error) from error


def _flushed_digest(path: str, disk: Disk) -> str:
    """Flush the file; return its BLAKE3 in hex."""
    digest = blake3()
    buffer = memoryview(bytearray(_READ_BYTES))
    with disk.open(path, "update") as file:
        file.datasync()
        offset = 0
        while count := file.read_into(buffer, offset):
            digest.update(buffer[:count])
            offset += count
    return digest.hexdigest()
