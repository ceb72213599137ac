"""Slots: how equal processes share one folder, and each is a node with an identity of its own.

A set of containers that is scaled up and down has one volume and no names that last.  Each process takes
the first slot that nobody holds, ``01``, ``02``, …, and keeps its certificate and its chunks there:

========== ==================================================
in a slot  holds
========== ==================================================
``lock``   held exclusively while a process is this node
``certs/`` the cert dir: whatever ``cert_dir`` says, in the slot
``data/``  the data dir, likewise
========== ==================================================

The kernel drops a lock with its process, so whoever comes next is the node that was there before.  No slot is
ever removed: it holds copies.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

from collective.core.disk import Disk, DiskLock
from collective.core.errors import SettingsError

SLOTS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot that this process holds."""

    path: str
    lock: DiskLock


def take_slot(folder: str, disk: Disk) -> Slot:
    """Lock the first slot in ``folder`` that is free, and return it with its absolute path.  Blocking.

    Raises:
        SettingsError: each of the slots there may be is held by another process.
        OSError: the folder cannot be written.
    """
    folder = posixpath.abspath(folder)
    for number in range(1, SLOTS_MAX + 1):
        path = posixpath.join(folder, f"{number:02d}")
        disk.make_dir(path)
        lock = disk.lock(posixpath.join(path, "lock"))
        if lock is not None:
            return Slot(path, lock)
    raise SettingsError(
        f"All {SLOTS_MAX} slots in {folder} are held by other processes; give this node another folder."
    )
