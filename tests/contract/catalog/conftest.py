"""One catalogue per test and engine; the suite knows the interface only."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collective.catalog.interface import Catalog
from collective.core.clock import ManualClock
from tests.contract.catalog.engines import ENGINES, Engines


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=list(ENGINES))
def kind(request: pytest.FixtureRequest) -> type[Engines]:
    """The engine under test, for those that open it by themselves."""
    return ENGINES[request.param]


@pytest.fixture
async def engines(
    kind: type[Engines], tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Engines]:
    engines = kind(tmp_path, clock)
    yield engines
    await engines.end()


@pytest.fixture
async def catalog(engines: Engines) -> Catalog:
    return await engines.open()
