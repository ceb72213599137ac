"""Opens the engine that the model runs beside; the one place here that names it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from collective.catalog.interface import Catalog
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.randomness import SeededRandomness
from collective.core.world import InlineThreads
from tests.worlds import world_of

T = TypeVar("T")
COPIES: Final = 3
"""Copies where a datastore does not say."""
LEASE_LIFE_S: Final = 120
_MEMORY: Final = "/dev/shm"


class Engine:
    """One catalogue on a clock of its own, in one thread: what is begun together has one order."""

    def __init__(self) -> None:
        """Make an empty one."""
        self.clock = ManualClock()
        self._randomness = SeededRandomness(1)
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory(dir=_MEMORY if os.path.isdir(_MEMORY) else None)
        self.catalog: Catalog = self.run(self._open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns."""
        return self._runner.run(work)

    def reopen(self) -> None:
        """End the process, in order, and begin another one on the same files."""
        self.run(self.catalog.close())
        self.catalog = self.run(self._open())

    def close(self) -> None:
        """Leave nothing behind."""
        self.run(self.catalog.close())
        self._runner.close()
        self._folder.cleanup()

    async def _open(self) -> Catalog:
        world = world_of(self.clock, self._randomness, threads=InlineThreads(), exclusive=True)
        settings = CatalogSettings(copies=COPIES, lease_life_s=LEASE_LIFE_S)
        return await SqliteCatalog.open(self._folder.name, world, settings)
