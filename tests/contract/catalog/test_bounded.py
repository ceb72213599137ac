"""What a call looks at does not grow with what it does not ask for.

Each is done in a catalogue and in one ten times as large, and the steps of SQLite's machine are
compared: no clock is involved.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from collective.catalog.sqlite import CatalogSettings, SqliteCatalog
from collective.core.ids import NodeId
from tests.bench.growth import catalogue
from tests.contract.catalog.plans import watching
from tests.worlds import world_of

SIZES: Final = (100, 1000)
"""Files; a node has two and a half copies for each three files."""
MORE: Final = 1.5
"""The large catalogue may take so many times the steps of the small one: trees are deeper."""
A, B = (NodeId(catalogue.node_name(number)) for number in (1, 2))
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
    small, large = await sized.steps(lambda catalog: catalog.repair_backlog(ALL, frozenset()))
    assert large <= MORE * small
