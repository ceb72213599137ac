"""Work over many rows: trees that move and go, inventories, collection, policies, the audit.

What counts is not how long it takes but for how long it holds the writer, and what waits meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.core.ids import ChunkId, Generation, NodeId
from collective.core.world import real_world
from collective.model.copies import CopyKey
from tests.bench.growth import catalogue
from tests.bench.growth.rows import HOLD_MOST_MS, Meter
from tests.contract.catalog.world import ANY, OPERATOR, p

MISSING_COPIES: Final = 40_000
INVENTORY_PAGE: Final = 2000
"""As a node cuts them."""
COLLECTIONS: Final = 200
"""Steps of collection that are taken at most."""
TREES: Final = 5
REMOVED: Final = 20


async def measure(catalog: SqliteCatalog, meter: Meter) -> None:
    """Measure; a tenth of the files is gone afterwards."""
    await _moves(catalog, meter)
    await _missing_page(catalog, meter)
    await _whole_inventory(catalog, meter)
    await _settle(catalog, meter)
    await _removals(catalog, meter)
    await meter.alongside(catalog, "collection", _collect(catalog))


async def _moves(catalog: SqliteCatalog, meter: Meter) -> None:
    """Move the large folder about and back."""
    for name, target in (
        ("within its datastore", "/ds00/moved"),
        ("to another datastore", "/ds02/moved"),
        ("two levels deeper", "/ds03/a/b/moved"),
    ):
        if "/a/b" in target:
            await catalog.names.make_directory(OPERATOR, p("/ds03/a/b"), parents=True)

        async def there_and_back(target: str = target) -> None:
            await catalog.names.move(OPERATOR, p("/ds00/flat"), p(target), condition=ANY)
            await catalog.names.move(OPERATOR, p(target), p("/ds00/flat"), condition=ANY)

        meter.holds.reset()
        await meter.each(f"mv the large folder {name}, and back", lambda _: there_and_back(), TREES)
        meter.add(
            f"writer in mv the large folder {name}: longest work",
            meter.holds.longest_s * 1000,
            most=HOLD_MOST_MS,
        )
        while await catalog.datastores.settle_copies():
            pass


async def _missing_page(catalog: SqliteCatalog, meter: Meter) -> None:
    """One page that lacks all copies of its range but the last."""
    found = _copies_on(meter.shape, 3)[: MISSING_COPIES + 1]
    meter.add("copies missing in one inventory page", len(found) - 1, unit="")
    await meter.alongside(
        catalog,
        "an inventory page that lacks most",
        catalog.copies.compare_inventory(
            NodeId(catalogue.node_name(3)), found[-1:], after=b"", last=False
        ),
    )


async def _whole_inventory(catalog: SqliteCatalog, meter: Meter) -> None:
    copies = _copies_on(meter.shape, 4)

    async def tell() -> None:
        after = b""
        for start in range(0, len(copies), INVENTORY_PAGE):
            page = copies[start : start + INVENTORY_PAGE]
            await catalog.copies.compare_inventory(
                NodeId(catalogue.node_name(4)),
                page,
                after=after,
                last=start + INVENTORY_PAGE >= len(copies),
            )
            after = page[-1].chunk

    await meter.alongside(catalog, "a whole inventory", tell())


def _copies_on(shape: catalogue.Shape, node: int) -> list[CopyKey]:
    """Return what a node holds, as its inventory has it."""
    found = []
    for chunk in range(1, shape.chunks + 1):
        for place in range(catalogue.COPIES):
            if catalogue.node_of(chunk, place) == node:
                generation = Generation(catalogue.generation_of(chunk, place))
                key = ChunkId(catalogue.chunk_hash(chunk))
                found.append(CopyKey(key, generation, catalogue.STORED_BYTES))
    found.sort(key=lambda key: key.chunk)
    return found


async def _settle(catalog: SqliteCatalog, meter: Meter) -> None:
    async def settle() -> None:
        await catalog.datastores.set(OPERATOR, p("/ds05"), copies=2)
        while await catalog.datastores.settle_copies():
            pass

    await meter.alongside(catalog, "fewer copies for a datastore", settle())


async def _removals(catalog: SqliteCatalog, meter: Meter) -> None:
    shape = meter.shape
    folders = [shape.folder(number) for number in range(2, min(shape.folders // 3, REMOVED) + 1)]

    async def remove(path: str) -> None:
        await catalog.names.remove(OPERATOR, p(path), recursive=True, condition=ANY)

    await meter.each("rm -r a folder of 100", lambda n: remove(folders[n]), len(folders))
    await meter.alongside(catalog, "rm -r of the large folder", remove("/ds00/flat"))


async def _collect(catalog: SqliteCatalog) -> None:
    for _ in range(COLLECTIONS):
        claimed = await catalog.collection.claim(1000, 0)
        by_node: dict[NodeId, list[CopyKey]] = {}
        for node, copy in claimed:
            by_node.setdefault(node, []).append(copy)
        for node, copies in by_node.items():
            await catalog.collection.finish(node, copies)
        if not claimed and not claimed.is_more:
            return


async def shorten_audit(folder: Path, meter: Meter) -> None:
    """Open with a bound at half of the rows, and have a part of them dropped."""
    settings = CatalogSettings(audit_changes_max=meter.shape.files // 2)
    catalog = await SqliteCatalog.open(str(folder), real_world(), settings)
    catalog.upkeep.watch_writer(meter.holds)
    try:
        await meter.alongside(
            catalog, "dropping rows of the audit", catalog._engine.flush_denials()
        )
    finally:
        await catalog.close()
