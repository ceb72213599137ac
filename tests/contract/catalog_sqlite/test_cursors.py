"""No statement outlives the change that ran it: its read would keep the log from being moved."""

from __future__ import annotations

import gc

from collective.catalog.decisions.quotas import IDLE_MS
from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from tests.contract.catalog.engines import Bound, SqliteEngines
from tests.contract.catalog.world import LARGE, OPERATOR, SPARE, begin, enrol, p, write


async def test_a_change_that_needs_steps_first_leaves_no_read_open(
    catalog: SqliteCatalog, engines: SqliteEngines, clock: ManualClock
) -> None:
    await enrol(catalog)
    quota_bytes = 8 * LARGE + SPARE
    await catalog.datastores.create(
        OPERATOR, p("/d"), copies=0, quota_bytes=quota_bytes, owner=None
    )
    for number in range(8):
        await begin(catalog, f"/d/left{number}", f"{number}", unit=LARGE)
    clock.advance(IDLE_MS / 1000 + 1)
    engines.bound(Bound.ENDED_UPLOADS, 1)
    gc.collect()
    gc.disable()  # it closes what an error's traceback holds
    try:
        await write(catalog, "/d/new", *"abc", unit=LARGE)
        catalog._engine.writer._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        gc.enable()
