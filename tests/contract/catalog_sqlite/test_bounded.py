"""What a call looks at does not grow with what it does not ask for.

Each is done in a catalogue and in one ten times as large, and the steps of SQLite's machine are
compared: no clock is involved.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.collection.dooming import forget_removed
from collective.catalog.sqlite.copies import chunk_copies, inventories
from collective.catalog.sqlite.names.quota_rows import beyond_quota
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import ChunkCopies, CopyKey
from tests.bench.growth import catalogue
from tests.contract.catalog.world import grant, p, user
from tests.contract.catalog_sqlite.plans import watching
from tests.worlds import world_of

SIZES: Final = (100, 1000)
"""Files; a node has two and a half copies for each three files."""
MORE: Final = 1.5
"""The large catalogue may take so many times the steps of the small one: trees are deeper."""
A = NodeId(catalogue.node_name(1))
WHO: Final = user("somebody")
ALL: Final = frozenset(NodeId(catalogue.node_name(n)) for n in range(1, catalogue.NODES + 1))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bounded")
    for files in SIZES:
        catalogue.make(str(folder / str(files)), files)
    return folder


class Sized:
    """The catalogues, the small one first."""

    def __init__(self, opened: list[SqliteCatalog]) -> None:
        self.catalogs = opened

    async def run(self, sql: str) -> None:
        """Change rows of both."""
        for catalog in self.catalogs:
            await catalog._engine.change(lambda tx: tx.run(sql))

    async def steps(self, call: Callable[[SqliteCatalog], Awaitable[object]]) -> tuple[int, int]:
        """Return the steps that a call takes in the small one and in the large one."""
        taken = []
        for catalog in self.catalogs:
            with watching(catalog) as steps:
                await call(catalog)
            taken.append(steps.total)
        return taken[0], taken[1]


@pytest.fixture
async def sized(made: Path, tmp_path: Path) -> AsyncIterator[Sized]:
    opened = []
    for files in SIZES:
        shutil.copytree(made / str(files), tmp_path / str(files))
        opened.append(
            await SqliteCatalog.open(str(tmp_path / str(files)), world_of(), CatalogSettings())
        )
    yield Sized(opened)
    for catalog in opened:
        await catalog.close()


async def test_counting_what_is_short_reads_no_chunk_that_is_not(sized: Sized) -> None:
    small, large = await sized.steps(
        lambda catalog: catalog.figures.repair_backlog(ALL, frozenset())
    )
    assert large <= MORE * small


async def test_a_sample_finds_both_ends_of_a_nodes_copies(sized: Sized) -> None:
    small, large = await sized.steps(lambda catalog: catalog.copies.sample_on(A, 0.5, 1))
    assert large <= MORE * small


@pytest.mark.parametrize("at", [0.0, 0.5, 0.999])
async def test_a_sample_looks_at_a_bounded_part_of_what_is_missing(
    sized: Sized, monkeypatch: pytest.MonkeyPatch, at: float
) -> None:
    """Most of a node's copies are missing: behind where the sample begins, and at the front."""
    monkeypatch.setattr(chunk_copies, "LOOKED_AT", 10)
    await sized.run("UPDATE copies SET state = 2 WHERE node = 1")
    small, large = await sized.steps(lambda catalog: catalog.copies.sample_on(A, at, 1))
    assert large <= MORE * small
    await sized.run("UPDATE copies SET state = 1 WHERE node = 1 AND chunk < 20")
    for catalog in sized.catalogs:
        assert len(await catalog.copies.sample_on(A, at, 1)) == 1


async def test_a_search_passes_missing_copies_in_bounded_pages(
    sized: Sized, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_copies, "LOOKED_AT", 10)
    await sized.run("UPDATE copies SET state = 2 WHERE node = 1")
    await sized.run(
        "UPDATE copies SET state = 1 WHERE node = 1 AND chunk = (SELECT max(chunk) FROM copies WHERE node = 1)"
    )
    small, large = await sized.steps(lambda catalog: catalog.repair.chunks_on(A, 0, 5))
    assert large <= MORE * small
    for catalog in sized.catalogs:
        pages = [await catalog.repair.chunks_on(A, 0, 5)]
        while (after := pages[-1].after) is not None:
            pages.append(await catalog.repair.chunks_on(A, after, 5))
        assert len(pages) > 5
        assert [len(page.chunks) for page in pages if page.chunks] == [1]


async def test_a_search_finds_each_stored_copy_once(
    sized: Sized, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_copies, "LOOKED_AT", 10)
    await sized.run("UPDATE copies SET state = 2 WHERE node = 1 AND chunk % 5 < 3")
    for catalog in sized.catalogs:
        found: list[ChunkCopies] = []
        after: int | None = 0
        while after is not None:
            page = await catalog.repair.chunks_on(A, after, 3)
            assert len(page.chunks) <= 3
            found += page.chunks
            after = page.after
        stored = await catalog._engine.read(
            lambda db: db.execute(
                "SELECT k.hash FROM copies c JOIN chunks k ON k.id = c.chunk"
                " WHERE c.node = 1 AND c.state = 1 ORDER BY k.id"
            ).fetchall()
        )
        assert [(bytes(one.chunk),) for one in found] == stored


async def test_a_window_of_an_inventory_reads_no_copy_beyond_it(
    sized: Sized, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many copies the node has: a whole inventory would read them all once a window."""
    monkeypatch.setattr(inventories, "WINDOW_COPIES", 64)

    async def one_window(catalog: SqliteCatalog) -> object:
        return await catalog._engine.read(
            lambda db: inventories._compare(db, 1, (), b"", None, frozenset())
        )

    small, large = await sized.steps(one_window)
    assert large <= MORE * small


async def test_what_removed_nodes_were_to_delete_is_found_by_these_nodes(sized: Sized) -> None:
    await sized.run(
        "INSERT INTO doomed (node, hash, generation, stored_length, since_ms, retry_ms)"
        " SELECT 2, hash, 1, 5, 0, 0 FROM chunks"
    )
    await sized.run("UPDATE nodes SET removed = 1 WHERE id = 1")

    async def forget(catalog: SqliteCatalog) -> object:
        return await catalog._engine.change(lambda tx: forget_removed(tx, 200))

    small, large = await sized.steps(forget)
    assert large <= MORE * small


async def test_without_a_quota_no_old_version_is_looked_at(sized: Sized) -> None:
    await sized.run("UPDATE versions SET state = 2, datastore = 2")

    async def look(catalog: SqliteCatalog) -> object:
        return await catalog._engine.read(beyond_quota)

    small, large = await sized.steps(look)
    assert large <= MORE * small


async def test_above_ones_grants_only_the_names_that_lead_to_them_are_read(sized: Sized) -> None:
    """The large one has ten times as many names in that folder."""
    for catalog in sized.catalogs:
        for number in (3, 7):
            await grant(catalog, WHO, f"/ds00/flat/file-{number:07}", 1)

    async def listing(catalog: SqliteCatalog) -> None:
        page = await catalog.names.list(
            WHO, p("/ds00/flat"), recursive=False, page_size=50, token=""
        )
        assert [entry.path.name for entry in page.entries] == ["file-0000003", "file-0000007"]

    small, large = await sized.steps(listing)
    assert large <= MORE * small


@pytest.mark.parametrize("table", ["chunks", "doomed", "quarantine"])
async def test_a_page_of_an_inventory_reads_nothing_beyond_its_end(
    sized: Sized, table: str
) -> None:
    columns = {
        "quarantine": ("node, hash, generation, stored_length, since_ms", "1, hash, 7, 5, 0"),
        "doomed": (
            "node, hash, generation, stored_length, since_ms, retry_ms, guard",
            "1, hash, 7, 5, 0, 0, 0",
        ),
    }
    if table in columns:
        names, values = columns[table]
        await sized.run(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM chunks WHERE hash > x'80'"
        )
    told = {catalog: await first_copies(catalog, 3) for catalog in sized.catalogs}
    small, large = await sized.steps(
        lambda one: one.copies.compare_inventory(A, told[one], after=b"", last=False)
    )
    assert large <= MORE * small


async def first_copies(catalog: SqliteCatalog, count: int) -> list[CopyKey]:
    rows: Any = await catalog._engine.read(
        lambda db: db.execute(
            "SELECT k.hash, c.generation, k.stored_length FROM chunks k JOIN copies c"
            " ON c.chunk = k.id AND c.node = 1 ORDER BY k.hash LIMIT ?",
            (count,),
        ).fetchall()
    )
    return [CopyKey(ChunkId(row[0]), Generation(row[1]), row[2]) for row in rows]
