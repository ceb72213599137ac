"""Nothing that is huge, held, away or refused keeps the rest from being collected."""

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import Upload
from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.ids import ChunkId, NodeId
from collective.model.extents import Extent
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import (
    ANY,
    NODES,
    OPERATOR,
    begin,
    chunk,
    enrol,
    extent,
    health,
    intent,
    p,
    place_on,
    receipts,
    write,
)

SMALL = 100
EXTENT = limits.EXTENT_MEAN_LEAST_BYTES
ROUNDS = 25
"""Far fewer than the huge one takes."""


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    return catalog


async def fill(catalog: Catalog, path: str, count: int) -> Upload:
    """An upload of ``count`` chunks that are all recorded."""
    upload, _ = await begin(catalog, path)
    for start in range(0, count, limits.BATCH_MAX_CHUNKS):
        batch: list[Extent] = [
            intent(f"{path}.{number}", EXTENT * number, EXTENT)
            for number in range(start, min(start + limits.BATCH_MAX_CHUNKS, count))
        ]
        allocated = await catalog.uploads.allocate(OPERATOR, upload.id, batch, place_on(*NODES[:3]))
        await catalog.uploads.record_extents(
            OPERATOR, upload.id, [extent(one) for one in batch], receipts(upload, allocated)
        )
    return upload


async def rounds_until_gone(
    catalog: Catalog, clock: ManualClock, chunks: set[ChunkId], most: int
) -> int:
    """Collect until every one of ``chunks`` was handed out for deletion."""
    left = set(chunks)
    for number in range(most):
        claimed = await catalog.collection.claim(1000, 0)
        for node, key in claimed:
            await catalog.collection.finish(node, [key])
            left.discard(key.chunk)
        if not left:
            return number + 1
        clock.advance(0.01)
    raise AssertionError(f"{len(left)} of {len(chunks)} were not collected in {most} rounds")


def slow(engines: Engines) -> None:
    """Let steps be small, so that something is huge before it takes long to make."""
    engines.bound(Bound.CLEARED_ROWS, 40)
    engines.bound(Bound.LOOKED_AT_CHUNKS, 90)


# --- finding 8 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1500, 4500])
async def test_one_huge_version_holds_up_no_small_one(
    ready: Catalog, clock: ManualClock, engines: Engines, size: int
) -> None:
    slow(engines)
    upload = await fill(ready, "/d/huge", size)
    await ready.uploads.commit(OPERATOR, upload.id, [], [], EXTENT * size)
    for number in range(SMALL):
        await write(ready, f"/d/{number}", f"{number}")
    for name in ("huge", *range(SMALL)):  # the huge one goes first
        await ready.names.remove(OPERATOR, p(f"/d/{name}"), recursive=False, condition=ANY)
        clock.advance(1)
    small = {chunk(f"{number}") for number in range(SMALL)}
    await rounds_until_gone(ready, clock, small, ROUNDS)
    assert (await health(ready)).chunks > size / 2


@pytest.mark.parametrize("size", [1500, 4500])
async def test_one_huge_upload_that_ended_holds_up_no_other(
    ready: Catalog, clock: ManualClock, engines: Engines, size: int
) -> None:
    slow(engines)
    huge = await fill(ready, "/d/huge", size)
    await ready.uploads.abort(OPERATOR, huge.id)
    for number in range(SMALL):
        upload, _ = await begin(ready, f"/d/{number}", f"{number}")
        await ready.uploads.record_extents(OPERATOR, upload.id, [], receipts(upload))
        await ready.uploads.abort(OPERATOR, upload.id)
    small = {chunk(f"{number}") for number in range(SMALL)}
    await rounds_until_gone(ready, clock, small, ROUNDS)
    assert (await health(ready)).chunks > size / 2


async def test_a_stream_of_small_versions_does_not_hold_up_a_huge_one(
    ready: Catalog, clock: ManualClock, engines: Engines
) -> None:
    slow(engines)
    upload = await fill(ready, "/d/huge", 200)
    await ready.uploads.commit(OPERATOR, upload.id, [], [], EXTENT * 200)
    await ready.names.remove(OPERATOR, p("/d/huge"), recursive=False, condition=ANY)
    left = {chunk(f"/d/huge.{number}") for number in range(200)}
    for number in range(30):
        for one in range(12):  # as many as half of a step clears
            await write(ready, "/d/f", f"{number}.{one}")
        clock.advance(1)
        for node, key in await ready.collection.claim(1000, 0):
            await ready.collection.finish(node, [key])
            left.discard(key.chunk)
    assert not left


async def test_a_node_that_is_away_keeps_no_delete_from_the_others(
    ready: Catalog, clock: ManualClock
) -> None:
    await write(ready, "/d/away", *(f"a{number}" for number in range(50)))
    await ready.names.remove(OPERATOR, p("/d/away"), recursive=False, condition=ANY)
    clock.advance(1)
    here = frozenset(NODES[1:2])
    claimed = [await ready.collection.claim(10, 0, here) for _ in range(8)]
    assert {node for batch in claimed for node, _ in batch} == here
    assert sum(len(batch) for batch in claimed) == 50


async def test_a_node_that_refuses_fills_no_batch(ready: Catalog, clock: ManualClock) -> None:
    """What it was asked for waits; each node has its share of what is asked for meanwhile."""
    await write(ready, "/d/f", *(f"a{number}" for number in range(50)))
    await ready.names.remove(OPERATOR, p("/d/f"), recursive=False, condition=ANY)
    clock.advance(1)
    deleted: dict[NodeId, int] = {}
    for _ in range(40):
        batch = await ready.collection.claim(6, 0)
        for node, key in batch:
            if node != NODES[0]:
                await ready.collection.finish(node, [key])
                deleted[node] = deleted.get(node, 0) + 1
        clock.advance(61)  # all that was refused may be asked for again
    assert deleted == {NODES[1]: 50, NODES[2]: 50}


async def test_collection_says_whether_it_has_more_to_do(
    ready: Catalog, clock: ManualClock, engines: Engines
) -> None:
    slow(engines)
    assert not (await ready.collection.claim(1000, 0)).is_more
    upload = await fill(ready, "/d/huge", 60)  # whose pins are cleared by the commit
    await ready.uploads.commit(OPERATOR, upload.id, [], [], EXTENT * 60)
    await ready.names.remove(OPERATOR, p("/d/huge"), recursive=False, condition=ANY)
    clock.advance(1)
    steps = 0
    while (await ready.collection.claim(1000, 0)).is_more:
        clock.advance(0.01)
        steps += 1
    assert 1 <= steps <= 5
    clock.advance(1)
    await ready.collection.claim(1000, 0)
    assert (await health(ready)).chunks == 0
