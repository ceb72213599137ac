"""What is measured, and by what: rows, the writer's holds, calls one after the other or side by side."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from collective.catalog.sqlite import SqliteCatalog
from tests.bench.growth.catalogue import Shape
from tests.contract.catalog.world import OPERATOR, p

HOLD_MOST_MS: Final = 50.0
"""Nothing holds the writer for longer, beside the disk's own flush."""


@dataclass(slots=True)
class Row:
    """One figure: milliseconds unless ``unit`` says otherwise."""

    name: str
    p50: float
    p99: float | None = None
    unit: str = "ms"
    is_call: bool = False
    """Somebody waits for it, so its p99 may not grow with the catalogue."""
    most: float | None = None
    """What it may be at any size."""

    @property
    def worst(self) -> float:
        """The p99 of a call; of anything else the figure."""
        return self.p99 if self.is_call and self.p99 is not None else self.p50


@dataclass(slots=True)
class Holds:
    """The longest work of the writer since :meth:`reset`."""

    longest_s: float = 0.0
    flush_s: float = 0.0

    def __call__(self, phase: str, seconds: float) -> None:
        if phase == "work":
            self.longest_s = max(self.longest_s, seconds)
        else:
            self.flush_s = max(self.flush_s, seconds)

    def reset(self) -> None:
        self.longest_s = self.flush_s = 0.0


@dataclass(slots=True)
class Meter:
    """Measures one catalogue and keeps the rows."""

    shape: Shape
    times: int
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    rows: list[Row] = field(default_factory=list)
    holds: Holds = field(default_factory=Holds)

    @property
    def few(self) -> int:
        """How often a call is made that takes long."""
        return max(3, self.times // 20)

    def add(self, name: str, value: float, *, unit: str = "ms", most: float | None = None) -> None:
        """Keep a figure that was measured elsewhere."""
        self.rows.append(Row(name, value, unit=unit, most=most))

    def file(self) -> str:
        """Return a file that stays: those with even numbers are moved, some of the first half removed."""
        quarter = self.shape.files // 4
        return self.shape.path((quarter + self.chance.randrange(quarter)) * 2 + 1)

    async def each(
        self,
        name: str,
        call: Callable[[int], Awaitable[object]],
        times: int = 0,
        *,
        most: float | None = None,
        is_call: bool = True,
    ) -> None:
        """Make a call ``times`` times, one after the other."""
        found = []
        gc.collect()
        for number in range(times or self.times):
            start_s = time.perf_counter()
            await call(number)
            found.append((time.perf_counter() - start_s) * 1000)
        found.sort()
        p99 = found[-1 - len(found) // 100]
        self.rows.append(Row(name, found[len(found) // 2], p99, is_call=is_call, most=most))

    async def once(self, name: str, call: Awaitable[object]) -> None:
        """Make a call once; note how long it takes, and the writer's longest work in it."""
        self.holds.reset()
        start_s = time.perf_counter()
        await call
        self.add(name, (time.perf_counter() - start_s) * 1000)
        self._held(f"in {name}")

    async def alongside(
        self, catalog: SqliteCatalog, what: str, work: Awaitable[object], *, writes: bool = True
    ) -> None:
        """Read, and make names if ``writes``, while ``work`` goes on; note the longest waits."""
        made, read = [0.0], [0.0]
        number = 0
        self.holds.reset()
        start_s = time.perf_counter()
        task = asyncio.ensure_future(work)
        while not task.done():
            number += 1
            if writes:
                made.append(
                    await _timed(
                        catalog.names.make_directory(
                            OPERATOR, p(f"/{what}-{number}"), parents=False
                        )
                    )
                )
            read.append(await _timed(catalog.names.stat(OPERATOR, p(self.file()))))
        await task
        self.add(what, (time.perf_counter() - start_s) * 1000)
        self._pair(f"stat beside {what}: p50, longest", read)
        if writes:
            self._pair(f"mkdir beside {what}: p50, longest", made)
        self._held(f"beside {what}")

    def _pair(self, name: str, found: list[float]) -> None:
        found.sort()
        self.rows.append(Row(name, found[len(found) // 2], found[-1]))

    def _held(self, when: str) -> None:
        self.rows.append(
            Row(
                f"writer {when}: longest work, flush",
                self.holds.longest_s * 1000,
                self.holds.flush_s * 1000,
                most=HOLD_MOST_MS,
            )
        )


async def _timed(call: Awaitable[object]) -> float:
    start_s = time.perf_counter()
    await call
    return (time.perf_counter() - start_s) * 1000


def memory_mb() -> float:
    """Return what this process has resident."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
