"""A catalogue knows its own past from a future that it lost, whatever their numbers say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from collective.catalog.interface import Catalog
from collective.core.clock import ManualClock
from collective.model.copies import CopyKey
from collective.model.nodes import Position
from collective.model.people import Invite, InviteKind
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import NODES, OPERATOR, chunk, enrol, p, write

PutBack = Callable[[], Awaitable[Catalog]]


@pytest.fixture
async def put_back(engines: Engines) -> PutBack:
    """Back up a catalogue that ended cleanly; the function puts that in place and opens it."""
    catalog = await engines.open()
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await engines.close()
    backup = await engines.keep()

    async def do() -> Catalog:
        return await engines.put_back(backup)

    return do


async def restart(engines: Engines) -> Catalog:
    await engines.close()
    return await engines.open()


async def catch_up(catalog: Catalog, seen: Position) -> None:
    """Make changes until no number of ``seen`` is beyond the catalogue's own."""
    while (await catalog.restores.position()).sequence <= seen.sequence:
        await write(catalog, "/d/own", "own")


async def restored_times(catalog: Catalog) -> int:
    return sum(row.action == "restored" for row in await catalog.audit.list(since_ms=0, limit=999))


async def test_a_restore_is_found_out_although_its_numbers_caught_up_with_the_lost_future(
    engines: Engines, put_back: PutBack, clock: ManualClock
) -> None:
    later = await engines.open()
    await write(later, "/d/lost", "lost")
    lost = [
        CopyKey(chunk("lost"), c.generation, 26) for c in await later.copies.stored(chunk("lost"))
    ]
    seen = await later.restores.position()
    old = await put_back()
    code = Invite("c1", InviteKind.NODE, b"v" * 32, 9, 9, clock.wall_s() + 60, OPERATOR.principal)
    await old.codes.add(OPERATOR, code)
    await catch_up(old, seen)
    own = {copy.generation for copy in await old.copies.stored(chunk("own"))}
    before = await old.restores.position()
    assert before.epoch == seen.epoch
    assert before.sequence > seen.sequence
    assert not await old.restores.is_restored()
    assert not await old.restores.has_been_at(seen)
    assert await old.restores.observe(seen)
    assert await old.restores.is_restored()
    assert (await old.restores.position()).epoch == seen.epoch + 1
    assert (await old.codes.get("c1")).state(clock.wall_s()) != "open"
    await write(old, "/d/after", "after")
    after = {copy.generation for copy in await old.copies.stored(chunk("after"))}
    assert min(after) > max(own | {key.generation for key in lost}) + (1 << 31)


async def test_what_a_former_life_did_after_it_ended_here_is_a_lost_future(
    engines: Engines, put_back: PutBack
) -> None:
    first = await put_back()
    seen = await first.restores.position()
    second = await restart(engines)
    began = await second.restores.position()
    assert began.life != seen.life
    beyond = replace(seen, sequence=began.sequence + 3)
    await catch_up(second, beyond)
    within = replace(seen, sequence=seen.sequence)
    assert await second.restores.has_been_at(within)
    assert not await second.restores.observe(within)
    assert not await second.restores.has_been_at(beyond)
    assert await second.restores.observe(beyond)
    assert await second.restores.has_been_at(beyond)
    assert await second.restores.has_been_at(replace(beyond, sequence=beyond.sequence + 1)), (
        "is dealt with"
    )


async def test_restarts_and_kills_make_nothing_restored(
    engines: Engines, put_back: PutBack
) -> None:
    catalog = await put_back()
    positions = []
    for number in range(4):
        await write(catalog, f"/d/{number}", str(number))
        positions.append(await catalog.restores.position())
        catalog = await restart(engines)
    assert len({one.life for one in positions}) == 4
    for one in positions:
        assert await catalog.restores.has_been_at(one)
        assert not await catalog.restores.observe(one)
    assert not await catalog.restores.is_restored()


async def test_each_start_is_a_change(engines: Engines, put_back: PutBack) -> None:
    catalog = await put_back()
    ended = await catalog.restores.position()
    assert (await (await restart(engines)).restores.position()).sequence > ended.sequence


async def test_a_future_of_several_lives_makes_one_life_restored_once(
    engines: Engines, put_back: PutBack
) -> None:
    lost = []
    for _ in range(3):
        later = await restart(engines)
        await write(later, "/d/lost", "lost")
        lost.append(await later.restores.position())
    old = await put_back()
    await catch_up(old, lost[-1])
    assert [await old.restores.observe(one) for one in lost[:2]] == [True, False]
    await old.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    assert not await old.restores.observe(lost[1])
    old = await restart(engines)
    assert [await old.restores.has_been_at(one) for one in lost] == [True, True, False]
    assert await old.restores.observe(lost[2]), "nobody can tell of which future it is"
    assert await restored_times(old) == 2


async def test_a_backup_that_was_put_back_twice_is_found_out_twice(
    engines: Engines, put_back: PutBack
) -> None:
    for _ in range(2):
        later = await restart(engines)
        await write(later, "/d/lost", "lost")
        seen = await later.restores.position()
        old = await put_back()
        await catch_up(old, seen)
        assert await old.restores.observe(seen)


async def test_a_restored_catalogue_that_is_put_back_is_found_out_again(
    engines: Engines, put_back: PutBack
) -> None:
    lost = await engines.open()
    await write(lost, "/d/lost", "lost")
    seen = await lost.restores.position()
    old = await put_back()
    assert await old.restores.observe(seen)
    await engines.close()
    second = await engines.keep()
    later = await engines.open()
    await write(later, "/d/again", "again")
    beyond = await later.restores.position()
    old = await engines.put_back(second)
    await catch_up(old, beyond)
    assert await old.restores.has_been_at(seen)
    assert await old.restores.observe(beyond)
    assert (await old.restores.position()).epoch == beyond.epoch + 1


async def test_a_position_without_a_life_counts_by_its_numbers(put_back: PutBack) -> None:
    catalog = await put_back()
    ours = await catalog.restores.position()
    assert not await catalog.restores.observe(replace(ours, life=""))
    assert await catalog.restores.observe(replace(ours, life="", sequence=ours.sequence + 50))


async def test_a_life_that_was_forgotten_counts_by_its_numbers(
    engines: Engines, put_back: PutBack
) -> None:
    engines.bound(Bound.LIVES, 2)
    catalog = await put_back()
    positions = []
    for _ in range(5):
        positions.append(await catalog.restores.position())
        catalog = await restart(engines)
    for one in positions:
        assert not await catalog.restores.observe(one)
    for number in range(4):
        now = await catalog.restores.position()
        await catalog.restores.observe(replace(now, life=f"{number:032x}"))
    assert await restored_times(catalog) == 1


async def test_nodes_of_a_restored_catalogue_follow_it(engines: Engines, put_back: PutBack) -> None:
    """The position of now is above what any of them saw, so that deletes of it are obeyed."""
    later = await engines.open()
    await write(later, "/d/lost", "lost")
    seen = await later.restores.position()
    old = await put_back()
    await catch_up(old, seen)
    await old.restores.observe(seen)
    now = await old.restores.position()
    assert (now.epoch, now.sequence) > (seen.epoch, seen.sequence)
    assert now.life not in {"", seen.life}
    assert await old.copies.compare_inventory(NODES[0], [], after=b"", last=True) == []
