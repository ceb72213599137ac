"""The world of a process that runs on a machine."""

from __future__ import annotations

from collective.core.clock import SystemClock
from collective.core.disk import OsDisk
from collective.core.randomness import SystemRandomness
from collective.core.world.model import World
from collective.core.world.threads import OsThreads


def real_world() -> World:
    """Return the machine's clocks, generator, file systems and threads."""
    return World(SystemClock(), SystemRandomness(), OsDisk(), OsThreads())
