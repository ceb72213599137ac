"""What removed datastores and wrong clocks leave behind harms nobody."""

import pytest

from collective.catalog.interface import Catalog
from collective.core.clock import ManualClock
from collective.core.errors import BusyError
from collective.model.rights import Right
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import (
    ANY,
    LARGE,
    OPERATOR,
    SPARE,
    begin,
    enrol,
    grant,
    p,
    user,
    write,
)

BOB = user("bob")
CAROL = user("carol")
DAY_S = 86400.0
USES = 30
CHUNKS = 60


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/a"), parents=False)
    for who in (BOB, CAROL):
        for path in ("/a", "/b"):
            await grant(catalog, who, path, Right.READ | Right.WRITE)
    return catalog


async def make_anew(catalog: Catalog, how: str, chunks: int) -> None:
    """Remove /a and make /b, of which the row may get the same id."""
    await catalog.names.remove(OPERATOR, p("/a"), recursive=True, condition=ANY)
    if how == "moved to the top":
        await catalog.names.make_directory(OPERATOR, p("/kept/b"), parents=False)
        await catalog.names.move(OPERATOR, p("/kept/b"), p("/b"), condition=ANY)
    else:
        await catalog.names.make_directory(OPERATOR, p("/b"), parents=False)
    await catalog.datastores.set(OPERATOR, p("/b"), quota_bytes=chunks * LARGE + SPARE)


# --- removed datastores --------------------------------------------------------------------------

HOW = pytest.mark.parametrize("how", ["made", "moved to the top"])


@HOW
async def test_an_upload_into_a_removed_datastore_takes_no_room_in_a_new_one(
    ready: Catalog, how: str
) -> None:
    await ready.names.make_directory(OPERATOR, p("/kept"), parents=False)
    await ready.names.remove(OPERATOR, p("/a"), recursive=True, condition=ANY)
    await ready.names.make_directory(OPERATOR, p("/a"), parents=False)
    await begin(ready, "/a/x", *"abcdefghi", who=BOB, unit=LARGE)
    await make_anew(ready, how, 10)
    await write(ready, "/b/y", "1", "2", who=CAROL, unit=LARGE)


@HOW
async def test_readers_of_a_removed_datastore_are_not_ended_by_the_quota_of_a_new_one(
    ready: Catalog, clock: ManualClock, how: str
) -> None:
    await ready.names.make_directory(OPERATOR, p("/kept"), parents=False)
    await ready.names.remove(OPERATOR, p("/a"), recursive=True, condition=ANY)
    await ready.names.make_directory(OPERATOR, p("/a"), parents=False)
    await write(ready, "/a/film", *"abcdefghi", unit=LARGE)
    view = await ready.reads.open(OPERATOR, p("/a/film"), offset=0, length=0, if_version=0, batch=2)
    await make_anew(ready, how, 5)
    for _ in range(4):
        clock.advance(400)
        await ready.reads.plan(OPERATOR, view.lease, offset=0, length=0, batch=2)
    for _ in range(3):
        await ready.collection.claim(1000, 1000.0)
        clock.advance(1)
    await ready.reads.plan(OPERATOR, view.lease, offset=4 * LARGE, length=0, batch=2)


# --- wrong clocks --------------------------------------------------------------------------------


async def test_a_clock_that_was_a_day_ahead_locks_nobody_out(
    ready: Catalog, clock: ManualClock, engines: Engines
) -> None:
    engines.bound(Bound.UPLOADS_PER_CALLER, 3)
    clock.jump_wall(DAY_S)
    for number in range(3):
        await begin(ready, f"/a/{number}", f"{number}", who=BOB)
    clock.jump_wall(-DAY_S)
    await begin(ready, "/a/next", "next", who=BOB)


async def test_a_clock_set_back_by_seconds_ends_nothing_that_goes_on(
    ready: Catalog, clock: ManualClock, engines: Engines
) -> None:
    engines.bound(Bound.UPLOADS_PER_CALLER, 1)
    await begin(ready, "/a/0", "0", who=BOB)
    clock.jump_wall(-60)
    with pytest.raises(BusyError):
        await begin(ready, "/a/1", "1", who=BOB)


async def test_what_was_reserved_while_the_clock_was_ahead_gives_way(
    ready: Catalog, clock: ManualClock
) -> None:
    await ready.datastores.set(OPERATOR, p("/a"), quota_bytes=10 * LARGE + SPARE)
    clock.jump_wall(30 * DAY_S)
    await begin(ready, "/a/x", *"abcdefghi", who=BOB, unit=LARGE)
    clock.jump_wall(-30 * DAY_S)
    await begin(ready, "/a/y", "1", "2", who=BOB, unit=LARGE)


async def test_an_upload_begun_while_the_clock_was_ahead_lives_no_longer(
    ready: Catalog, clock: ManualClock
) -> None:
    await ready.datastores.set(OPERATOR, p("/a"), quota_bytes=SPARE)
    clock.jump_wall(30 * DAY_S)
    upload, _ = await begin(ready, "/a/x", "1", who=BOB)
    clock.jump_wall(-30 * DAY_S)
    await ready.upkeep.expire()
    clock.advance(7 * DAY_S + 1)
    await ready.upkeep.expire()
    with pytest.raises(Exception, match="upload"):
        await ready.uploads.commit(BOB, upload.id, [], [], 0)
