"""The copy of a catalogue that an upgrade of its schema begins with, for going back to the former program.

``upgrades/schema-<schema>-<epoch>-<sequence>.db`` and the same name with ``.b3`` (as snapshots have it).  Only
the latest is kept: what a newer program writes afterwards is not in it.  An upgrade that was cut off and
begins again has the copy already, of the same place in the catalogue's history.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Final

import apsw

from collective.catalog.sqlite.store.custody import digest_of
from collective.catalog.sqlite.store.online_backup import copy_database, is_sound
from collective.catalog.sqlite.store.snapshot import Pair
from collective.core.disk import Disk
from collective.core.errors import CorruptionError
from collective.core.small_files import write_atomically

FOLDER: Final = "upgrades"
_DRAFT: Final = "draft.tmp"
_NAME: Final = re.compile(r"schema-(\d{4,})-(\d{8,})-(\d{16,})\.db")


def keep_before_upgrade(
    db: apsw.Connection, data_dir: str, schema: int, at: Pair, *, vfs: str | None, disk: Disk
) -> str:
    """Have a checked copy of ``db`` in ``upgrades``; return its path.

    Args:
        db: of the former schema, in no transaction.
        data_dir: the catalogue's.
        schema: of ``db``; one that an upgrade reached before it was cut off, where the copy is older.
        at: where in its history the catalogue is.
        vfs: of SQLite, which shows the same files as ``disk``.
        disk: holds it.

    Raises:
        CorruptionError: the copy shows a fault, so the catalogue has it too.
        OSError, apsw.FullError: it does not fit; nothing of it is left, and nothing was upgraded.
    """
    folder = os.path.join(data_dir, FOLDER)
    disk.make_dir(folder)
    _clear_draft(folder, disk)
    for name, found in _copies(folder, disk):
        is_complete = disk.exists(os.path.join(folder, f"{name}.b3"))
        if found[1:] == (at.epoch, at.sequence) and found[0] <= schema and is_complete:
            return os.path.join(folder, name)
    draft = os.path.join(folder, _DRAFT)
    try:
        copy_database(db, draft, vfs=vfs, disk=disk, pause=lambda _: None)
        _require_sound(draft, vfs)
        name = f"schema-{schema:04d}-{at.epoch:08d}-{at.sequence:016d}.db"
        path = os.path.join(folder, name)
        checksum = digest_of(draft, disk)
        disk.rename(draft, path)
        disk.sync_dir(folder)
        content = f"{checksum}  {name}\n".encode()
        write_atomically(f"{path}.b3", content, permissions=0o600, disk=disk)
    except BaseException:
        with contextlib.suppress(OSError):
            _clear_draft(folder, disk)
        raise
    disk.sync_dir(data_dir)
    for other, _ in _copies(folder, disk):
        if other != name:
            _remove(os.path.join(folder, f"{other}.b3"), disk)
            _remove(os.path.join(folder, other), disk)
    return path


def _require_sound(draft: str, vfs: str | None) -> None:
    if not is_sound(draft, vfs=vfs):
        raise CorruptionError(
            "The catalogue is damaged, and is not upgraded; put its latest snapshot in its place."
        )


def _copies(folder: str, disk: Disk) -> list[tuple[str, tuple[int, int, int]]]:
    """Return the copies by name, each with its schema, epoch and sequence."""
    matches = (_NAME.fullmatch(entry.name) for entry in disk.list_dir(folder))
    return [(m[0], (int(m[1]), int(m[2]), int(m[3]))) for m in matches if m]


def _clear_draft(folder: str, disk: Disk) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        _remove(os.path.join(folder, f"{_DRAFT}{suffix}"), disk)


def _remove(path: str, disk: Disk) -> None:
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(path)
