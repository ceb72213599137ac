"""In which datastore a file's chunks are counted, and who is shown the figures of which."""

from __future__ import annotations

from typing import Final

import pytest

from collective.catalog.interface import Catalog
from collective.core.clock import ManualClock
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.status import ChunkHealth
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import (
    ANY,
    NODES,
    OPERATOR,
    begin,
    enrol,
    extent,
    grant,
    p,
    receipts,
    user,
    write,
)

ANN: Final = user("ann")
USABLE: Final = frozenset(NODES)
ROWS: Final = 4
"""Of one step, where steps are short."""


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog)
    for path in ("/d", "/e"):
        await catalog.names.make_directory(OPERATOR, p(path), parents=False)
    return catalog


@pytest.fixture
def short_steps(engines: Engines) -> None:
    engines.bound(Bound.SETTLED_AT_ONCE, ROWS)
    engines.bound(Bound.SETTLED_IN_A_STEP, ROWS)


async def shown(catalog: Catalog, who: Call = ANN) -> ChunkHealth | None:
    return (await catalog.figures.totals(who, USABLE)).health


async def counted(engines: Engines, catalog: Catalog) -> dict[str, int]:
    """Return the chunks that count in each datastore, as one who reads it alone is told."""
    assert await engines.disagreements(catalog) == []
    found = {}
    for datastore in await catalog.datastores.list(OPERATOR):
        name = datastore.path.name
        reader = user(f"reader-of-{name}")
        if not await catalog.grants.own(reader):
            await grant(catalog, reader, str(datastore.path), 1)
        health = await shown(catalog, reader)
        assert health is not None
        found[name] = health.chunks
    return {name: chunks for name, chunks in found.items() if chunks}


async def settle(catalog: Catalog) -> None:
    while await catalog.datastores.settle_copies():
        pass


# --- who is shown what -----------------------------------------------------------------------------


async def test_a_right_on_a_folder_shows_its_files_and_no_chunks(ready: Catalog) -> None:
    await ready.names.make_directory(OPERATOR, p("/d/s"), parents=False)
    await write(ready, "/d/s/f", "a", "b")
    await write(ready, "/d/g", "c")
    await grant(ready, ANN, "/d/s", 1)
    totals = await ready.figures.totals(ANN, USABLE)
    assert (totals.files, totals.file_bytes, totals.health) == (1, 20, None)


async def test_a_right_to_write_shows_no_chunks(ready: Catalog) -> None:
    await grant(ready, ANN, "/d", 2)
    assert await shown(ready) is None


async def test_a_datastore_that_one_reads_whole_is_counted(ready: Catalog) -> None:
    await write(ready, "/d/f", "a", "b")
    await write(ready, "/e/f", "c", copies=2)
    await grant(ready, ANN, "/d", 1)
    assert await shown(ready) == ChunkHealth(2, 0, 0, (p("/d"),))
    await grant(ready, ANN, "/e", 1)
    assert await shown(ready) == ChunkHealth(3, 1, 0, (p("/d"), p("/e")))
    everything = (await ready.figures.totals(None, USABLE)).health
    assert everything == ChunkHealth(3, 1, 0, (FilePath(),))


async def test_a_chunk_of_two_datastores_counts_in_each(ready: Catalog, engines: Engines) -> None:
    await grant(ready, ANN, "/", 1)
    await write(ready, "/d/f", "a")
    await write(ready, "/e/f", "a")
    await write(ready, "/e/g", "a")
    assert await shown(ready) == ChunkHealth(2, 0, 0, (p("/d"), p("/e")))
    await ready.names.remove(OPERATOR, p("/e/g"), recursive=False, condition=ANY)
    for _ in range(3):
        await ready.collection.claim(100, 0)
    assert await counted(engines, ready) == {"d": 1, "e": 1}


async def test_what_is_sent_into_a_datastore_is_not_short_there(ready: Catalog) -> None:
    await grant(ready, ANN, "/d", 1)
    upload, wanted = await begin(ready, "/d/f", "sent")
    proof = receipts(upload, count=2)
    await ready.uploads.record_extents(OPERATOR, upload.id, [extent(one) for one in wanted], proof)
    assert await shown(ready) == ChunkHealth(1, 0, 0, (p("/d"),))


# --- what moves ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "after"),
    [
        ("/d/f", "/e/f", {"e": 3}),
        ("/d/s", "/e/s", {"d": 3, "e": 2}),
        ("/d/s", "/s", {"d": 3, "s": 2}),
        ("/d", "/x", {"x": 5}),
        ("/d", "/e/x", {"e": 5}),
    ],
)
async def test_chunks_count_where_their_files_were_moved(
    ready: Catalog, engines: Engines, source: str, target: str, after: dict[str, int]
) -> None:
    await ready.names.make_directory(OPERATOR, p("/d/s"), parents=False)
    await write(ready, "/d/f", "a", "b", "c")
    await write(ready, "/d/s/g", "d", "e")
    await ready.names.move(OPERATOR, p(source), p(target), condition=ANY)
    if source == "/d/f":
        await ready.names.remove(OPERATOR, p("/d/s"), recursive=True, condition=ANY)
        for _ in range(3):
            await ready.collection.claim(100, 0)
    await settle(ready)
    assert await counted(engines, ready) == after


@pytest.mark.usefixtures("short_steps")
async def test_a_long_file_is_carried_in_steps_over_restarts_moves_and_removals(
    engines: Engines, ready: Catalog, clock: ManualClock
) -> None:
    """A second move waits until the first is carried; no chunk is uncounted meanwhile."""
    texts = [f"t{number}" for number in range(3 * ROWS)]
    await write(ready, "/d/f", *texts)
    await write(ready, "/d/g", *texts[:5])
    await ready.names.make_directory(OPERATOR, p("/x"), parents=False)
    catalog, seen = ready, []
    await catalog.names.move(OPERATOR, p("/d/f"), p("/e/f"), condition=ANY)
    for number in range(60):
        seen.append(await counted(engines, catalog))
        assert sum(seen[-1].values()) >= len(texts)
        if number == 1:
            await catalog.names.move(OPERATOR, p("/e/f"), p("/x/f"), condition=ANY)
        elif number == 4:
            await engines.close()
            catalog = await engines.open()
        elif number == 6:
            await catalog.names.remove(OPERATOR, p("/d/g"), recursive=False, condition=ANY)
            clock.advance(1)
        await catalog.datastores.settle_copies()
    assert any(len(one) > 1 and 0 < one.get("e", 0) < len(texts) for one in seen)
    for _ in range(5):
        await catalog.collection.claim(100, 0)
    assert await counted(engines, catalog) == {"x": len(texts)}


@pytest.mark.usefixtures("short_steps")
async def test_a_file_that_is_removed_while_it_is_carried_leaves_nothing(
    ready: Catalog, engines: Engines, clock: ManualClock
) -> None:
    await write(ready, "/d/f", *(f"t{number}" for number in range(3 * ROWS)))
    await ready.names.move(OPERATOR, p("/d/f"), p("/e/f"), condition=ANY)
    await ready.datastores.settle_copies()
    assert set(await counted(engines, ready)) == {"d", "e"}
    await ready.names.remove(OPERATOR, p("/e/f"), recursive=False, condition=ANY)
    clock.advance(1)
    for _ in range(10):
        await ready.collection.claim(100, 0)
        await counted(engines, ready)
    assert await counted(engines, ready) == {}


async def test_an_upload_whose_datastore_became_another_counts_in_that(
    ready: Catalog,
    engines: Engines,
) -> None:
    upload, wanted = await begin(ready, "/d/f", "a")
    await ready.names.move(OPERATOR, p("/d"), p("/was"), condition=ANY)
    await ready.names.make_directory(OPERATOR, p("/d"), parents=False)
    proof = receipts(upload)
    await ready.uploads.commit(OPERATOR, upload.id, [extent(one) for one in wanted], proof, 10)
    await settle(ready)
    assert await counted(engines, ready) == {"d": 1}


async def test_a_new_datastore_gets_nothing_of_one_that_was_removed(ready: Catalog) -> None:
    await grant(ready, ANN, "/", 1)
    await ready.names.make_directory(OPERATOR, p("/last"), parents=False)
    upload, wanted = await begin(ready, "/last/f", "a")
    proof = receipts(upload)
    await ready.uploads.record_extents(OPERATOR, upload.id, [extent(one) for one in wanted], proof)
    await ready.names.remove(OPERATOR, p("/last"), recursive=True, condition=ANY)
    await ready.uploads.abort(OPERATOR, upload.id)
    await ready.names.make_directory(OPERATOR, p("/new"), parents=False)
    found = await shown(ready)
    assert found is not None
    assert (found.chunks, found.covers) == (0, (p("/d"), p("/e"), p("/new")))
