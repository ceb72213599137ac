"""Worlds for tests: the machine's, and ones whose parts a test chooses."""

from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.randomness import Randomness
from collective.core.world import Sqlite, Threads, World, real_world
from collective.rpc.tls_links import TlsLinks

REAL = real_world()
LINKS = TlsLinks(REAL)


def world_of(
    clock: Clock | None = None,
    randomness: Randomness | None = None,
    *,
    disk: Disk | None = None,
    threads: Threads | None = None,
    vfs: str | None = None,
    exclusive: bool = False,
) -> World:
    """Return a world with what is given, else this machine's."""
    return World(
        clock or REAL.clock,
        randomness or REAL.randomness,
        disk or REAL.disk,
        threads or REAL.threads,
        Sqlite(vfs, exclusive),
    )
