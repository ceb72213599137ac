"""The fixtures of the contract suite, of the SQLite engine alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from tests.contract.catalog.engines import SqliteEngines
from tests.contract.catalog.world import OPERATOR, enrol, p


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def engines(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteEngines]:
    engines = SqliteEngines(tmp_path, clock)
    yield engines
    await engines.end()


@pytest.fixture
async def catalog(engines: SqliteEngines) -> SqliteCatalog:
    return await engines.open()


@pytest.fixture
async def ready(catalog: SqliteCatalog) -> SqliteCatalog:
    """Four nodes, and a datastore without a file."""
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    return catalog
