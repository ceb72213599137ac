"""Where one content has many names, no step looks at the uses of its chunks without end."""

from typing import Any

import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.collection import unreferenced
from collective.catalog.sqlite.names import policies
from collective.core.clock import ManualClock
from tests.contract.catalog.world import ANY, OPERATOR, enrol, p, write

USES = 30
CHUNKS = 60


@pytest.fixture
async def crowded(catalog: SqliteCatalog) -> SqliteCatalog:
    """One content under many names: each of its chunks has as many uses."""
    await enrol(catalog)
    await catalog.datastores.create(OPERATOR, p("/three"), copies=3, quota_bytes=0, owner=None)
    texts = [f"t{number}" for number in range(CHUNKS)]
    for number in range(USES):
        await write(catalog, f"/three/f{number}", *texts)
    return catalog


async def test_no_step_looks_at_more_uses_of_chunks_than_at_rows(
    crowded: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    asked_for = policies._Step._asked_for

    def counted(step: Any, chunk: int, enough: int) -> int:
        nonlocal looks
        looks += 1
        return asked_for(step, chunk, enough)

    monkeypatch.setattr(policies._Step, "_asked_for", counted)
    await crowded.datastores.set(OPERATOR, p("/three"), copies=2)
    assert looks * USES <= policies.AT_ONCE_ROWS + USES
    going = True
    while going:
        looks = 0
        going = await crowded.datastores.settle_copies()
        assert looks * USES <= policies.BATCH_ROWS + USES
    for number in (0, USES - 1):
        assert (await crowded.names.stat(OPERATOR, p(f"/three/f{number}"))).copies_wanted == 2


async def test_no_round_of_collection_looks_at_uses_without_end(
    crowded: SqliteCatalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crowded.datastores.set(OPERATOR, p("/three"), copies=2)
    while await crowded.datastores.settle_copies():
        pass
    await crowded.datastores.create(OPERATOR, p("/more"), copies=3, quota_bytes=0, owner=None)
    await write(crowded, "/more/f", *(f"t{number}" for number in range(CHUNKS)))
    monkeypatch.setattr(unreferenced, "USES_LOOKED_AT", 2 * USES)
    looked: list[int] = []
    lower = policies.lower

    def counted(*args: Any) -> int:
        looked.append(lower(*args))
        return looked[-1]

    monkeypatch.setattr(unreferenced, "lower", counted)
    await crowded.names.remove(OPERATOR, p("/more/f"), recursive=False, condition=ANY)
    clock.advance(1)
    rounds = 0
    while rounds < 200:
        looked.clear()
        await crowded.collection.claim(1000, 0)
        clock.advance(1)
        rounds += 1
        assert sum(looked) <= 3 * USES
        if rounds > 2 and not looked:
            break
    assert (await crowded.names.stat(OPERATOR, p("/three/f0"))).copies_wanted == 2
