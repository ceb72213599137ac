"""One catalogue per test and engine; the suite knows the interface only."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.counting import disagreements
from collective.core.clock import ManualClock
from collective.core.randomness import SeededRandomness
from tests.worlds import world_of


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Engines:
    """Opens the engine under test, again and again on the same data dir."""

    def __init__(self, data_dir: str, clock: ManualClock, settings: CatalogSettings) -> None:
        self.data_dir = data_dir
        self.clock = clock
        self.settings = settings
        self.randomness = SeededRandomness(7)
        self.opened: list[SqliteCatalog] = []

    async def open(self, *, quiet: bool = True) -> SqliteCatalog:
        catalog = await SqliteCatalog.open(
            self.data_dir, world_of(self.clock, self.randomness), self.settings
        )
        self.opened.append(catalog)
        if quiet:
            self.clock.advance(self.settings.lease_life_s + 1)
        return catalog

    async def close(self) -> None:
        """Close them all; what rows keep of other rows must agree by then."""
        wrong: list[str] = []
        while self.opened:
            catalog = self.opened.pop()
            if not catalog._engine.writer._closed:
                wrong += await catalog._engine.read(disagreements)
            await catalog.close()
        assert not wrong


@pytest.fixture(params=["sqlite"])
async def engines(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Engines]:
    engines = Engines(str(tmp_path), clock, CatalogSettings(copies=3))
    yield engines
    await engines.close()


@pytest.fixture
async def catalog(engines: Engines) -> SqliteCatalog:
    return await engines.open()


def check_engine(catalog: SqliteCatalog) -> Catalog:
    """The type checker holds the engine to the whole interface."""
    return catalog
