"""What a catalogue costs at one size: in process, with flushes, one call after the other.

What a call costs while all is well is here; nodes in trouble are in ``trouble``, work over many rows in
``setwork``, and what a process needs before its first answer in ``starts``.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest

from collective.catalog.sqlite import SqliteCatalog
from collective.core.ids import NodeId, SpiffeId
from collective.member.metrics import MemberMetrics
from collective.model.calls import Call
from tests.bench.growth import catalogue, setwork, starts, trouble
from tests.bench.growth.catalogue import Shape
from tests.bench.growth.rows import Meter, Row, memory_mb
from tests.contract.catalog.world import ANY, OPERATOR, begin, extent, p, receipts
from tests.unit.member.cluster import no_nodes

ALL: Final = frozenset(NodeId(catalogue.node_name(number)) for number in range(1, 13))
SOMEBODY: Final = Call(SpiffeId.parse(catalogue.user(7)), is_operator=False)
SCATTERED: Final = Call(SpiffeId.parse(catalogue.SCATTERED), is_operator=False)
"""Has grants on twenty files of the large folder, and none on the folder itself."""
READS_ALL: Final = Call(SpiffeId.parse(catalogue.READS_ALL), is_operator=False)
READS_ONE: Final = Call(SpiffeId.parse(catalogue.READS_ONE), is_operator=False)
PAGE: Final = 100
"""Entries: as many as the large folder has in the smallest catalogue."""
SCRAPE_MOST_MS: Final = 50.0
MEMORY_MOST_MB: Final = 300.0


def measured(folder: Path, shape: Shape, times: int) -> list[Row]:
    """Measure the catalogue in ``folder``; in a process of its own, since memory counts."""
    return asyncio.run(Bench(folder, shape, times).run())


@dataclass(slots=True)
class Bench:
    """One size."""

    folder: Path
    shape: Shape
    times: int
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = Meter(self.shape, self.times)

    async def run(self) -> list[Row]:
        """Measure everything; the catalogue is changed by it."""
        meter = self.meter
        catalog = await starts.first(self.folder, meter)
        try:
            await self._calls(catalog)
            await self._whole(catalog)
            await self._snapshot(catalog)
            await trouble.measure(catalog, meter, ALL)
            await setwork.measure(catalog, meter)
        finally:
            await catalog.close()
        await setwork.shorten_audit(self.folder, meter)
        await starts.last(self.folder, meter)
        meter.add("database", os.path.getsize(self.folder / "catalog.db") / 1e6, unit="MB")
        return meter.rows

    async def _calls(self, catalog: SqliteCatalog) -> None:
        meter = self.meter
        step = max(1, self.shape.files // 2 // self.times)
        victims = (self.shape.path(number * step * 2) for number in range(self.times))
        folder = self.shape.folder(0)
        await meter.each("stat", lambda _: catalog.names.stat(OPERATOR, p(meter.file())))
        await meter.each("stat (user)", lambda _: catalog.names.stat(SOMEBODY, p(self._own())))
        for name, path in (("list a page", folder), ("list a page, large folder", "/ds00/flat")):
            await meter.each(
                name,
                lambda _, path=path: catalog.names.list(  # type: ignore[misc]
                    OPERATOR, p(path), recursive=False, page_size=PAGE, token=""
                ),
            )
        await meter.each(
            "list a page, recursive",
            lambda _: catalog.names.list(
                OPERATOR, p("/ds01"), recursive=True, page_size=PAGE, token=""
            ),
        )
        await meter.each(
            "list the large folder above one's grants",
            lambda _: catalog.names.list(
                SCATTERED, p("/ds00/flat"), recursive=False, page_size=PAGE, token=""
            ),
        )
        await meter.each(
            "open_read",
            lambda _: catalog.reads.open(
                OPERATOR, p(meter.file()), offset=0, length=0, if_version=0, batch=64
            ),
        )
        await meter.each("small write (open, commit)", lambda n: self._write(catalog, n))
        await meter.each(
            "mkdir",
            lambda n: catalog.names.make_directory(OPERATOR, p(f"{folder}/new{n}"), parents=False),
        )
        await meter.each(
            "mv a file",
            lambda n: catalog.names.move(
                OPERATOR, p(next(victims)), p(f"{folder}/m{n}"), condition=ANY
            ),
        )
        await meter.each(
            "rm a file",
            lambda n: catalog.names.remove(
                OPERATOR, p(f"{folder}/m{n}"), recursive=False, condition=ANY
            ),
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
        await catalog.uploads.commit(
            OPERATOR, upload.id, [extent(want) for want in wanted], proof, 10
        )

    async def _whole(self, catalog: SqliteCatalog) -> None:
        meter = self.meter

        async def totals(caller: Call | None) -> None:
            catalog.figures._totals._counted.clear()
            await catalog.figures.totals(caller, ALL)

        registry = CollectorRegistry()
        metrics = MemberMetrics(registry, "alice", *no_nodes())

        async def figures() -> None:
            catalog.figures._totals._counted.clear()
            metrics.totals(await catalog.figures.totals(None, ALL))
            await catalog.figures.repair_backlog(ALL, frozenset())
            await catalog.figures.copies_in_doubt()
            await catalog.codes.count_open()

        async def scrape() -> None:
            generate_latest(registry)

        few = meter.few
        await meter.each("status totals (operator)", lambda _: totals(None), few)
        await meter.each("status totals (user)", lambda _: totals(SOMEBODY), few)
        await meter.each("status totals (user who reads /)", lambda _: totals(READS_ALL), few)
        await meter.each("status totals (user who reads /ds01)", lambda _: totals(READS_ONE), few)
        await meter.each("figures for metrics", lambda _: figures(), few, most=SCRAPE_MOST_MS)
        await meter.each("scrape", lambda _: scrape(), few, most=SCRAPE_MOST_MS)
        await meter.each("copies left on nodes", lambda _: catalog.figures.copies_left(), 3)
        await meter.each("node list", lambda _: catalog.nodes.list())
        await meter.each("grant list, a page", lambda _: catalog.grants.list(OPERATOR))
        await meter.each("datastore list", lambda _: catalog.datastores.list(OPERATOR))
        await meter.each("audit, 1,000 rows", lambda _: catalog.audit.list(since_ms=0, limit=1000))
        await meter.each("expiry", lambda _: catalog.upkeep.expire(), few)
        at = iter(range(meter.few))
        await meter.each(
            "a copy to sample",
            lambda _: catalog.copies.sample_on(min(ALL), next(at) / meter.few, 1),
            meter.few,
        )
        meter.add("memory", memory_mb(), unit="MB", most=MEMORY_MOST_MB)

    async def _snapshot(self, catalog: SqliteCatalog) -> None:
        await self.meter.alongside(catalog, "nothing", asyncio.sleep(3))
        await self.meter.alongside(catalog, "a snapshot", catalog.upkeep.snapshot())
