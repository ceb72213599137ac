"""What a process needs before its first answer: after a clean end, a kill, and an older version.

A start is measured twice, with the database in the system's cache and without.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.core.world import real_world
from tests.bench.growth.rows import Meter
from tests.contract.catalog.world import OPERATOR, p

START_MOST_MS: Final = 5000.0
CHANGES_BEFORE_KILL: Final = 300
SETTINGS: Final = CatalogSettings(lease_life_s=1.0)
"""Nothing is collected while a lease of before the start may be held."""


async def first(folder: Path, meter: Meter) -> SqliteCatalog:
    """Open what was made, which upgrades it; then start again, and return the open catalogue."""
    catalog = await _open(folder, "first start, with the upgrade", meter, most=None)
    await catalog.close()
    _forget_cached(folder)
    catalog = await _open(folder, "start, nothing cached", meter)
    await catalog.close()
    catalog = await _open(folder, "start", meter)
    catalog.upkeep.watch_writer(meter.holds)
    return catalog


async def last(folder: Path, meter: Meter) -> None:
    """Start after a process was killed in the middle of its work."""
    for is_cached in (False, True):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            killed = pool.submit(_be_killed, str(folder))
            with contextlib.suppress(BrokenProcessPool):
                killed.result()
        if not is_cached:
            _forget_cached(folder)
        name = "start after a kill" + ("" if is_cached else ", nothing cached")
        await (await _open(folder, name, meter)).close()


def _be_killed(folder: str) -> None:
    """Open the catalogue, change it, and end at once."""

    async def work() -> None:
        catalog = await SqliteCatalog.open(folder, real_world(), SETTINGS)
        for number in range(CHANGES_BEFORE_KILL):
            path = p(f"/killed-{time.time_ns()}-{number}")
            await catalog.names.make_directory(OPERATOR, path, parents=False)
        os._exit(1)

    asyncio.run(work())


async def _open(
    folder: Path, name: str, meter: Meter, *, most: float | None = START_MOST_MS
) -> SqliteCatalog:
    start_s = time.perf_counter()
    catalog = await SqliteCatalog.open(str(folder), real_world(), SETTINGS)
    meter.add(name, (time.perf_counter() - start_s) * 1000, most=most)
    return catalog


def _forget_cached(folder: Path) -> None:
    """Have the system forget what it has cached of the files."""
    for path in folder.glob("catalog.db*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
