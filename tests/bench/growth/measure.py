"""What calls of a catalogue cost at one size: in process, with flushes, one call after the other."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest

from collective.access.model import Caller
from collective.catalog.model import CopyKey
from collective.catalog.sqlite import CatalogSettings, SqliteCatalog
from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId
from collective.core.world import real_world
from collective.roles.coordinator.metrics import CoordinatorMetrics, NodeFigures
from tests.bench.growth import catalogue
from tests.bench.growth.catalogue import Shape
from tests.contract.catalog.world import ANY, OPERATOR, begin, extent, p, receipts

ALL: Final = frozenset(NodeId(catalogue.node_name(number)) for number in range(1, 13))
SOMEBODY: Final = Caller(SpiffeId.parse(catalogue.user(7)), is_operator=False)
MISSING_COPIES: Final = 40_000
PAGE: Final = 500


@dataclass(slots=True)
class Row:
    """One figure: milliseconds unless ``unit`` says otherwise."""

    name: str
    p50: float
    p99: float | None = None
    unit: str = "ms"


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
class Bench:
    """One size."""

    folder: Path
    shape: Shape
    times: int
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    rows: list[Row] = field(default_factory=list)
    holds: Holds = field(default_factory=Holds)

    async def run(self) -> list[Row]:
        """Measure everything; the catalogue is changed by it."""
        catalog = await self._starts()
        catalog.watch_writer(self.holds)
        try:
            await self._calls(catalog)
            await self._whole(catalog)
            await self._snapshot(catalog)
            await self._inventory(catalog)
        finally:
            await catalog.close()
        self.rows.append(
            Row("database", os.path.getsize(self.folder / "catalog.db") / 1e6, unit="MB")
        )
        return self.rows

    async def _open(self) -> SqliteCatalog:
        return await SqliteCatalog.open(str(self.folder), real_world(), CatalogSettings())

    async def _starts(self) -> SqliteCatalog:
        catalog = await self._open()
        await catalog.close()
        start_s = time.perf_counter()
        catalog = await self._open()
        self.rows.append(Row("start", (time.perf_counter() - start_s) * 1000))
        return catalog

    async def _each(
        self, name: str, call: Callable[[int], Awaitable[object]], times: int = 0
    ) -> None:
        found = []
        gc.collect()
        for number in range(times or self.times):
            start_s = time.perf_counter()
            await call(number)
            found.append((time.perf_counter() - start_s) * 1000)
        found.sort()
        self.rows.append(Row(name, found[len(found) // 2], found[-1 - len(found) // 100]))

    def _file(self) -> str:
        """Return a file that was not moved away: these have even numbers."""
        return self.shape.path(self.chance.randrange(self.shape.files // 2) * 2 + 1)

    async def _calls(self, catalog: SqliteCatalog) -> None:
        step = max(1, self.shape.files // 2 // self.times)
        victims = (self.shape.path(number * step * 2) for number in range(self.times))
        folder = self.shape.folder(0)
        await self._each("stat", lambda _: catalog.stat(OPERATOR, p(self._file())))
        await self._each("stat (user)", lambda _: catalog.stat(SOMEBODY, p(self._own())))
        for name, path in (("list a page", folder), ("list a page, large folder", "/ds00/flat")):
            await self._each(
                name,
                lambda _, path=path: catalog.list(  # type: ignore[misc]
                    OPERATOR, p(path), recursive=False, page_size=PAGE, token=""
                ),
            )
        await self._each(
            "list a page, recursive",
            lambda _: catalog.list(OPERATOR, p("/ds01"), recursive=True, page_size=PAGE, token=""),
        )
        await self._each(
            "open_read",
            lambda _: catalog.open_read(
                OPERATOR, p(self._file()), offset=0, length=0, if_version=0, batch=64
            ),
        )
        await self._each("small write (open, commit)", lambda n: self._write(catalog, n))
        await self._each(
            "mkdir",
            lambda n: catalog.make_directory(OPERATOR, p(f"{folder}/new{n}"), parents=False),
        )
        await self._each(
            "mv a file",
            lambda n: catalog.move(OPERATOR, p(next(victims)), p(f"{folder}/m{n}"), condition=ANY),
        )
        await self._each(
            "rm a file",
            lambda n: catalog.remove(OPERATOR, p(f"{folder}/m{n}"), recursive=False, condition=ANY),
        )

    def _own(self) -> str:
        """Return a file that the user has a grant on."""
        shape = self.shape
        folder = (7 * catalogue.GRANTS_PER_USER) % shape.folders
        number = shape.in_one_folder + folder * catalogue.PER_FOLDER
        return shape.path(min(number, shape.files - 1))

    async def _write(self, catalog: SqliteCatalog, number: int) -> None:
        upload, wanted = await begin(
            catalog,
            f"{self.shape.folder(1)}/w{number}",
            f"content {number}",
            nodes=sorted(ALL)[number % 9 : number % 9 + 3],
        )
        proof = receipts(upload)
        await catalog.commit_upload(
            OPERATOR, upload.id, [extent(want) for want in wanted], proof, 10
        )

    async def _whole(self, catalog: SqliteCatalog) -> None:
        few = max(3, self.times // 20)

        def forget() -> None:
            catalog._counted.clear()

        async def totals(caller: Caller | None) -> None:
            forget()
            await catalog.totals(caller, ALL)

        async def one_down() -> None:
            forget()
            await catalog.totals(None, ALL - {min(ALL)})

        registry = CollectorRegistry()
        metrics = CoordinatorMetrics(registry, "alice", lambda: NodeFigures({}, 0, 0, 0))

        async def figures() -> None:
            forget()
            metrics.totals(await catalog.totals(None, ALL))
            await catalog.repair_backlog(ALL, frozenset())
            await catalog.open_codes()

        async def scrape() -> None:
            generate_latest(registry)

        await self._each("status totals (operator)", lambda _: totals(None), few)
        await self._each("status totals, a node down", lambda _: one_down(), few)
        await self._each("status totals (user)", lambda _: totals(SOMEBODY), few)
        await self._each("figures for metrics", lambda _: figures(), few)
        await self._each("scrape", lambda _: scrape(), few)
        await self._each("copies left on nodes (drain)", lambda _: catalog.copies_left(), 3)
        await self._each("node list", lambda _: catalog.nodes())
        await self._each(
            "grant list, a page",
            lambda _: catalog.grants(OPERATOR),
        )
        await self._each("datastore list", lambda _: catalog.datastores(OPERATOR))
        await self._each("audit, 1,000 rows", lambda _: catalog.audit(since_ms=0, limit=1000))
        await self._each("expiry", lambda _: catalog.expire(), few)
        self.rows.append(Row("memory", _rss_mb(), unit="MB"))

    async def _snapshot(self, catalog: SqliteCatalog) -> None:
        await self._alongside(catalog, "beside nothing", asyncio.sleep(3))
        start_s = time.perf_counter()
        taken: list[float] = []

        async def snapshot() -> None:
            await catalog.snapshot()
            taken.append((time.perf_counter() - start_s) * 1000)

        await self._alongside(catalog, "beside a snapshot", snapshot())
        self.rows.append(Row("snapshot", taken[0]))

    async def _alongside(self, catalog: SqliteCatalog, what: str, work: Awaitable[object]) -> None:
        """Make and read while ``work`` goes on; note the longest wait."""
        made, read = [0.0], [0.0]
        number = 0
        self.holds.reset()
        task = asyncio.ensure_future(work)
        while not task.done():
            number += 1
            start_s = time.perf_counter()
            await catalog.make_directory(OPERATOR, p(f"/{what}-{number}"), parents=False)
            made.append((time.perf_counter() - start_s) * 1000)
            start_s = time.perf_counter()
            await catalog.stat(OPERATOR, p(self._file()))
            read.append((time.perf_counter() - start_s) * 1000)
        await task
        made.sort()
        self.rows.append(Row(f"mkdir {what}: p50, longest", made[len(made) // 2], made[-1]))
        self.rows.append(Row(f"stat {what}: p50, longest", sorted(read)[len(read) // 2], max(read)))
        self.rows.append(
            Row(
                f"writer {what}: longest work, flush",
                self.holds.longest_s * 1000,
                self.holds.flush_s * 1000,
            )
        )

    async def _inventory(self, catalog: SqliteCatalog) -> None:
        """One page that lacks all copies of its range but the last."""
        node = catalogue.node_name(3)
        found = await catalog._engine.read(
            lambda db: db.execute(
                "SELECT c.hash, k.generation, c.stored_length FROM copies k"
                " JOIN chunks c ON c.id = k.chunk WHERE k.node = 3 ORDER BY c.hash LIMIT ?",
                (MISSING_COPIES + 1,),
            ).fetchall()
        )
        last: Any = found[-1]
        held = [CopyKey(ChunkId(last[0]), Generation(last[1]), last[2])]
        self.holds.reset()
        start_s = time.perf_counter()
        work = catalog.compare_inventory(NodeId(node), held, after=b"", last=False)
        self.rows.append(Row("copies missing in one inventory page", len(found) - 1, unit=""))
        await self._alongside(catalog, "beside that inventory", work)
        self.rows.append(Row("that inventory", (time.perf_counter() - start_s) * 1000))


def _rss_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
