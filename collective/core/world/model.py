"""The world as one value that is passed down from ``main``."""

from __future__ import annotations

from typing import NamedTuple

from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.randomness import Randomness
from collective.core.world.threads import Threads


class Sqlite(NamedTuple):
    """How databases are opened: they write their files by themselves, not through :class:`Disk`."""

    vfs: str | None = None
    """Name of a registered SQLite VFS; None: the machine's files.

    Another one shows the same files as the world's disk does: the database's file is made and looked
    at through that.
    """
    is_exclusive: bool = False
    """One connection has the database to itself (``locking_mode = EXCLUSIVE``): WAL then needs no
    shared memory, and all reading happens on the writing connection, in turn with the writing."""


class World(NamedTuple):
    """Clock, chance, disk and threads of one process.

    The real one is :func:`~collective.core.world.real.real_world`; tests and the simulator make their
    own.  Passed on whole, or the part that a class needs of it, and never kept in a module.
    """

    clock: Clock
    randomness: Randomness
    disk: Disk
    threads: Threads
    sqlite: Sqlite = Sqlite()
