"""Snapshots: a consistent copy of a serving catalogue, with its checksum.

``snapshots/catalog-<epoch>-<sequence>.db`` and the same name with ``.b3`` (BLAKE3 in hex).  A copy is
published by rename after it is flushed, the checksum after the copy, and only then are older pairs
removed: whatever moment a backup is taken at, one complete pair is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import apsw
from blake3 import blake3

from collective.catalog.model import Position
from collective.catalog.sqlite.writer import translate
from collective.core.errors import NoSpaceError

FOLDER = "snapshots"


def write_snapshot(
    connect: Callable[[], apsw.Connection], data_dir: str, position: Position
) -> str:
    """Write one snapshot at least as new as ``position`` (blocking); return its path.

    Raises NoSpaceError when it does not fit; older snapshots stay.
    """
    folder = os.path.join(data_dir, FOLDER)
    name = f"catalog-{position.epoch:08d}-{position.sequence:016d}.db"
    path = os.path.join(folder, name)
    draft = os.path.join(folder, "draft.tmp")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for leftover in (draft, f"{draft}-journal"):
            if os.path.exists(leftover):
                os.unlink(leftover)
        _copy(connect, draft)
        _flush(draft)
        checksum = blake3().update_mmap(draft).hexdigest()
        os.rename(draft, path)
        with open(draft, "w", encoding="ascii") as file:
            file.write(f"{checksum}  {name}\n")
        _flush(draft)
        os.rename(draft, f"{path}.b3")
        _flush(folder)
        _flush(data_dir)
        for old in os.listdir(folder):
            if old not in {name, f"{name}.b3"}:
                os.unlink(os.path.join(folder, old))
    except OSError as error:
        raise NoSpaceError(
            f"The snapshot could not be written ({error.strerror}); free some space in {folder}."
        ) from error
    return path


def _copy(connect: Callable[[], apsw.Connection], draft: str) -> None:
    db = connect()
    try:
        db.execute("PRAGMA query_only = OFF")
        db.execute("VACUUM INTO ?", (draft,))
    except apsw.Error as error:
        raise translate(error) from error
    finally:
        db.close()


def _flush(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
