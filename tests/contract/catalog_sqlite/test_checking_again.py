"""How uploads are found, and marked, that have to be checked again; and what late answers change."""

from typing import Any

import apsw
import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.rows import USING
from tests.contract.catalog.test_giving_up import A, B, C, stored
from tests.contract.catalog.test_late_words import lose
from tests.contract.catalog.world import (
    NODES,
    OPERATOR,
    answer,
    begin,
    claim,
    extent,
    place_on,
    receipts,
    write,
)


@pytest.fixture
async def ready(ready: SqliteCatalog) -> SqliteCatalog:
    await write(ready, "/d/f", "a")
    return ready


async def test_marking_uploads_looks_at_no_other_copy_of_the_node(ready: SqliteCatalog) -> None:
    def plan(db: apsw.Connection) -> str:
        steps: Any = db.execute("EXPLAIN QUERY PLAN " + USING, ("[]", 1, 1)).fetchall()
        return "; ".join(step[3] for step in steps)

    assert "SEARCH c USING PRIMARY KEY (chunk=? AND node=?)" in await ready._engine.read(plan)


async def test_very_many_uploads_are_checked_again_without_marking_each(
    ready: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MARKED_AT_ONCE", 3)
    made = [await begin(ready, f"/d/u{number}", "a") for number in range(4)]
    for upload, wanted in made:
        await ready.uploads.record_extents(
            OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload)
        )

    def behind(tx: Any) -> Any:
        return tx.value(
            "SELECT count(*) FROM uploads, state WHERE uploads.state = 0"
            " AND checked_epoch <> trust_epoch"
        )

    assert await ready._engine.change(behind) == 0
    await lose(ready, A)
    assert await ready._engine.change(behind) == 4


async def test_the_answer_of_a_repair_from_before_a_loss_brings_no_copy_back(
    ready: SqliteCatalog,
) -> None:
    await lose(ready, A)
    (task,) = await claim(ready, 9, place_on(A), frozenset(NODES), frozenset())
    assert task.target.node == A
    await ready._engine.change(lambda tx: tx.run("UPDATE copies SET state = 2 WHERE state = 0"))
    await ready.repair.finish(task, answer(task))
    assert await stored(ready) == {B, C}
