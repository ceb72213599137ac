"""A quorum counts copies on nodes that are trusted, for files and for uploads that are open."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import Upload
from collective.core.clock import ManualClock
from collective.core.errors import BusyError, ConflictError, NoSpaceError, NotEnoughCopiesError
from collective.core.ids import Generation, NodeId, SpiffeId
from collective.model.copies import CopyKey, Judged, Verdict
from collective.model.extents import Extent
from collective.model.nodes import NodeRecord, Standing
from collective.model.writing import Removed
from tests.contract.catalog.engines import Bound, Engines, KilledError
from tests.contract.catalog.world import (
    ANY,
    DOMAIN,
    OPERATOR,
    answer,
    begin,
    chunk,
    claim,
    confirm,
    extent,
    health,
    p,
    place_on,
    receipts,
    write,
)

SIX = tuple(NodeId(f"n{number}") for number in range(1, 7))
OLD, NEW = SIX[:3], SIX[3:]
ALL = frozenset(SIX)
NONE: frozenset[NodeId] = frozenset()


def record(node: NodeId, standing: Standing = Standing.APPROVED) -> NodeRecord:
    return NodeRecord(node, None, 1 << 40, 0, 0, ("127.0.0.1:1",), 0, standing=standing)


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    for node in SIX:
        await catalog.nodes.add(record(node))
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    return catalog


async def remove(catalog: Catalog, node: NodeId, *, force: bool = False) -> None:
    await catalog.nodes.remove(OPERATOR, node, SpiffeId.node(DOMAIN, node), force=force)


async def opened(
    catalog: Catalog, *texts: str, nodes: Sequence[NodeId] = OLD, path: str = "/d/f"
) -> tuple[Upload, list[Extent]]:
    """An upload whose extents are all recorded."""
    upload, wanted = await begin(catalog, path, *texts, nodes=nodes)
    recorded = await catalog.uploads.record_extents(
        OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload)
    )
    assert recorded == 10 * len(wanted)
    return upload, wanted


async def repair(catalog: Catalog, *nodes: NodeId) -> int:
    """Repair until nothing is left to do; return how many copies were made."""
    made = 0
    for _ in range(100):
        tasks = await claim(catalog, 9, place_on(*nodes), ALL, NONE)
        if not tasks and not await confirm(catalog, ALL):
            return made
        for task in tasks:
            await catalog.repair.finish(task, answer(task))
            made += 1
    raise AssertionError("repair never ends")


async def copies(catalog: Catalog, text: str) -> set[NodeId]:
    return {copy.node for copy in await catalog.copies.stored(chunk(text))}


# --- finding 2 -----------------------------------------------------------------------------------


async def test_nodes_under_an_open_upload_are_removed_only_once_its_copies_have_moved(
    ready: Catalog,
) -> None:
    upload, _ = await opened(ready, "a", "b")
    for node in OLD:
        await ready.nodes.drain(OPERATOR, node, draining=True)
    assert await ready.figures.copies_left() == dict.fromkeys(OLD, 2)
    for node in OLD:
        with pytest.raises(ConflictError, match="2 copies that are in use"):
            await remove(ready, node)
    assert await repair(ready, *NEW) == 6
    assert await ready.figures.copies_left() == dict.fromkeys(NEW, 2)
    for node in OLD:
        await remove(ready, node)
    entry = await ready.uploads.commit(OPERATOR, upload.id, [], [], 20)
    assert entry.copies_least == 3
    assert await copies(ready, "a") == set(NEW)


async def test_a_write_whose_copies_all_went_by_force_fails_and_its_resumption_sends_them_again(
    ready: Catalog,
) -> None:
    upload, wanted = await opened(ready, "a", "b")
    for node in OLD:
        await remove(ready, node, force=True)
    with pytest.raises(NotEnoughCopiesError, match=r"at offset 0 .*COLLECTIVE_COPIES=3"):
        await ready.uploads.commit(OPERATOR, upload.id, [], [], 20)
    _, recorded, _ = await ready.uploads.get(OPERATOR, upload.id, from_offset=0, limit=0)
    assert not recorded
    again = await ready.uploads.allocate(OPERATOR, upload.id, wanted, place_on(*NEW))
    entry = await ready.uploads.commit(
        OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload, again), 20
    )
    assert entry.copies_least == 3
    assert await copies(ready, "b") == set(NEW)


async def test_a_resumption_learns_at_once_what_has_to_be_sent_again(ready: Catalog) -> None:
    upload, wanted = await begin(ready, "/d/f", "a", nodes=OLD)
    more = await ready.uploads.allocate(
        OPERATOR, upload.id, [Extent(10, 10, chunk("b"), 26)], place_on(*NEW)
    )
    both = [extent(wanted[0]), extent(Extent(10, 10, chunk("b"), 26))]
    sent = receipts(upload) + receipts(upload, more)
    assert await ready.uploads.record_extents(OPERATOR, upload.id, both, sent) == 20
    for node in OLD[:2]:
        await remove(ready, node, force=True)
    _, recorded, _ = await ready.uploads.get(OPERATOR, upload.id, from_offset=0, limit=0)
    assert [one.offset for one in recorded] == [10]
    with pytest.raises(ConflictError, match="10 of 20 bytes"):
        await ready.uploads.commit(OPERATOR, upload.id, [], [], 20)


async def test_copies_that_are_received_but_in_no_extent_yet_are_in_use(
    ready: Catalog,
) -> None:
    upload, wanted = await begin(ready, "/d/f", "a", nodes=OLD)
    await ready.uploads.record_extents(OPERATOR, upload.id, [], receipts(upload))
    for node in OLD:
        await ready.nodes.drain(OPERATOR, node, draining=True)
    assert await ready.figures.copies_left() == dict.fromkeys(OLD, 1)
    await repair(ready, *NEW)
    for node in OLD:
        await remove(ready, node)
    entry = await ready.uploads.commit(OPERATOR, upload.id, [extent(wanted[0])], [], 10)
    assert entry.copies_least == 3


async def test_what_an_upload_was_only_told_to_send_keeps_no_node(ready: Catalog) -> None:
    await begin(ready, "/d/f", "a", nodes=OLD)
    assert not await ready.figures.copies_left()
    await remove(ready, OLD[0])


# --- checking again ------------------------------------------------------------------------------


async def test_an_upload_that_has_its_quorum_still_commits_after_a_removal(
    ready: Catalog,
) -> None:
    upload, _ = await opened(ready, "a", "b")
    await remove(ready, OLD[0], force=True)
    entry = await ready.uploads.commit(OPERATOR, upload.id, [], [], 20)
    assert entry.copies_least == 2


async def test_an_upload_is_checked_again_page_by_page_with_others_between(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.CHECKED_EXTENTS, 2)
    texts = [f"{number}" for number in range(9)]
    upload, _ = await opened(ready, *texts)
    await remove(ready, OLD[0], force=True)
    before = (await ready.restores.position()).sequence
    commit = asyncio.create_task(ready.uploads.commit(OPERATOR, upload.id, [], [], 90))
    await write(ready, "/d/other", "x", nodes=NEW)
    assert not commit.done()
    assert (await commit).size_bytes == 90
    assert (await ready.restores.position()).sequence - before >= 6


async def test_a_check_that_a_restart_cut_off_goes_on_where_it_was(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.CHECKED_EXTENTS, 2)
    texts = [f"{number}" for number in range(9)]
    (cut_off, _), (whole, _) = [await opened(ready, *texts, path=f"/d/{one}") for one in "fg"]
    await remove(ready, OLD[0], force=True)

    async def killed(number: int) -> None:
        if number > 1 + 2:  # it was found to be behind, and two pages were checked
            raise KilledError

    with engines.between(ready, killed), pytest.raises(KilledError):
        await ready.uploads.commit(OPERATOR, cut_off.id, [], [], 90)
    await engines.close()
    again = await engines.open()
    steps = [
        await engines.steps_of(again, again.uploads.commit(OPERATOR, one.id, [], [], 90))
        for one in (whole, cut_off)
    ]
    assert steps[0] - steps[1] == 2


async def test_a_commit_checks_anew_when_another_node_goes_meanwhile(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.CHECKED_EXTENTS, 2)
    upload, _ = await opened(ready, *(f"{number}" for number in range(9)))
    await remove(ready, OLD[0], force=True)

    async def another_goes(number: int) -> None:
        if number == 4:
            await remove(ready, OLD[1], force=True)

    with (
        engines.between(ready, another_goes),
        pytest.raises(NotEnoughCopiesError, match="at offset 0 "),
    ):
        await ready.uploads.commit(OPERATOR, upload.id, [], [], 90)
    _, recorded, _ = await ready.uploads.get(OPERATOR, upload.id, from_offset=0, limit=0)
    assert not recorded


async def test_a_commit_gives_up_when_nodes_go_all_the_time(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.CHECKED_EXTENTS, 2)
    upload, _ = await opened(ready, *(f"{number}" for number in range(9)))
    await ready.nodes.set_refused({OLD[0]: "why"})

    async def flaps(number: int) -> None:
        assert number < 100, "it never ends"
        if number % 3 == 0:
            for why in ("", "why"):
                await ready.nodes.set_refused({OLD[0]: why})

    with engines.between(ready, flaps), pytest.raises(BusyError, match="commit again"):
        await ready.uploads.commit(OPERATOR, upload.id, [], [], 90)
    await ready.uploads.commit(OPERATOR, upload.id, [], [], 90)


async def steps_of_commit(engines: Engines, catalog: Catalog, upload: Upload) -> int:
    return await engines.steps_of(catalog, catalog.uploads.commit(OPERATOR, upload.id, [], [], 10))


@pytest.mark.parametrize("how", ["refused", "doubted", "removed"])
async def test_a_node_without_copies_has_no_upload_checked_again(
    ready: Catalog, engines: Engines, how: str
) -> None:
    first, second, third = [(await opened(ready, one, path=f"/d/{one}"))[0] for one in "fgh"]
    unchecked = await steps_of_commit(engines, ready, first)

    async def goes(node: NodeId) -> None:
        if how == "refused":
            await ready.nodes.set_refused({node: "it came with another store"})
        elif how == "doubted":
            await ready.nodes.doubt(node, "it lied")
        else:
            await remove(ready, node, force=node in OLD)

    await goes(NEW[0])
    assert await steps_of_commit(engines, ready, second) == unchecked
    await goes(OLD[0])
    assert await steps_of_commit(engines, ready, third) > unchecked, "it is checked, and that shows"


async def lose(catalog: Catalog, how: str, node: NodeId, generation: Generation) -> None:
    """Have a copy of chunk "a" stop counting."""
    match how:
        case "missing" | "corrupt":
            gone = [(chunk("a"), generation)]
            await catalog.copies.mark(node, gone, lost=how == "missing")
        case "not in the inventory":
            await catalog.copies.compare_inventory(node, [], after=b"", last=True)
        case "of another length":
            told = [CopyKey(chunk("a"), generation, 25)]
            await catalog.copies.compare_inventory(node, told, after=b"", last=True)
        case _:
            verdict = Judged(chunk("a"), node, generation, Verdict.MISSING)
            await catalog.copies.note_verdicts([verdict])


LOSSES = ["missing", "corrupt", "not in the inventory", "of another length", "challenged"]


@pytest.mark.parametrize("how", LOSSES)
async def test_copies_that_are_lost_between_record_and_commit_count_for_nothing(
    ready: Catalog, how: str
) -> None:
    upload, _ = await opened(ready, "a")
    for receipt in receipts(upload)[:2]:
        await lose(ready, how, receipt.node, receipt.generation)
    with pytest.raises(NotEnoughCopiesError, match="at offset 0 "):
        await ready.uploads.commit(OPERATOR, upload.id, [], [], 10)


async def test_one_lost_copy_of_three_leaves_a_quorum(ready: Catalog) -> None:
    upload, _ = await opened(ready, "a")
    (first, *_) = receipts(upload)
    await lose(ready, "missing", first.node, first.generation)
    entry = await ready.uploads.commit(OPERATOR, upload.id, [], [], 10)
    assert entry.copies_least == 2


async def test_a_copy_lost_behind_a_check_under_way_begins_it_anew(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.CHECKED_EXTENTS, 2)
    upload, wanted = await opened(ready, "a", "b", "c", "d", "e")
    await remove(ready, OLD[0], force=True)
    lost = next(one for one in receipts(upload) if one.node == OLD[1] and one.chunk == chunk("a"))
    offset = next(one.offset for one in wanted if one.chunk == chunk("a"))
    steps = 0

    async def loses(number: int) -> None:
        nonlocal steps
        steps = number
        if number == 4:
            await lose(ready, "missing", lost.node, lost.generation)

    with (
        engines.between(ready, loses),
        pytest.raises(NotEnoughCopiesError, match=f"at offset {offset} "),
    ):
        await ready.uploads.commit(OPERATOR, upload.id, [], [], 50)
    assert steps >= 1 + 2 + 3, "two pages before, and all three after"


async def test_a_lost_copy_has_no_other_upload_checked_again(
    ready: Catalog, engines: Engines
) -> None:
    before, upload, loser = [(await opened(ready, one, path=f"/d/{one}"))[0] for one in "bcd"]
    unchecked = await steps_of_commit(engines, ready, before)
    await write(ready, "/d/other", "a", nodes=OLD)
    (copy, *_) = await ready.copies.stored(chunk("a"))
    await lose(ready, "missing", copy.node, copy.generation)
    assert await steps_of_commit(engines, ready, upload) == unchecked
    (copy, *_) = await ready.copies.stored(chunk("d"))
    await ready.copies.mark(copy.node, [(chunk("d"), copy.generation)], lost=True)
    assert await steps_of_commit(engines, ready, loser) > unchecked, "it is checked, and that shows"


# --- whose copies count --------------------------------------------------------------------------


async def test_a_fresh_receipt_of_a_node_that_fell_silent_counts(ready: Catalog) -> None:
    upload, wanted = await begin(ready, "/d/f", "a", nodes=OLD)
    await ready.uploads.commit(
        OPERATOR,
        upload.id,
        [extent(wanted[0])],
        receipts(upload, count=2),
        10,
        absent=frozenset(OLD),
    )


@pytest.mark.parametrize("how", ["removed", "refused", "doubted"])
async def test_no_receipt_of_a_node_that_is_not_trusted_counts(ready: Catalog, how: str) -> None:
    upload, wanted = await begin(ready, "/d/f", "a", nodes=OLD)
    if how == "removed":
        await remove(ready, OLD[0], force=True)
    elif how == "refused":
        await ready.nodes.set_refused({OLD[0]: "it came with another store"})
    else:
        await ready.nodes.add(record(OLD[0], Standing.DOUBTED))
    args = (OPERATOR, upload.id, [extent(wanted[0])], receipts(upload, count=2), 10)
    with pytest.raises(NotEnoughCopiesError, match="1 of the 2 copies"):
        await ready.uploads.commit(*args)
    await ready.uploads.commit(*args[:3], receipts(upload), 10)


async def test_a_node_that_is_refused_takes_the_quorum_from_what_is_recorded(
    ready: Catalog,
) -> None:
    upload, _ = await opened(ready, "a")
    await ready.nodes.set_refused(dict.fromkeys(OLD[:2], "why"))
    with pytest.raises(NotEnoughCopiesError):
        await ready.uploads.commit(OPERATOR, upload.id, [], [], 10)


async def test_a_node_that_is_heard_again_counts_again(ready: Catalog) -> None:
    upload, _ = await opened(ready, "a")
    await ready.nodes.set_refused(dict.fromkeys(OLD[:2], "why"))
    await ready.nodes.set_refused(dict.fromkeys(OLD[:2], ""))
    await ready.uploads.commit(OPERATOR, upload.id, [], [], 10)


async def test_copies_on_probation_make_no_quorum_by_themselves(ready: Catalog) -> None:
    await ready.nodes.add(record(OLD[1], Standing.PROBATION))
    upload, wanted = await begin(ready, "/d/f", "a", nodes=OLD)
    with pytest.raises(NotEnoughCopiesError, match="1 more on probation: collective node approve"):
        await ready.uploads.commit(
            OPERATOR, upload.id, [extent(wanted[0])], receipts(upload, count=2), 10
        )
    await ready.uploads.commit(OPERATOR, upload.id, [extent(wanted[0])], receipts(upload), 10)


async def test_nodes_on_probation_alone_take_no_write(ready: Catalog) -> None:
    for node in OLD:
        await ready.nodes.add(record(node, Standing.PROBATION))
    with pytest.raises(NotEnoughCopiesError, match="3 more on probation: collective node approve"):
        await begin(ready, "/d/f", "a", nodes=OLD)


async def test_deduplication_counts_no_copy_on_a_node_that_is_not_trusted(
    ready: Catalog,
) -> None:
    await write(ready, "/d/f", "a", nodes=OLD)
    await ready.nodes.set_refused(dict.fromkeys(OLD[:2], "why"))
    upload, _ = await begin(ready, "/d/g", "a", nodes=NEW)
    (allocation,) = upload.allocations
    assert not allocation.stored
    assert {copy.node for copy in allocation.targets} <= set(NEW)


async def test_stat_counts_the_copies_that_are_there(ready: Catalog) -> None:
    await write(ready, "/d/f", "a", nodes=OLD)
    await remove(ready, OLD[0], force=True)
    await ready.nodes.set_refused({OLD[1]: "why"})
    assert (await ready.names.stat(OPERATOR, p("/d/f"))).copies_least == 1
    await ready.nodes.set_refused({OLD[1]: ""})
    assert (await ready.names.stat(OPERATOR, p("/d/f"))).copies_least == 2
    page = await ready.names.list(OPERATOR, p("/d"), recursive=False, page_size=9, token="")
    assert [entry.copies_least for entry in page.entries] == [2]


async def test_copies_on_a_removed_node_are_forgotten_step_by_step(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.FORGOTTEN_COPIES, 2)
    texts = [f"{number}" for number in range(5)]
    await write(ready, "/d/f", *texts, nodes=OLD)
    await remove(ready, OLD[0], force=True)
    left = []
    for _ in range(4):
        left.append((await ready.figures.copies_left()).get(OLD[0], 0))
        await ready.collection.claim(9, 0)
    assert left == [5, 3, 1, 0]
    assert (await ready.names.stat(OPERATOR, p("/d/f"))).copies_least == 2


async def test_a_chunk_whose_copies_are_half_on_probation_is_repaired(ready: Catalog) -> None:
    """It has as many copies as it wants; one of them does not count."""
    await ready.nodes.add(record(OLD[0], Standing.PROBATION))
    await write(ready, "/d/f", "a", nodes=OLD)
    await ready.datastores.set(OPERATOR, p("/d"), copies=2)
    assert await ready.repair.short_by_standing() == frozenset()
    gone = next(one for one in await ready.copies.stored(chunk("a")) if one.node == OLD[2])
    await ready.copies.mark(OLD[2], [(chunk("a"), gone.generation)], lost=False)
    assert await ready.repair.short_by_standing() == {OLD[0]}
    assert await repair(ready, NEW[0]) == 1
    assert await ready.repair.short_by_standing() == frozenset()


# --- removing ------------------------------------------------------------------------------------


async def is_offered(catalog: Catalog, node: NodeId) -> bool:
    """Tell whether a new file may have a copy on ``node``, with another approved one."""
    try:
        upload, _ = await begin(catalog, "/d/f", "new", nodes=(node, NEW[0]))
    except NotEnoughCopiesError:
        return False
    await catalog.uploads.abort(OPERATOR, upload.id)
    return True


async def test_upkeep_leaves_the_mark_of_a_removal_that_is_under_way(
    ready: Catalog, engines: Engines
) -> None:
    seen = []

    async def look(_: int) -> None:
        await ready.upkeep.expire()
        seen.append(await is_offered(ready, OLD[0]))

    with engines.between(ready, look):
        await remove(ready, OLD[0])
    assert seen == sorted(seen, reverse=True), "once it is marked it stays so"
    assert seen.count(False) > 1


async def test_a_removal_that_could_not_say_that_it_failed_leaves_the_node_in_use(
    ready: Catalog, engines: Engines
) -> None:
    """The disk is full from the nth transaction on: what was marked is unmarked when there is room."""
    cut_off, steps, refused = 1, 0, 0

    async def full(number: int) -> None:
        nonlocal steps
        steps = number
        if number >= cut_off:
            raise NoSpaceError("The disk is full.")

    while steps >= cut_off - 1:
        with engines.between(ready, full), suppress(NoSpaceError):
            await remove(ready, OLD[0])
            break
        refused += not await is_offered(ready, OLD[0])
        await ready.upkeep.expire()
        assert await is_offered(ready, OLD[0])
        cut_off += 1
    assert refused, "it was marked at some point"


async def test_a_removal_says_what_would_be_lost(ready: Catalog) -> None:
    await write(ready, "/d/f", "a", nodes=OLD)
    with pytest.raises(ConflictError, match=r"1 copies that are in use \(a quorum of each"):
        await remove(ready, OLD[0])
    await remove(ready, OLD[0], force=True)
    with pytest.raises(ConflictError, match="for 1 of them there is less than a quorum elsewhere"):
        await remove(ready, OLD[1])


async def test_a_doubted_node_goes_once_each_chunk_has_a_quorum_elsewhere(
    ready: Catalog,
) -> None:
    await write(ready, "/d/f", "a", nodes=OLD)
    for node in OLD[:2]:
        await ready.nodes.add(record(node, Standing.DOUBTED))
    with pytest.raises(ConflictError, match="for 1 of them there is less than a quorum elsewhere"):
        await remove(ready, OLD[0])
    assert await repair(ready, *NEW) == 2
    for node in OLD[:2]:
        await remove(ready, node)
    assert (await ready.names.stat(OPERATOR, p("/d/f"))).copies_least == 3


async def back_with_its_disk(catalog: Catalog, node: NodeId, text: str) -> None:
    """The node's disk was not mounted and is again: its copy is doubted until it is challenged."""
    (copy,) = [copy for copy in await catalog.copies.stored(chunk(text)) if copy.node == node]
    await catalog.copies.compare_inventory(node, [], after=b"", last=True)
    told = [CopyKey(chunk(text), copy.generation, 26)]
    await catalog.copies.compare_inventory(node, told, after=b"", last=True)


@pytest.mark.parametrize("how", ["missing", "doubted"])
async def test_a_node_with_what_may_be_the_last_copy_goes_by_force_alone(
    ready: Catalog, how: str
) -> None:
    await write(ready, "/d/f", "a", nodes=OLD)
    if how == "doubted":
        await back_with_its_disk(ready, OLD[0], "a")
    for copy in await ready.copies.stored(chunk("a")):
        await ready.copies.mark(copy.node, [(chunk("a"), copy.generation)], lost=True)
    assert await copies(ready, "a") == set()
    assert (await ready.figures.copies_left())[OLD[0]] == 1
    with pytest.raises(ConflictError, match=r"1 copies .*for 1 of them there is less than"):
        await remove(ready, OLD[0])
    await remove(ready, OLD[0], force=True)


@pytest.mark.parametrize("how", ["missing", "doubted"])
async def test_a_copy_that_does_not_count_keeps_no_node_where_a_quorum_is_elsewhere(
    ready: Catalog, how: str
) -> None:
    await write(ready, "/d/f", "a", nodes=OLD)
    if how == "doubted":
        await back_with_its_disk(ready, OLD[0], "a")
    else:
        await ready.copies.compare_inventory(OLD[0], [], after=b"", last=True)
    assert await ready.figures.copies_left() == dict.fromkeys(OLD[1:], 1)
    await remove(ready, OLD[0])
    assert await copies(ready, "a") == set(OLD[1:])


async def test_a_removal_is_refused_without_counting_everything(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.LOOKED_AT_COPIES, 2)
    engines.bound(Bound.COUNTED_PAGES, 2)
    await write(ready, "/d/f", *(f"{number}" for number in range(3)), nodes=OLD)
    with pytest.raises(ConflictError, match=r"holds at least 3 copies"):
        await remove(ready, OLD[0])
    engines.bound(Bound.COUNTED_PAGES, 3)
    with pytest.raises(ConflictError, match=r"holds 3 copies"):
        await remove(ready, OLD[0])


async def test_a_removal_that_is_refused_leaves_no_trace(ready: Catalog) -> None:
    upload, _ = await opened(ready, "a")
    with pytest.raises(ConflictError):
        await remove(ready, OLD[0])
    await ready.uploads.commit(OPERATOR, upload.id, [], [], 10)
    assert (await ready.revocations.all())[1] == []
    assert (await ready.names.stat(OPERATOR, p("/d/f"))).copies_least == 3


async def test_nothing_comes_to_depend_on_a_node_while_it_is_looked_through(
    ready: Catalog, engines: Engines
) -> None:
    """A receipt that comes between the look and the removal counts for nothing."""
    upload, wanted = await begin(ready, "/d/f", "a", nodes=OLD)
    await begin(ready, "/d/g", "b", nodes=NEW)
    last = await engines.steps_of(ready, remove(ready, NEW[0]))
    args = (OPERATOR, upload.id, [extent(wanted[0])], receipts(upload, count=2), 10)

    is_refused = False

    async def meanwhile(number: int) -> None:
        nonlocal is_refused
        if number < last:
            return
        if number == last:
            try:
                await ready.uploads.commit(*args)
            except NotEnoughCopiesError:
                is_refused = True
        raise KilledError  # before it can lift its mark

    with engines.between(ready, meanwhile), pytest.raises(KilledError):
        await remove(ready, OLD[0])
    assert is_refused
    await engines.close()
    again = await engines.open()
    await again.uploads.commit(*args)


# --- repair --------------------------------------------------------------------------------------


async def test_repair_leaves_an_open_upload_alone_until_it_was_quiet_for_five_minutes(
    ready: Catalog, clock: ManualClock
) -> None:
    upload, wanted = await begin(ready, "/d/f", "a", nodes=OLD)
    sent = receipts(upload, count=2)
    await ready.uploads.record_extents(OPERATOR, upload.id, [extent(wanted[0])], sent)
    clock.advance(299)
    assert await repair(ready, *NEW) == 0
    assert await ready.figures.repair_backlog(ALL, NONE) == 0
    assert (await health(ready, ALL)).under_replicated == 0
    clock.advance(1)
    assert await ready.figures.repair_backlog(ALL, NONE) == 1
    assert await repair(ready, *NEW) == 1


async def test_what_an_open_upload_lost_is_not_told_as_unavailable(
    ready: Catalog, clock: ManualClock
) -> None:
    await opened(ready, "a")
    for node in OLD:
        await remove(ready, node, force=True)
    clock.advance(301)
    totals = await health(ready, frozenset(NEW))
    assert (totals.under_replicated, totals.unavailable) == (1, 0)


async def test_an_upload_that_ended_keeps_no_node(ready: Catalog) -> None:
    upload, _ = await opened(ready, "a")
    await ready.uploads.abort(OPERATOR, upload.id)
    await remove(ready, OLD[0])
    claimed = [*await ready.collection.claim(9, 0), *await ready.collection.claim(9, 0)]
    assert {node for node, _ in claimed} == set(OLD[1:])
    assert await ready.names.remove(OPERATOR, p("/d"), recursive=True, condition=ANY) == Removed(
        1, is_all=True
    )
