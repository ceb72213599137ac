"""A catalogue of before: copies that were made since are used once they are proven, and none is lost."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import Settled
from collective.core.clock import ManualClock
from collective.core.errors import NotEnoughCopiesError
from collective.core.ids import Generation, NodeId
from collective.model.copies import CopyKey, Judged, Verdict
from collective.model.nodes import Position
from tests.contract.catalog.engines import Bound, Engines, Kept, KilledError
from tests.contract.catalog.test_giving_up import A, B, C, D, deletes, empty, repair, stored
from tests.contract.catalog.world import (
    NODES,
    OPERATOR,
    begin,
    chunk,
    confirm,
    enrol,
    p,
    write,
)

LENGTH = 26


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a")
    return catalog


async def generations(catalog: Catalog) -> dict[NodeId, Generation]:
    return {copy.node: copy.generation for copy in await catalog.copies.stored(chunk("a"))}


async def move_all(catalog: Catalog, clock: ManualClock) -> dict[NodeId, Generation]:
    """Drain A to D, and have B and C lose their copies and get new ones; return what is there."""
    before = await generations(catalog)
    await empty(catalog)
    clock.advance(4000)
    await confirm(catalog)
    for node in (B, C):
        await catalog.copies.mark(node, [(chunk("a"), before[node])], lost=True)
        await repair(catalog, node)
        clock.advance(4000)
        await confirm(catalog)
    now = await generations(catalog)
    assert now.keys() == {B, C, D}
    assert not set(now.values()) & set(before.values())
    return now


async def tell(catalog: Catalog, held: dict[NodeId, Generation]) -> None:
    for node in NODES:
        copies = [CopyKey(chunk("a"), held[node], LENGTH)] if node in held else []
        await catalog.copies.compare_inventory(node, copies, after=b"", last=True)


async def judge(catalog: Catalog, verdict: Verdict) -> None:
    for node in NODES:
        for one in (await catalog.copies.doubted_on(node, 0, 9)).chunks:
            (copy,) = [copy for copy in one.copies if copy.node == node]
            await catalog.copies.note_verdicts([Judged(one.chunk, node, copy.generation, verdict)])


async def quarantined(catalog: Catalog) -> int:
    return sum(record.quarantined_bytes for record in await catalog.nodes.list())


async def restored(engines: Engines, kept: Kept, seen: Position) -> Catalog:
    old = await engines.put_back(kept)
    await old.restores.observe(seen)
    assert await old.restores.is_restored()
    return old


async def test_copies_that_were_made_since_the_backup_are_used_once_they_are_proven(
    ready: Catalog, engines: Engines, clock: ManualClock
) -> None:
    kept = await engines.keep()
    now = await move_all(ready, clock)
    old = await restored(engines, kept, await ready.restores.position())
    for _ in range(2):  # an inventory told again changes nothing
        await tell(old, now)
    assert await stored(old) == set(), "nobody is believed"
    assert await quarantined(old) == 0
    await judge(old, Verdict.PROVEN)
    assert await stored(old) == {B, C, D}
    await old.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    await tell(old, now)
    assert await stored(old) == {B, C, D}
    assert not set(await deletes(old)) & set(now.items())


async def test_a_copy_made_since_the_backup_that_is_not_there_counts_for_nothing(
    ready: Catalog, engines: Engines, clock: ManualClock
) -> None:
    kept = await engines.keep()
    now = await move_all(ready, clock)
    old = await restored(engines, kept, await ready.restores.position())
    await tell(old, now)
    await judge(old, Verdict.MISSING)
    clock.advance(900)
    await tell(old, {})
    assert await stored(old) == set()
    assert await old.figures.copies_in_doubt() == (0, 0), "nor do B and C have what they had before"


async def test_beside_a_copy_that_counts_another_lifes_copy_stays_in_quarantine(
    ready: Catalog,
) -> None:
    known = await generations(ready)
    page = [CopyKey(chunk("a"), Generation(7), LENGTH), CopyKey(chunk("a"), known[A], LENGTH)]
    await ready.copies.compare_inventory(A, page, after=b"", last=True)
    assert (await generations(ready), await quarantined(ready)) == (known, LENGTH)
    await ready.copies.compare_inventory(A, page[:1], after=b"", last=True)
    assert await quarantined(ready) == 0, "it is used when the other one is gone"
    await judge(ready, Verdict.PROVEN)
    assert await generations(ready) == known | {A: Generation(7)}


async def test_another_lifes_copy_of_a_chunk_that_nothing_needs_stays_in_quarantine(
    ready: Catalog,
) -> None:
    await begin(ready, "/d/g", "b")  # it has a row, and nobody has sent it
    page = [CopyKey(chunk("b"), Generation(7), LENGTH)]
    await ready.copies.compare_inventory(D, page, after=b"", last=True)
    assert await quarantined(ready) == LENGTH


async def test_what_was_to_be_deleted_before_the_backup_is_kept_until_it_is_confirmed_again(
    ready: Catalog, engines: Engines, clock: ManualClock
) -> None:
    """Its guard was lifted, and what had confirmed it was lost after the backup."""
    before = await generations(ready)
    await empty(ready)
    clock.advance(4000)
    assert await confirm(ready) == [Settled.DELETED]
    kept = await engines.keep()
    await ready.names.make_directory(OPERATOR, p("/e"), parents=False)
    old = await restored(engines, kept, await ready.restores.position())
    for node, generation in (await generations(old)).items():
        await old.copies.mark(node, [(chunk("a"), generation)], lost=True)
    await old.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    clock.advance(100_000)
    assert await deletes(old) == []
    await old.nodes.drain(OPERATOR, A, draining=False)
    assert Settled.TAKEN_BACK in await confirm(old, frozenset({A}))
    assert await generations(old) == {A: before[A]}


@pytest.mark.parametrize("is_killed", [False, True], ids=["guarded at once", "killed before"])
async def test_it_is_kept_too_where_a_node_tells_of_the_lost_future(
    ready: Catalog,
    clock: ManualClock,
    engines: Engines,
    *,
    is_killed: bool,
) -> None:
    """Guarding takes steps.  Where the coordinator is killed in between, adoption does the rest."""
    engines.bound(Bound.GUARDED_DELETES, 1)
    await empty(ready)
    clock.advance(4000)
    assert await confirm(ready) == [Settled.DELETED]
    position = await ready.restores.position()
    later = dataclasses.replace(position, sequence=position.sequence + 1_000_000)

    async def killed(number: int) -> None:
        if is_killed and number > 1:
            raise KilledError

    with engines.between(ready, killed), pytest.raises(KilledError) if is_killed else nullcontext():
        assert await ready.restores.observe(later)
    assert await ready.restores.is_restored()
    assert await ready.figures.copies_in_doubt() == (0, 0 if is_killed else 1)
    assert await deletes(ready) == [], "it is restored"
    await ready.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    clock.advance(100_000)
    assert await ready.figures.copies_in_doubt() == (0, 1)
    assert await deletes(ready) == []


async def test_a_backup_that_is_restored_twice_gives_out_no_number_of_the_first_time(
    ready: Catalog, engines: Engines
) -> None:
    kept = await engines.keep()
    position = await ready.restores.position()
    ahead = dataclasses.replace(position, sequence=position.sequence + 1_000_000)
    first = await restored(engines, kept, ahead)
    lost = await write(first, "/d/b", "b")
    (copy, *_) = await first.copies.stored(chunk("b"))
    old = await restored(engines, kept, ahead)
    since = await write(old, "/d/c", "c")
    assert since.version != lost.version
    assert copy.generation not in {one.generation for one in await old.copies.stored(chunk("c"))}
    page = [CopyKey(chunk("b"), copy.generation, LENGTH)]
    assert list(await old.copies.compare_inventory(copy.node, page, after=b"", last=True)) == []
    assert await quarantined(old) == LENGTH, "it is of a lost future, and no orphan of ours"


async def test_copies_of_a_lost_future_are_kept_though_a_change_failed_beside_the_discovery(
    ready: Catalog, engines: Engines
) -> None:
    """Both ran twice, and what was left out the first time seemed to have been given out here."""
    now = await ready.restores.position()
    later = dataclasses.replace(now, sequence=now.sequence + 1_000_000)
    next_generation = 1 + max((await generations(ready)).values())
    async with engines.held_up(ready) as ask:
        discovery = await ask(ready.restores.observe(later))
        upload = await ask(begin(ready, "/d/g", "b", nodes=()))
    assert await discovery
    with pytest.raises(NotEnoughCopiesError):
        await upload
    lost = CopyKey(chunk("lost"), Generation(next_generation), LENGTH)
    held = [CopyKey(chunk("a"), (await generations(ready))[A], LENGTH), lost]
    held.sort(key=lambda copy: copy.chunk)
    told = await ready.copies.compare_inventory(A, held, after=b"", last=True)
    assert list(told) == [], "it would be deleted"
    [record] = [one for one in await ready.nodes.list() if one.node == A]
    assert record.quarantined_bytes == LENGTH
