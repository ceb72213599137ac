"""What a node says of its own copies, and what that does to nothing else."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import pytest

from collective.catalog.interface import Catalog
from collective.core.clock import ManualClock
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import CopyKey
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import ANY, NODES, OPERATOR, chunk, enrol, p, write

A, B, C, D = NODES


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    return catalog


@pytest.fixture
def small_steps(engines: Engines) -> None:
    engines.bound(Bound.INVENTORY_WINDOW, 8)
    engines.bound(Bound.INVENTORY_STEP, 4)


async def held(catalog: Catalog, node: NodeId, *texts: str) -> list[CopyKey]:
    """Return the copies of the chunks that are stored on the node, as its inventory has them."""
    found = [
        CopyKey(chunk(text), copy.generation, 26)
        for text in texts
        for copy in await catalog.copies.stored(chunk(text))
        if copy.node == node
    ]
    return sorted(found, key=lambda key: key.chunk)


async def stored(catalog: Catalog, *texts: str) -> dict[str, set[NodeId]]:
    return {
        text: {copy.node for copy in await catalog.copies.stored(chunk(text))} for text in texts
    }


async def tell(catalog: Catalog, node: NodeId, page: list[CopyKey]) -> list[CopyKey]:
    return list(await catalog.copies.compare_inventory(node, page, after=b"", last=True))


@pytest.mark.usefixtures("small_steps")
async def test_a_whole_inventory_in_windows_finds_exactly_what_is_missing(
    ready: Catalog,
) -> None:
    texts = [f"t{number}" for number in range(40)]
    await write(ready, "/d/f", *texts)
    page = await held(ready, A, *texts)
    gone = {page[number].chunk for number in (0, 7, 8, 9, 23, 39)}
    assert not await tell(ready, A, [key for key in page if key.chunk not in gone])
    for text in texts:
        nodes = {copy.node for copy in await ready.copies.stored(chunk(text))}
        assert nodes == ({B, C} if chunk(text) in gone else {A, B, C})


@pytest.mark.usefixtures("small_steps")
async def test_pages_say_nothing_of_what_lies_outside_of_them(ready: Catalog) -> None:
    texts = [f"t{number}" for number in range(30)]
    await write(ready, "/d/f", *texts)
    page = await held(ready, A, *texts)
    for start, is_last in ((0, False), (10, False), (20, True)):
        part = page[start : start + 10]
        after = page[start - 1].chunk if start else b""
        assert not await ready.copies.compare_inventory(A, part, after=after, last=is_last)
    assert all(nodes == {A, B, C} for nodes in (await stored(ready, *texts)).values())


async def test_finding_1_what_one_node_says_touches_no_copy_of_another(
    ready: Catalog,
) -> None:
    await write(ready, "/d/f", "a", "b")
    page = await held(ready, C, "a", "b")
    for lie in (
        [],
        [CopyKey(key.chunk, key.generation, 7) for key in page],
        [CopyKey(key.chunk, Generation(key.generation + 100), 26) for key in page],
        [CopyKey(key.chunk, Generation(key.generation - 1), 26) for key in page],
    ):
        await tell(ready, C, lie)
        assert {text: nodes - {C} for text, nodes in (await stored(ready, "a", "b")).items()} == {
            "a": {A, B},
            "b": {A, B},
        }
        assert await ready.collection.claim(100, 0) == []
        for node in (A, B):
            assert not await tell(ready, node, await held(ready, node, "a", "b"))


async def test_a_disk_that_is_mounted_again_has_its_copies_doubted_not_lost(
    ready: Catalog,
) -> None:
    await write(ready, "/d/f", "a")
    page = await held(ready, A, "a")
    await tell(ready, A, [])
    for _ in range(2):
        assert not await tell(ready, A, page)
        assert await stored(ready, "a") == {"a": {B, C}}
    assert await ready.collection.claim(100, 0) == []


async def test_a_known_copy_is_never_taken_for_a_stranger(ready: Catalog) -> None:
    """Nor is one that is given up."""
    await write(ready, "/d/f", "a")
    (key,) = await held(ready, A, "a")
    await ready.copies.mark(A, [(key.chunk, key.generation)], lost=False)
    assert not await tell(ready, A, [key])


async def test_an_orphan_of_a_chunk_in_use_is_not_deleted(ready: Catalog) -> None:
    await write(ready, "/d/f", "a")
    (known,) = await held(ready, A, "a")
    orphan = CopyKey(chunk("a"), known.generation, 26)
    foreign = CopyKey(chunk("zz"), known.generation, 26)
    page = sorted([orphan, foreign], key=lambda key: key.chunk)
    assert await tell(ready, NODES[3], page) == page
    assert await ready.collection.claim(100, 0) == [(NODES[3], foreign)]
    await ready.names.remove(OPERATOR, p("/d/f"), recursive=False, condition=ANY)
    for _ in range(3):
        gone = [key for _, key in await ready.collection.claim(100, 0)]
        if orphan in gone:
            return
    pytest.fail("the orphan stayed although nothing refers to its chunk")


async def test_a_node_that_invents_copies_without_end_fills_no_disk(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.STRANGERS, 10)
    await write(ready, "/d/f", "a")
    (known,) = await held(ready, A, "a")
    page = [CopyKey(chunk(f"no{number}"), known.generation, 5) for number in range(40)]
    page.append(known)
    page.sort(key=lambda key: key.chunk)
    assert len(await tell(ready, A, page)) == 10
    assert not await tell(ready, A, page)
    assert len(await tell(ready, D, page)) == 10


@pytest.mark.usefixtures("small_steps")
async def test_a_node_with_few_copies_among_many_chunks_has_them_compared(
    ready: Catalog,
) -> None:
    """Windows hold chunks that the node was never given, whole windows of them too."""
    texts = [f"t{number}" for number in range(60)]
    await write(ready, "/d/f", *texts, nodes=[A, B, C])
    await write(ready, "/d/g", "only", "both", nodes=[B, C, D])
    page = await held(ready, D, "only", "both")
    lost = page[0]
    stranger = CopyKey(chunk("t9"), lost.generation, 26)
    assert await tell(ready, D, sorted([page[1], stranger], key=lambda key: key.chunk)) == [
        stranger
    ]
    kept = {text for text in ("only", "both") if chunk(text) == page[1].chunk}
    for text in ("only", "both"):
        nodes = {copy.node for copy in await ready.copies.stored(chunk(text))}
        assert nodes == ({B, C, D} if text in kept else {B, C})


async def test_copies_to_be_deleted_that_are_not_there_are_forgotten(
    ready: Catalog, clock: ManualClock, engines: Engines
) -> None:
    """Strangers that nobody could delete would stay for ever, in a restored catalogue guarded ones too."""
    engines.bound(Bound.INVENTORY_WINDOW, 8)
    await write(ready, "/d/f", *(f"t{number}" for number in range(12)))
    page = await held(ready, A, *(f"t{number}" for number in range(12)))
    newest = max(copy.generation for copy in page)
    strangers = [CopyKey(chunk("no"), Generation(newest - past), 5) for past in range(20)]
    told = sorted([*page, *strangers], key=lambda copy: (copy.chunk, copy.generation))
    assert len(await tell(ready, A, told)) == 20
    just_stored = frozenset((copy.chunk, copy.generation) for copy in strangers[:1])
    clock.advance(900)
    await ready.copies.compare_inventory(A, page, after=b"", last=True, spare=just_stored)
    assert [copy for _, copy in await ready.collection.claim(99, 0)] == strangers[:1]
    await tell(ready, A, page)
    clock.advance(86_400)
    assert not await ready.collection.claim(99, 0)
    assert await stored(ready, "t0") == {"t0": {A, B, C}}


async def test_what_was_given_up_while_a_node_made_its_list_is_not_forgotten_by_it(
    ready: Catalog, clock: ManualClock
) -> None:
    """What was sent may come after the list was made; it would be unknown until the next one, a day later."""
    texts = [f"t{number}" for number in range(9)]
    await write(ready, "/d/f", *texts)
    page = await held(ready, A, *texts)
    (newest,) = await held(ready, A, "t8")
    strangers = [CopyKey(chunk("t8"), Generation(newest.generation - past), 26) for past in (1, 2)]
    told = sorted([*page, *strangers], key=lambda copy: (copy.chunk, copy.generation))
    assert len(await tell(ready, A, told)) == 2
    for seconds in (0, 800):
        clock.advance(seconds)
        await tell(ready, A, page)
        assert await ready.figures.copies_in_doubt() == (0, 2)
    clock.jump_wall(-5000)  # a clock that is put back delays nothing
    await tell(ready, A, page)
    assert await ready.figures.copies_in_doubt() == (0, 0)


@pytest.mark.parametrize("window", [4, 2048])
async def test_a_page_forgets_nothing_beyond_it(
    ready: Catalog, clock: ManualClock, engines: Engines, window: int
) -> None:
    engines.bound(Bound.INVENTORY_WINDOW, window)
    texts = [f"t{number}" for number in range(12)]
    await write(ready, "/d/f", *texts)
    page = await held(ready, A, *texts)
    first = min(copy.generation for copy in page)
    strangers = [CopyKey(chunk(f"no{n}"), Generation(first + n % 3), 5) for n in range(12)]
    told = sorted([*page, *strangers], key=lambda copy: copy.chunk)
    await tell(ready, A, told)
    clock.advance(900)
    half = told[:12]
    await ready.copies.compare_inventory(A, half, after=b"", last=False)
    assert len(await ready.collection.claim(99, 0)) == 12
    await ready.copies.compare_inventory(A, told[12:], after=half[-1].chunk, last=True)
    clock.advance(86_400)
    assert len(await ready.collection.claim(99, 0)) == 12


class OnlyAsked(AbstractSet[tuple[ChunkId, Generation]]):
    """May have hundreds of thousands, and more by the time they are asked for."""

    def __contains__(self, one: object) -> bool:
        return False

    def __len__(self) -> int:
        return 200_000

    def __iter__(self) -> Iterator[tuple[ChunkId, Generation]]:
        raise AssertionError("each window would go through all of it, on the event loop")


async def test_what_was_stored_meanwhile_is_asked_for_one_by_one(ready: Catalog) -> None:
    await write(ready, "/d/f", "t")
    page = await held(ready, A, "t")
    await ready.copies.compare_inventory(A, page, after=b"", last=True, spare=OnlyAsked())
    assert await stored(ready, "t") == {"t": {A, B, C}}
