"""The made catalogue of the growth bench is one of the product's, and calls find their way in it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.store.custody import DATABASE
from collective.catalog.sqlite.store.opening import _deep_objection
from tests.bench.growth import catalogue
from tests.bench.growth.__main__ import table, too_much
from tests.bench.growth.measure import Bench
from tests.bench.growth.rows import Row
from tests.contract.catalog.world import OPERATOR, p
from tests.worlds import world_of

FILES = 1000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("growth") / "catalog"
    catalogue.make(str(folder), FILES)

    async def upgrade() -> None:
        await (await SqliteCatalog.open(str(folder), world_of(), CatalogSettings())).close()

    asyncio.run(upgrade())
    return folder


def test_it_has_what_it_says_and_shows_no_fault(made: Path) -> None:
    db = apsw.Connection(str(made / DATABASE))
    shape = catalogue.Shape(FILES)
    assert _deep_objection(db) is None
    assert db.execute("SELECT count(*) FROM chunks").fetchall() == [(shape.chunks,)]
    assert db.execute("SELECT count(*) FROM copies WHERE state = 1").fetchall() == [
        (3 * shape.chunks,)
    ]
    db.close()


async def test_every_call_of_the_bench_can_be_measured(made: Path) -> None:
    rows = await Bench(made, catalogue.Shape(FILES), times=3).run()
    lines = table({FILES: rows})
    assert len(lines) == len(rows) + 1
    assert all(row.p50 >= 0 for row in rows)
    catalog = await SqliteCatalog.open(str(made), world_of(), CatalogSettings())
    assert (
        await catalog.names.stat(OPERATOR, p(catalogue.Shape(FILES).path(FILES - 1)))
    ).size_bytes > 0
    await catalog.close()


def test_what_grows_and_what_is_above_its_bound_is_named() -> None:
    def rows(call: float, slow: float, hold: float, work: float) -> list[Row]:
        return [
            Row("call", 0.1, call, is_call=True),
            Row("slow call", 9.0, slow, is_call=True),
            Row("hold", hold, 99.0, most=50.0),
            Row("work", work),
        ]

    first = rows(0.2, 10.0, 1.0, 1.0)
    assert not list(too_much({1: first, 9: rows(0.7, 14.9, 49.0, 1000.0)}))
    found = dict(too_much({1: first, 9: rows(0.8, 15.1, 51.0, 1000.0)}))
    assert found.keys() == {"call", "slow call", "hold"}
