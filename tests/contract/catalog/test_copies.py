from collections import defaultdict
from dataclasses import replace

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import Settled
from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.errors import ConflictError, NotFoundError, RejectedError
from collective.core.ids import LeaseKey, NodeId, StoreUuid
from collective.model.calls import Call
from collective.model.copies import CopyKey
from collective.model.nodes import Standing
from collective.model.rights import Right
from collective.model.writing import Attributes
from collective.placement.node_choice import Offers
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import (
    ANY,
    NODES,
    OPERATOR,
    answer,
    begin,
    chunk,
    claim,
    confirm,
    data_of,
    enrol,
    extent,
    grant,
    health,
    intent,
    p,
    place_on,
    receipts,
    user,
    write,
)

USABLE = frozenset(NODES)
NONE: frozenset[NodeId] = frozenset()


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    return catalog


async def drop(catalog: Catalog, path: str) -> None:
    await catalog.names.remove(OPERATOR, p(path), recursive=False, condition=ANY)


async def test_collection_hands_out_each_copy_once_and_forgets_when_told(
    ready: Catalog, clock: ManualClock
) -> None:
    await write(ready, "/d/f", "a")
    assert await ready.collection.claim(100, 0) == []
    await drop(ready, "/d/f")
    assert await ready.collection.claim(100, 60) == []
    clock.advance(61)
    await ready.collection.claim(100, 60)
    clock.advance(61)
    await ready.collection.claim(100, 60)
    clock.advance(61)
    doomed = await ready.collection.claim(100, 60)
    doomed = doomed or await ready.collection.claim(100, 60)
    assert await ready.collection.claim(100, 0) == []
    clock.advance(61)
    retried = await ready.collection.claim(100, 0)
    assert len(retried) == 3
    for node, key in retried:
        await ready.collection.finish(node, [key])
    clock.advance(1000)
    assert await ready.collection.claim(100, 0) == []
    assert (await health(ready, USABLE)).chunks == 0


async def test_an_upload_that_is_cleared_in_steps_leaves_no_chunk_behind(
    ready: Catalog, clock: ManualClock, engines: Engines
) -> None:
    engines.bound(Bound.CLEARED_ROWS, 4)
    upload, _ = await begin(ready, "/d/f", "a", "b", "c")
    await ready.uploads.abort(OPERATOR, upload.id)
    for _ in range(9):
        for node, key in await ready.collection.claim(100, 0):
            await ready.collection.finish(node, [key])
        clock.advance(1)
    assert (await health(ready, USABLE)).chunks == 0


async def test_nobody_can_take_every_lease(ready: Catalog, engines: Engines) -> None:
    engines.bound(Bound.LEASES, 12)
    engines.bound(Bound.LEASES_PER_HOLDER, 10)
    await write(ready, "/d/f", "a")
    greedy = user("greedy")
    await grant(ready, greedy, "/d", Right.READ)

    async def open_read(who: Call) -> LeaseKey:
        opened = await ready.reads.open(who, p("/d/f"), offset=0, length=0, if_version=0, batch=0)
        return opened.lease

    taken = [await open_read(greedy) for _ in range(30)]
    for who, lease in ((greedy, taken[-1]), (OPERATOR, await open_read(OPERATOR))):
        await ready.reads.plan(who, lease, offset=0, length=0, batch=0)


async def test_a_chunk_being_deleted_is_written_again_under_a_new_generation(
    ready: Catalog,
) -> None:
    await write(ready, "/d/f", "a")
    old = {copy.node: copy.generation for copy in await ready.copies.stored(chunk("a"))}
    await drop(ready, "/d/f")
    assert len(await ready.collection.claim(100, 0)) == 3
    upload, _ = await begin(ready, "/d/g", "a")
    assert not upload.allocations[0].stored
    for copy in upload.allocations[0].targets:
        assert copy.generation > old[copy.node]


async def test_a_leased_version_is_not_collected(ready: Catalog, clock: ManualClock) -> None:
    await write(ready, "/d/f", "old")
    view = await ready.reads.open(OPERATOR, p("/d/f"), offset=0, length=0, if_version=0, batch=0)
    await write(ready, "/d/f", "new")
    assert await ready.collection.claim(100, 0) == []
    again = await ready.reads.plan(OPERATOR, view.lease, offset=0, length=0, batch=0)
    assert [item.extent.chunk for item in data_of(again)] == [chunk("old")]
    await ready.reads.close(OPERATOR, view.lease)
    doomed = await ready.collection.claim(100, 0)
    assert {key.chunk for _, key in doomed} == {chunk("old")}
    with pytest.raises(NotFoundError):
        await ready.reads.plan(OPERATOR, view.lease, offset=0, length=0, batch=0)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 20 * 365 * 86_400.0])
async def test_a_clock_set_while_a_reader_is_at_work_does_not_end_his_lease(
    ready: Catalog, clock: ManualClock, jump_s: float
) -> None:
    await write(ready, "/d/f", "old")
    view = await ready.reads.open(OPERATOR, p("/d/f"), offset=0, length=0, if_version=0, batch=0)
    await write(ready, "/d/f", "new")
    clock.jump_wall(jump_s)
    await ready.upkeep.expire()
    assert await ready.collection.claim(100, 0) == []
    await ready.reads.plan(OPERATOR, view.lease, offset=0, length=0, batch=0)
    clock.advance(limits.READ_LEASE_S + 1)  # nor does it live on
    await ready.upkeep.expire()
    clock.jump_wall(max(0.0, -2 * jump_s))  # what was retired waits for its grace by the wall clock
    assert {key.chunk for _, key in await ready.collection.claim(100, 0)} == {chunk("old")}


async def test_a_lease_survives_a_restart_and_an_invented_one_is_refused(
    ready: Catalog, engines: Engines
) -> None:
    await write(ready, "/d/f", "a")
    view = await ready.reads.open(OPERATOR, p("/d/f"), offset=0, length=0, if_version=0, batch=0)
    await engines.close()
    again = await engines.open(quiet=False)
    await again.reads.plan(OPERATOR, view.lease, offset=0, length=0, batch=0)
    forged = LeaseKey(view.lease[:-1] + ("0" if view.lease[-1] != "0" else "1"))
    with pytest.raises(NotFoundError):
        await again.reads.plan(OPERATOR, forged, offset=0, length=0, batch=0)


async def test_nothing_retired_is_collected_right_after_a_restart(
    ready: Catalog, engines: Engines
) -> None:
    await write(ready, "/d/f", "a")
    await drop(ready, "/d/f")
    await engines.close()
    again = await engines.open(quiet=False)
    assert await again.collection.claim(100, 0) == []
    engines.clock.advance(engines.settings.lease_life_s + 1)
    assert len(await again.collection.claim(100, 0)) == 3


async def test_a_range_touches_only_its_chunks(ready: Catalog) -> None:
    await write(ready, "/d/f", "a", "b", "c")
    view = await ready.reads.open(OPERATOR, p("/d/f"), offset=10, length=1, if_version=0, batch=0)
    assert [item.extent.chunk for item in data_of(view)] == [chunk("b")]
    assert len(data_of(view)[0].copies) == 3
    view = await ready.reads.open(OPERATOR, p("/d/f"), offset=5, length=0, if_version=0, batch=2)
    assert [item.extent.offset for item in data_of(view)] == [0, 10]
    assert view.more
    view = await ready.reads.open(OPERATOR, p("/d/f"), offset=99, length=0, if_version=0, batch=2)
    assert not data_of(view)


async def test_an_inventory_finds_orphans_and_what_is_missing(ready: Catalog) -> None:
    await write(ready, "/d/f", "a", "b")
    stored = {}
    for text in "ab":
        for copy in await ready.copies.stored(chunk(text)):
            if copy.node == "n1":
                stored[text] = CopyKey(chunk(text), copy.generation, 26)
    stranger = CopyKey(chunk("zzz"), stored["a"].generation, 5)
    page = sorted([stored["a"], stranger], key=lambda key: key.chunk)
    assert await ready.copies.compare_inventory(NODES[0], page, after=b"", last=True) == [stranger]
    assert len(await ready.copies.stored(chunk("b"))) == 2
    assert (await health(ready, USABLE)).under_replicated == 1
    assert await ready.collection.claim(10, 0) == [(NODES[0], stranger)]
    both = sorted(stored.values(), key=lambda key: key.chunk)
    assert await ready.copies.compare_inventory(NODES[0], both, after=b"", last=True) == []
    assert len(await ready.copies.stored(chunk("b"))) == 2  # until it is challenged
    view = await ready.reads.open(OPERATOR, p("/d/f"), offset=10, length=1, if_version=0, batch=0)
    assert [(copy.node, copy.is_doubted) for copy in data_of(view)[0].copies] == [
        (NODES[1], False),
        (NODES[2], False),
        (NODES[0], True),
    ]


async def test_an_inventory_made_before_a_put_takes_no_fresh_copy_out_of_use(
    ready: Catalog,
) -> None:
    await write(ready, "/d/f", "a", "b")
    (fresh,) = [c for c in await ready.copies.stored(chunk("a")) if c.node == NODES[0]]
    spare = frozenset({(chunk("a"), fresh.generation)})
    assert not await ready.copies.compare_inventory(NODES[0], [], after=b"", last=True, spare=spare)
    assert len(await ready.copies.stored(chunk("a"))) == 3
    assert len(await ready.copies.stored(chunk("b"))) == 2


async def test_a_copy_of_another_length_is_none(ready: Catalog) -> None:
    await write(ready, "/d/f", "a")
    (copy,) = [c for c in await ready.copies.stored(chunk("a")) if c.node == NODES[0]]
    short = CopyKey(chunk("a"), copy.generation, 25)
    for _ in range(2):
        assert not await ready.copies.compare_inventory(NODES[0], [short], after=b"", last=True)
        assert len(await ready.copies.stored(chunk("a"))) == 2


async def test_a_claim_of_another_length_is_another_chunk(ready: Catalog) -> None:
    await write(ready, "/d/f", "a")
    before = await ready.copies.stored(chunk("a"))
    lie = replace(intent("a"), stored_length=1000)
    upload = await ready.uploads.open(
        OPERATOR, p("/d/g"), Attributes(), ANY, [lie], place_on(*NODES)
    )
    assert not upload.allocations[0].stored
    assert not {copy.generation for copy in before} & {
        copy.generation for copy in upload.allocations[0].targets
    }
    assert await ready.copies.stored(chunk("a")) == before
    view = await ready.reads.open(OPERATOR, p("/d/f"), offset=0, length=0, if_version=0, batch=0)
    assert [located.extent.stored_length for located in data_of(view)] == [26]


async def test_finding_1_a_receipt_of_another_length_takes_nothing_from_other_nodes(
    ready: Catalog,
) -> None:
    """The liar is found out, its receipt counts for nothing, and the honest inventories agree."""
    await write(ready, "/d/f", "a")
    await ready.nodes.drain(OPERATOR, NODES[2], draining=True)
    upload, wanted = await begin(ready, "/d/g", "a", "b", nodes=(NODES[0], NODES[1], NODES[3]))
    told = [
        replace(one, stored_length=7) if one.node == NODES[3] else one for one in receipts(upload)
    ]
    await ready.uploads.commit(OPERATOR, upload.id, [extent(one) for one in wanted], told, 20)
    doubted = [
        record.node for record in await ready.nodes.list() if record.standing is Standing.DOUBTED
    ]
    assert doubted == [NODES[3]]
    for node in NODES[:2]:
        held = [
            CopyKey(chunk(text), copy.generation, 26)
            for text in "ab"
            for copy in await ready.copies.stored(chunk(text))
            if copy.node == node
        ]
        held.sort(key=lambda key: key.chunk)
        assert len(held) == 2
        assert not await ready.copies.compare_inventory(node, held, after=b"", last=True)
        again = [
            CopyKey(chunk(text), copy.generation, 26)
            for text in "ab"
            for copy in await ready.copies.stored(chunk(text))
            if copy.node == node
        ]
        assert len(again) == 2
    assert not await ready.collection.claim(100, 0), "what the liar may have is of chunks in use"


async def test_finding_1_a_user_who_knows_a_content_elsewhere_does_nothing_to_it(
    ready: Catalog,
) -> None:
    """With ``write`` on another path, by any length that he claims, and whatever is shown for it."""
    await write(ready, "/d/f", "a")
    mallory = user("mallory")
    await ready.names.make_directory(OPERATOR, p("/m"), parents=False)
    await grant(ready, mallory, "/m", Right.WRITE)
    before = await ready.copies.stored(chunk("a"))
    for number, length in enumerate((25, 27, 1000)):
        lie = replace(intent("a"), stored_length=length)
        upload = await ready.uploads.open(
            mallory, p(f"/m/{number}"), Attributes(), ANY, [lie], place_on(*NODES)
        )
        with pytest.raises(RejectedError):
            await ready.uploads.commit(mallory, upload.id, [extent(intent("a"))], [], 10)
        await ready.uploads.abort(mallory, upload.id)
    assert await ready.copies.stored(chunk("a")) == before
    gone = {key.stored_length for _, key in await ready.collection.claim(100, 0)}
    assert 26 not in gone
    view = await ready.reads.open(OPERATOR, p("/d/f"), offset=0, length=0, if_version=0, batch=0)
    assert [located.extent.stored_length for located in data_of(view)] == [26]


async def test_an_intent_found_on_a_node_is_neither_copy_nor_orphan(ready: Catalog) -> None:
    upload, _ = await begin(ready, "/d/f", "a")
    target = upload.allocations[0].targets[0]
    key = CopyKey(chunk("a"), target.generation, 26)
    assert await ready.copies.compare_inventory(target.node, [key], after=b"", last=True) == []
    assert await ready.copies.stored(chunk("a")) == []


async def test_repair_takes_the_chunk_with_fewest_copies_first(ready: Catalog) -> None:
    await write(ready, "/d/f", "a", "b")
    await ready.copies.mark(
        NODES[0],
        [(chunk("b"), c.generation) for c in await ready.copies.stored(chunk("b"))],
        lost=True,
    )
    lost = frozenset({NODES[1]})
    assert await ready.figures.repair_backlog(USABLE - lost, lost) == 2
    tasks = await claim(ready, 1, place_on(NODES[3]), USABLE - lost, lost)
    assert [task.chunk for task in tasks] == [chunk("b")]
    assert [copy.node for copy in tasks[0].sources] == ["n3"]
    others = await claim(ready, 9, place_on(NODES[3]), USABLE - lost, lost)
    assert [task.chunk for task in others] == [chunk("a")]
    await ready.repair.finish(tasks[0], answer(tasks[0]))
    await ready.repair.finish(others[0], None)
    assert {c.node for c in await ready.copies.stored(chunk("b"))} == {"n2", "n3", "n4"}
    assert {c.node for c in await ready.copies.stored(chunk("a"))} == {"n1", "n2", "n3"}


async def test_a_repair_that_a_killed_coordinator_claimed_is_claimed_anew_at_once(
    engines: Engines,
) -> None:
    catalog = await engines.open()
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a", copies=2)
    usable = frozenset(NODES[:3])
    (before,) = await claim(catalog, 9, place_on(*NODES[:3]), usable, NONE)
    assert await claim(catalog, 9, place_on(*NODES[:3]), usable, NONE) == []
    await engines.close()
    catalog = await engines.open()
    assert await claim(catalog, 9, place_on(*NODES[:3]), usable, NONE) == []
    (after,) = await claim(catalog, 9, place_on(*NODES[:3]), usable, NONE)
    assert after.chunk == before.chunk
    assert after.target.generation > before.target.generation
    await catalog.repair.finish(before, answer(before))
    await catalog.repair.finish(after, answer(after))
    assert len(await catalog.copies.stored(chunk("a"))) == 3


async def test_an_upload_whose_client_died_holds_up_no_repair(engines: Engines) -> None:
    catalog = await engines.open()
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    dead, _ = await begin(catalog, "/d/dead", "a")
    await write(catalog, "/d/f", "a", nodes=NODES[:2], copies=2)
    usable = frozenset(NODES[:3])
    (task,) = await claim(catalog, 9, place_on(*NODES[:3]), usable, NONE)
    assert task.target.node == NODES[2]
    await catalog.repair.finish(task, answer(task))
    assert len(await catalog.copies.stored(chunk("a"))) == 3
    assert await catalog.figures.repair_backlog(usable, NONE) == 0
    await catalog.uploads.abort(OPERATOR, dead.id)
    assert len(await catalog.copies.stored(chunk("a"))) == 3


async def test_chunks_that_nobody_can_copy_now_hold_up_no_other_repair(
    ready: Catalog,
) -> None:
    gone = [f"gone{number}" for number in range(40)]
    away = [f"away{number}" for number in range(40)]
    await write(ready, "/d/gone", *gone)
    await write(ready, "/d/away", *away, nodes=NODES[1:3], copies=2)
    await write(ready, "/d/well", "a", "b", nodes=NODES[:2], copies=2)
    for text in gone:
        for copy in await ready.copies.stored(chunk(text)):
            await ready.copies.mark(copy.node, [(chunk(text), copy.generation)], lost=True)
    for text in away:
        copies = await ready.copies.stored(chunk(text))
        await ready.copies.mark(NODES[2], [(chunk(text), copies[1].generation)], lost=True)
    usable = frozenset({NODES[0], NODES[2], NODES[3]})
    tasks = await claim(ready, 4, place_on(NODES[3]), usable, NONE)
    assert {task.chunk for task in tasks} == {chunk("a"), chunk("b")}


async def test_chunks_without_a_place_hold_up_no_other_repair(ready: Catalog) -> None:
    full = [f"full{number}" for number in range(40)]
    await write(ready, "/d/full", *full, copies=2)
    await write(ready, "/d/well", "a", nodes=NODES[:2], copies=2)

    place = Offers(defaultdict(tuple, {(chunk("a"), intent("a").stored_length): (NODES[3],)}), {})
    (task,) = await claim(ready, 4, place, USABLE, NONE)
    assert task.chunk == chunk("a")


async def test_draining_empties_a_node(ready: Catalog) -> None:
    await write(ready, "/d/f", "a")
    await ready.nodes.drain(OPERATOR, NODES[0], draining=True)
    tasks = await claim(ready, 9, place_on(NODES[3]), USABLE, NONE)
    assert "n1" in [copy.node for copy in tasks[0].sources]
    await ready.repair.finish(tasks[0], answer(tasks[0]))
    assert len(await ready.copies.stored(chunk("a"))) == 4
    assert not await claim(ready, 9, place_on(NODES[3]), USABLE, NONE)
    assert {c.node for c in await ready.copies.stored(chunk("a"))} == {"n2", "n3", "n4"}
    assert await ready.collection.claim(9, 0) == []
    assert await confirm(ready) == [Settled.DELETED]
    doomed = await ready.collection.claim(9, 0)
    assert [(node, key.chunk) for node, key in doomed] == [("n1", chunk("a"))]
    assert await ready.figures.repair_backlog(USABLE, NONE) == 0


async def test_a_corrupt_only_copy_is_not_deleted(ready: Catalog) -> None:
    await write(ready, "/d/f", "a")
    for copy in await ready.copies.stored(chunk("a")):
        await ready.copies.mark(copy.node, [(chunk("a"), copy.generation)], lost=False)
    assert await ready.collection.claim(9, 0) == []
    assert (await health(ready, USABLE)).unavailable == 1


async def test_a_node_keeps_its_store(ready: Catalog) -> None:
    await ready.nodes.bind_store(NODES[0], StoreUuid("a" * 32))
    await ready.nodes.bind_store(NODES[0], StoreUuid("a" * 32))
    with pytest.raises(ConflictError):
        await ready.nodes.bind_store(NODES[0], StoreUuid("b" * 32))


async def test_an_old_backup_destroys_nothing_when_it_is_adopted_either(
    ready: Catalog, engines: Engines
) -> None:
    await write(ready, "/d/f", "a")
    await engines.close()
    backup = await engines.keep()
    later = await engines.open()
    await write(later, "/d/g", "later")
    newest = [
        CopyKey(chunk("later"), c.generation, 26) for c in await later.copies.stored(chunk("later"))
    ]
    seen = await later.restores.position()
    old = await engines.put_back(backup)
    assert not await old.restores.is_restored()
    assert (await old.restores.position()).sequence < seen.sequence
    assert await old.restores.observe(seen)
    assert await old.restores.is_restored()
    assert (await old.restores.position()).epoch == seen.epoch + 1
    assert not await old.restores.observe(seen)
    assert await old.copies.compare_inventory(NODES[0], newest[:1], after=b"", last=True) == []
    assert [record.quarantined_bytes for record in await old.nodes.list()] == [26, 0, 0, 0]
    await drop(old, "/d/f")
    assert await old.collection.claim(100, 0) == []
    upload, _ = await begin(old, "/d/h", "later")
    assert upload.allocations[0].targets[0].generation > newest[-1].generation
    await engines.close()
    old = await engines.open()
    assert await old.restores.is_restored()
    done = await old.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    assert (done.confirmed, done.enrolled, done.replaced) == (True, (), 0)
    gone = await old.collection.claim(100, 0)
    assert {key.chunk for _, key in gone} == {chunk("a")}, "adoption deletes nothing"
