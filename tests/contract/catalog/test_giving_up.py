"""Redundancy is replaced before it is removed: what is given up is kept until others are confirmed."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import RepairTask, Settled, Upload
from collective.core.clock import ManualClock
from collective.core.errors import ConflictError
from collective.core.ids import Generation, NodeId, SpiffeId
from collective.model.calls import Call
from collective.model.copies import CopyKey, CopyState, Judged, Verdict
from collective.model.nodes import Standing
from collective.model.rights import Right
from collective.model.writing import Attributes
from collective.placement.node_choice import Offers
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import (
    ANY,
    DOMAIN,
    NODES,
    OPERATOR,
    answer,
    begin,
    chunk,
    claim,
    collected,
    confirm,
    enrol,
    grant,
    intent,
    p,
    place_on,
    user,
    write,
)

A, B, C, D = NODES
ALL = frozenset(NODES)
NONE: frozenset[NodeId] = frozenset()


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a")
    return catalog


async def stored(catalog: Catalog, text: str = "a") -> set[NodeId]:
    return {copy.node for copy in await catalog.copies.stored(chunk(text))}


async def generation(catalog: Catalog, node: NodeId, text: str = "a") -> Generation:
    (found,) = [c.generation for c in await catalog.copies.stored(chunk(text)) if c.node == node]
    return found


async def put_on_probation(catalog: Catalog, *nodes: NodeId) -> None:
    for record in await catalog.nodes.list():
        if record.node in nodes:
            await catalog.nodes.add(dataclasses.replace(record, standing=Standing.PROBATION))


async def repair(catalog: Catalog, *nodes: NodeId) -> Sequence[RepairTask]:
    tasks = await claim(catalog, 99, place_on(*nodes), ALL, NONE)
    for task in tasks:
        await catalog.repair.finish(task, answer(task))
    return tasks


async def empty(catalog: Catalog) -> None:
    """Drain A: what it has is copied to D, and then given up."""
    await catalog.nodes.drain(OPERATOR, A, draining=True)
    await repair(catalog, D)
    await repair(catalog)


async def lose(catalog: Catalog, generations: Mapping[NodeId, Generation], *nodes: NodeId) -> None:
    """Have a challenge prove that nodes do not have their copies any more."""
    await catalog.copies.note_verdicts(
        [Judged(chunk("a"), node, generations[node], Verdict.MISSING) for node in nodes]
    )


async def deletes(catalog: Catalog) -> list[tuple[NodeId, Generation]]:
    return [(node, key.generation) for node, key in await catalog.collection.claim(99, 0)]


async def test_a_repair_dooms_nothing_by_itself(ready: Catalog) -> None:
    await ready.nodes.drain(OPERATOR, A, draining=True)
    assert len(await repair(ready, D)) == 1
    assert await stored(ready) == ALL
    assert await ready.figures.copies_in_doubt() == (0, 0)


async def test_a_drained_copy_goes_when_its_replacement_is_confirmed_and_not_before(
    ready: Catalog, clock: ManualClock
) -> None:
    await empty(ready)
    assert await stored(ready) == {B, C, D}
    assert await ready.figures.copies_in_doubt() == (0, 1)
    for _ in range(3):  # the replacement does not prove itself
        assert await confirm(ready, liars=frozenset({D})) == [Settled.KEPT]
        assert await deletes(ready) == []
        clock.advance(4000)
    assert await confirm(ready) == [Settled.DELETED]
    assert [node for node, _ in await deletes(ready)] == [A]


async def test_a_node_is_not_removed_while_what_it_gave_up_is_not_confirmed(
    ready: Catalog, clock: ManualClock
) -> None:
    await empty(ready)
    identity = SpiffeId.node(DOMAIN, A)
    with pytest.raises(ConflictError, match="verified"):
        await ready.nodes.remove(OPERATOR, A, identity, force=False)
    clock.advance(4000)
    await confirm(ready)
    await ready.nodes.remove(OPERATOR, A, identity, force=False)


async def test_a_copy_that_is_given_up_is_a_source_and_is_taken_back_when_it_is_needed(
    ready: Catalog, clock: ManualClock
) -> None:
    """Its replacement turns out to be nothing: the node that was emptied is not the loser by it."""
    await empty(ready)
    await ready.copies.note_verdicts(
        [Judged(chunk("a"), D, await generation(ready, D), Verdict.MISSING)]
    )
    (task,) = await claim(ready, 9, place_on(D), ALL, NONE)
    assert A in {source.node for source in task.sources}
    await ready.repair.finish(task, None)
    await ready.nodes.drain(OPERATOR, A, draining=False)
    clock.advance(4000)
    assert Settled.TAKEN_BACK in await confirm(ready)
    assert await stored(ready) == {A, B, C}
    assert await deletes(ready) == []
    assert await ready.figures.copies_in_doubt() == (0, 2)
    await ready.copies.compare_inventory(D, [], after=b"", last=True)
    assert await ready.figures.copies_in_doubt() == (0, 0)  # it never had the new one


async def test_the_missing_copys_generation_goes_when_the_new_one_is_confirmed(
    ready: Catalog,
) -> None:
    before = await generation(ready, A)
    await ready.copies.mark(A, [(chunk("a"), before)], lost=True)
    (task,) = await repair(ready, A)
    assert task.target.generation > before
    assert await deletes(ready) == []
    assert await confirm(ready) == [Settled.DELETED]
    assert await deletes(ready) == [(A, before)]


async def test_a_missing_copy_that_came_back_counts_once_it_is_proven(
    ready: Catalog,
) -> None:
    key = CopyKey(chunk("a"), await generation(ready, A), 26)
    await ready.copies.compare_inventory(A, [], after=b"", last=True)
    await ready.copies.compare_inventory(A, [key], after=b"", last=True)
    assert await stored(ready) == {B, C}
    assert await claim(ready, 9, place_on(D), ALL, NONE) == []  # it is verified first
    assert [one.chunk for one in (await ready.copies.doubted_on(A, 0, 9)).chunks] == [chunk("a")]
    await ready.copies.note_verdicts([Judged(chunk("a"), A, key.generation, Verdict.PROVEN)])
    assert await stored(ready) == {A, B, C}


async def test_a_corrupt_copy_waits_for_another_and_leaves_a_full_node_for_it(
    ready: Catalog, clock: ManualClock
) -> None:
    for node in (A, B, C):
        await ready.copies.mark(node, [(chunk("a"), await generation(ready, node))], lost=False)
    assert await stored(ready) == set()
    for _ in range(2):
        clock.advance(4000)
        assert set(await confirm(ready, full=ALL)) == {Settled.KEPT}
    assert await deletes(ready) == []


async def test_the_last_good_copy_lets_a_corrupt_one_leave_a_full_node(
    ready: Catalog,
) -> None:
    await ready.copies.mark(A, [(chunk("a"), bad := await generation(ready, A))], lost=False)
    assert await confirm(ready, full=frozenset({A})) == [Settled.DELETED]
    assert await deletes(ready) == [(A, bad)]
    await ready.collection.finish(A, [CopyKey(chunk("a"), bad, 26)])
    (task,) = await repair(ready, A)
    assert task.target.node == A


async def test_copies_beyond_what_a_policy_wants_go_once_those_left_are_confirmed(
    ready: Catalog, clock: ManualClock
) -> None:
    await ready.datastores.create(OPERATOR, p("/one"), copies=1, quota_bytes=0, owner=None)
    await ready.names.move(OPERATOR, p("/d/f"), p("/one/f"), condition=ANY)
    while await ready.datastores.settle_copies():
        pass
    for left in (2, 1, 1):
        await repair(ready)
        assert len(await stored(ready)) == left
        assert await deletes(ready) == []
    clock.advance(4000)
    (kept,) = await stored(ready)
    assert await confirm(ready, liars=frozenset({kept})) == [Settled.KEPT] * 2
    clock.advance(4000)
    assert await confirm(ready) == [Settled.DELETED] * 2
    assert await stored(ready) == {kept}
    assert await ready.figures.copies_in_doubt() == (0, 0)


async def test_copies_that_one_node_invents_hold_back_those_of_no_other(
    ready: Catalog,
) -> None:
    texts = [f"t{number}" for number in range(24)]
    await write(ready, "/d/many", *texts)
    other = await generation(ready, B)
    told = [CopyKey(chunk(text), Generation(other), 26) for text in texts]
    told += [CopyKey(chunk(text), await generation(ready, A, text), 26) for text in ("a", *texts)]
    await ready.copies.compare_inventory(
        A, sorted(told, key=lambda key: key.chunk), after=b"", last=True
    )
    assert (await ready.figures.copies_in_doubt())[1] == len(texts)
    await ready.nodes.drain(OPERATOR, C, draining=True)
    await repair(ready, D)
    await repair(ready)
    assert not [text for text in texts if C in await stored(ready, text)]
    due = [given.node for _, given in await ready.guarded.claim(8)]
    assert (due.count(A), due.count(C)) == (4, 4)


async def test_invented_copies_of_one_chunk_are_few_and_go_with_it_though_not_all_at_once(
    ready: Catalog, engines: Engines, clock: ManualClock
) -> None:
    """Ten simulated days gave one chunk a thousand, and forgetting it was one change."""
    engines.bound(Bound.GUARDED_STRANGERS, 20)
    engines.bound(Bound.GUARDS_LIFTED, 6)
    texts = [f"t{number}" for number in range(40)]
    await write(ready, "/d/many", *texts)
    real = await generation(ready, A, "t39")
    told = [CopyKey(chunk("t39"), Generation(real - past), 26) for past in range(1, 61)]
    told += [CopyKey(chunk(text), await generation(ready, A, text), 26) for text in ("a", *texts)]
    page = sorted(told, key=lambda key: (key.chunk, key.generation))
    assert len(await ready.copies.compare_inventory(A, page, after=b"", last=True)) == 20
    assert await ready.figures.copies_in_doubt() == (0, 20)
    await ready.names.remove(OPERATOR, p("/d/many"), recursive=False, condition=ANY)
    in_doubt, gone = [], 0
    for _ in range(8):
        clock.advance(3601)
        await ready.upkeep.expire()
        for node, copy in await ready.collection.claim(1000, 0):
            gone += node == A and copy.chunk == chunk("t39")
            await ready.collection.finish(node, [copy])
        in_doubt.append((await ready.figures.copies_in_doubt())[1])
        await confirm(ready)
    assert 14 in in_doubt
    assert (in_doubt[-1], gone) == (0, 21)


async def test_the_copy_of_a_repair_whose_answer_was_lost_may_be_the_last_good_one(
    ready: Catalog, clock: ManualClock
) -> None:
    """D has flushed it when the connection ends, and with that its source goes too."""
    before = {node: await generation(ready, node) for node in (A, B, C)}
    await lose(ready, before, A, B)
    (task,) = await claim(ready, 9, place_on(D), ALL, NONE)
    await ready.repair.finish(task, None)
    await lose(ready, before, C)
    with pytest.raises(ConflictError):
        await ready.nodes.remove(OPERATOR, D, SpiffeId.node(DOMAIN, D), force=False)
    for _ in range(3):
        clock.advance(4000)
        assert await deletes(ready) == []
    assert Settled.TAKEN_BACK in await confirm(ready)
    assert await stored(ready) == {D}


async def test_the_copy_of_an_upload_that_ended_may_be_the_last_good_one(
    ready: Catalog, clock: ManualClock
) -> None:
    """Its client was killed before it showed the receipt of D; what it sent is in use by another file."""
    before = {node: await generation(ready, node) for node in (A, B, C)}
    await lose(ready, before, A, B)
    upload, _ = await begin(ready, "/d/g", "a", nodes=(D, C, B))
    await ready.uploads.abort(OPERATOR, upload.id)
    await ready.upkeep.expire()
    await lose(ready, before, C)
    for _ in range(3):
        clock.advance(4000)
        await ready.upkeep.expire()
        assert D not in {node for node, _ in await deletes(ready)}
    assert Settled.TAKEN_BACK in await confirm(ready)
    assert D in await stored(ready)


async def test_copies_that_a_node_refused_to_make_do_not_keep_it_from_being_removed(
    ready: Catalog, clock: ManualClock
) -> None:
    """It says that it has none of them, and nobody else could."""
    before = {node: await generation(ready, node) for node in (A, B, C)}
    await lose(ready, before, A)
    refused = []
    for _ in range(5):
        (task,) = await claim(ready, 9, place_on(D), ALL, NONE)
        await ready.repair.finish(task, None)
        refused.append(Judged(chunk("a"), D, task.target.generation, Verdict.MISSING))
    identity = SpiffeId.node(DOMAIN, D)
    await ready.copies.note_verdicts(refused)
    with pytest.raises(ConflictError, match="verified"):  # they may be on their way
        await ready.nodes.remove(OPERATOR, D, identity, force=False)
    clock.advance(900)
    await ready.copies.note_verdicts(refused)
    await ready.nodes.remove(OPERATOR, D, identity, force=False)


async def test_a_chunk_of_another_length_that_goes_lifts_no_guard(
    ready: Catalog, clock: ManualClock
) -> None:
    """Whoever names a chunk by a length that it does not have takes nothing from those who use it."""
    await empty(ready)
    lie = dataclasses.replace(intent("a"), stored_length=516)
    upload = await ready.uploads.open(
        OPERATOR, p("/d/lie"), Attributes(), ANY, [lie], place_on(B, C, D)
    )
    await ready.uploads.abort(OPERATOR, upload.id)
    due = []
    for _ in range(5):
        clock.advance(3601)
        await ready.upkeep.expire()
        due += [(node, copy.stored_length) for node, copy in await ready.collection.claim(99, 0)]
    assert (A, 26) not in due
    assert await ready.figures.copies_in_doubt() == (0, 1)


async def test_what_one_node_invents_takes_no_room_from_another(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.GUARDED_STRANGERS, 3)
    texts = [f"t{number}" for number in range(20)]
    await write(ready, "/d/many", *texts)
    for node in (A, B):
        real = await generation(ready, node, "t19")
        told = [CopyKey(chunk("t19"), Generation(real - past), 26) for past in range(1, 30)]
        told += [
            CopyKey(chunk(one), await generation(ready, node, one), 26) for one in ("a", *texts)
        ]
        page = sorted(told, key=lambda copy: (copy.chunk, copy.generation))
        await ready.copies.compare_inventory(node, page, after=b"", last=True)
    assert await ready.figures.copies_in_doubt() == (0, 6)


async def test_copies_on_probation_let_no_copy_go(ready: Catalog) -> None:
    await put_on_probation(ready, D)
    await empty(ready)
    assert await confirm(ready) == [Settled.KEPT]
    assert {
        record.node for record in await ready.nodes.list() if record.standing is Standing.PROBATION
    }


async def test_figures_count_copies_on_probation_as_repair_does(ready: Catalog) -> None:
    """Two are wanted; of four, one is on a node that is lost, and two on nodes on probation."""
    for path, copies in (("/four", 4), ("/two", 2)):
        await ready.datastores.create(OPERATOR, p(path), copies=copies, quota_bytes=0, owner=None)
    await write(ready, "/four/f", "four", nodes=NODES)
    await ready.names.move(OPERATOR, p("/four/f"), p("/two/f"), condition=ANY)
    while await ready.datastores.settle_copies():
        pass
    lost = frozenset({A})
    assert await stored(ready, "four") == ALL
    assert await ready.figures.repair_backlog(ALL - lost, lost) == 1  # the file that wants three
    await put_on_probation(ready, C, D)
    assert await ready.figures.repair_backlog(ALL - lost, lost) == 2


async def test_a_restored_catalogue_gives_up_nothing(ready: Catalog, engines: Engines) -> None:
    await ready.nodes.drain(OPERATOR, A, draining=True)
    await repair(ready, D)
    kept = await engines.keep()
    await repair(ready)
    seen = await ready.restores.position()
    old = await engines.put_back(kept)
    await old.restores.observe(seen)
    for _ in range(2):
        await repair(old)
        assert await stored(old) == ALL
        assert await confirm(old) == []
    await old.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    await repair(old)
    assert await confirm(old) == [Settled.DELETED]


async def test_what_was_decided_on_another_state_is_not_done(ready: Catalog) -> None:
    await ready.nodes.drain(OPERATOR, A, draining=True)
    tasks = await claim(ready, 9, place_on(D), ALL, NONE)
    assert await claim(ready, 9, place_on(D), ALL, NONE) == []  # it is claimed
    await ready.repair.finish(tasks[0], answer(tasks[0]))
    (due, *_) = await ready.copies.known(chunk("a"))
    await ready.copies.mark(B, [(chunk("a"), await generation(ready, B))], lost=True)
    await repair(ready)  # gives nothing up: three are wanted, and C, D and A are left
    assert await stored(ready) == {A, C, D}
    assert len(due.copies) == 4


async def test_finding_4_chunks_without_a_place_hide_no_other_however_many(
    ready: Catalog,
) -> None:
    """Each search goes on where it stopped: one that looked at seven knows nothing of the eighth."""
    blocked = [f"full{number}" for number in range(60)]
    await write(ready, "/d/full", *blocked, copies=2)
    await ready.datastores.create(OPERATOR, p("/two"), copies=2, quota_bytes=0, owner=None)
    await write(ready, "/two/well", "z", nodes=NODES[:2])
    await ready.copies.mark(A, [(chunk("z"), await generation(ready, A, "z"))], lost=True)

    place = Offers(defaultdict(tuple, {(chunk("z"), intent("z").stored_length): (D,)}), {})
    (task,) = await claim(ready, 4, place, ALL, NONE)
    assert task.chunk == chunk("z")


async def test_only_what_the_node_answered_for_is_forgotten(
    ready: Catalog, clock: ManualClock
) -> None:
    await ready.names.remove(OPERATOR, p("/d/f"), recursive=False, condition=ANY)
    gone: list[tuple[NodeId, CopyKey]] = []
    while not gone:
        gone = list(await ready.collection.claim(99, 0))
    node, key = gone[0]
    await ready.collection.finish(node, [key])
    clock.advance(100)
    again = list(await ready.collection.claim(99, 0))
    assert {node for node, _ in again} == {node for node, _ in gone[1:]}


async def sent_to_what_was_lost(catalog: Catalog, who: Call) -> Upload:
    """Begin an upload that sends a chunk to the copies that are there; one of them is lost then."""
    await enrol(catalog, 4)
    for folder in ("/d", "/e"):
        await catalog.names.make_directory(OPERATOR, p(folder), parents=False)
    await grant(catalog, who, "/e", Right.WRITE)
    await write(catalog, "/d/f", "x")
    upload, _ = await begin(catalog, "/e/f", "x", who=who)
    (lost,) = (one for one in upload.allocations[0].targets if one.node == A)
    await catalog.copies.mark(A, [(chunk("x"), lost.generation)], lost=True)
    return upload


async def test_a_repair_that_failed_where_an_upload_sends_an_older_copy_leaves_nothing(
    catalog: Catalog,
) -> None:
    bob = user("bob")
    upload = await sent_to_what_was_lost(catalog, bob)
    (task,) = await claim(catalog, 9, place_on(A), ALL, NONE)
    await catalog.repair.finish(task, None)
    assert A not in [one.node for one in (await catalog.copies.known(chunk("x")))[0].copies]
    await catalog.uploads.abort(bob, upload.id)


async def test_an_upload_that_ends_before_one_that_sends_an_older_copy_leaves_nothing(
    catalog: Catalog, clock: ManualClock
) -> None:
    bob = user("bob")
    first = await sent_to_what_was_lost(catalog, bob)
    second, _ = await begin(catalog, "/e/g", "x", who=bob)  # one of its copies is new
    for upload in (second, first):
        await catalog.uploads.abort(bob, upload.id)
        await collected(catalog, clock)
    (there,) = await catalog.copies.known(chunk("x"))
    assert CopyState.INTENT not in [one.state for one in there.copies]


async def test_a_drained_node_lets_go_though_a_doubted_one_has_a_copy_too(
    catalog: Catalog, clock: ManualClock
) -> None:
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await catalog.datastores.set(OPERATOR, p("/d"), copies=2)
    await write(catalog, "/d/f", "x", nodes=NODES[:2])
    await catalog.nodes.drain(OPERATOR, NODES[0], draining=True)
    await catalog.nodes.doubt(NODES[1], "it lied")
    for _ in range(4):  # two copies elsewhere; then what is on the first one is surplus
        for task in await claim(catalog, 9, place_on(*NODES[2:]), ALL, NONE):
            await catalog.repair.finish(task, answer(task))
        await confirm(catalog, ALL)
        clock.advance(3601)
    assert not (await catalog.figures.copies_left()).get(NODES[0])
