"""What removed datastores, lost leases and wrong clocks leave behind harms nobody; steps are bounded."""

from typing import Any

import pytest

from collective.catalog.decisions import quotas as decisions_of_quotas
from collective.catalog.sqlite import SqliteCatalog, collection, leases, policies
from collective.core.clock import ManualClock
from collective.core.errors import BusyError
from collective.core.ids import LeaseKey
from collective.model.rights import Right
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
async def ready(catalog: SqliteCatalog) -> SqliteCatalog:
    await enrol(catalog)
    await catalog.make_directory(OPERATOR, p("/a"), parents=False)
    for who in (BOB, CAROL):
        for path in ("/a", "/b"):
            await grant(catalog, who, path, Right.READ | Right.WRITE)
    return catalog


async def make_anew(catalog: SqliteCatalog, how: str, chunks: int) -> None:
    """Remove /a and make /b, of which the row may get the same id."""
    await catalog.remove(OPERATOR, p("/a"), recursive=True, condition=ANY)
    if how == "moved to the top":
        await catalog.make_directory(OPERATOR, p("/kept/b"), parents=False)
        await catalog.move(OPERATOR, p("/kept/b"), p("/b"), condition=ANY)
    else:
        await catalog.make_directory(OPERATOR, p("/b"), parents=False)
    await catalog.set_datastore(OPERATOR, p("/b"), quota_bytes=chunks * LARGE + SPARE)


# --- removed datastores --------------------------------------------------------------------------

HOW = pytest.mark.parametrize("how", ["made", "moved to the top"])


@HOW
async def test_an_upload_into_a_removed_datastore_takes_no_room_in_a_new_one(
    ready: SqliteCatalog, how: str
) -> None:
    await ready.make_directory(OPERATOR, p("/kept"), parents=False)
    await ready.remove(OPERATOR, p("/a"), recursive=True, condition=ANY)
    await ready.make_directory(OPERATOR, p("/a"), parents=False)
    await begin(ready, "/a/x", *"abcdefghi", who=BOB, unit=LARGE)
    await make_anew(ready, how, 10)
    await write(ready, "/b/y", "1", "2", who=CAROL, unit=LARGE)


@HOW
async def test_readers_of_a_removed_datastore_are_not_ended_by_the_quota_of_a_new_one(
    ready: SqliteCatalog, clock: ManualClock, how: str
) -> None:
    await ready.make_directory(OPERATOR, p("/kept"), parents=False)
    await ready.remove(OPERATOR, p("/a"), recursive=True, condition=ANY)
    await ready.make_directory(OPERATOR, p("/a"), parents=False)
    await write(ready, "/a/film", *"abcdefghi", unit=LARGE)
    view = await ready.open_read(OPERATOR, p("/a/film"), offset=0, length=0, if_version=0, batch=2)
    await make_anew(ready, how, 5)
    for _ in range(4):
        clock.advance(400)
        await ready.plan_read(OPERATOR, view.lease, offset=0, length=0, batch=2)
    for _ in range(3):
        await ready.claim_collection(1000, 1000.0)
        clock.advance(1)
    await ready.plan_read(OPERATOR, view.lease, offset=4 * LARGE, length=0, batch=2)


# --- leases --------------------------------------------------------------------------------------


async def test_leases_that_were_dropped_and_come_back_pass_no_bound(
    ready: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASES_PER_HOLDER_MAX", 5)
    monkeypatch.setattr(leases, "LEASES_MAX", 8)
    await write(ready, "/a/f", "x")
    held = ready._engine.leases._held

    async def read(who: Any) -> LeaseKey:
        view = await ready.open_read(who, p("/a/f"), offset=0, length=0, if_version=0, batch=1)
        return view.lease

    taken = [await read(BOB) for _ in range(9)]
    assert len(held) == 5
    for lease in taken:
        await ready.plan_read(BOB, lease, offset=0, length=0, batch=1)
        assert len(held) <= 5
    others = [await read(CAROL) for _ in range(5)]
    for lease in (*taken, *others):
        who = BOB if lease in taken else CAROL
        await ready.plan_read(who, lease, offset=0, length=0, batch=1)
        assert len(held) <= 8


# --- wrong clocks --------------------------------------------------------------------------------


async def test_a_clock_that_was_a_day_ahead_locks_nobody_out(
    ready: SqliteCatalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions_of_quotas, "UPLOADS_PER_CALLER_MAX", 3)
    clock.jump_wall(DAY_S)
    for number in range(3):
        await begin(ready, f"/a/{number}", f"{number}", who=BOB)
    clock.jump_wall(-DAY_S)
    await begin(ready, "/a/next", "next", who=BOB)


async def test_a_clock_set_back_by_seconds_ends_nothing_that_goes_on(
    ready: SqliteCatalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions_of_quotas, "UPLOADS_PER_CALLER_MAX", 1)
    await begin(ready, "/a/0", "0", who=BOB)
    clock.jump_wall(-60)
    with pytest.raises(BusyError):
        await begin(ready, "/a/1", "1", who=BOB)


async def test_what_was_reserved_while_the_clock_was_ahead_gives_way(
    ready: SqliteCatalog, clock: ManualClock
) -> None:
    await ready.set_datastore(OPERATOR, p("/a"), quota_bytes=10 * LARGE + SPARE)
    clock.jump_wall(30 * DAY_S)
    await begin(ready, "/a/x", *"abcdefghi", who=BOB, unit=LARGE)
    clock.jump_wall(-30 * DAY_S)
    await begin(ready, "/a/y", "1", "2", who=BOB, unit=LARGE)


async def test_an_upload_begun_while_the_clock_was_ahead_lives_no_longer(
    ready: SqliteCatalog, clock: ManualClock
) -> None:
    await ready.set_datastore(OPERATOR, p("/a"), quota_bytes=SPARE)
    clock.jump_wall(30 * DAY_S)
    upload, _ = await begin(ready, "/a/x", "1", who=BOB)
    clock.jump_wall(-30 * DAY_S)
    await ready.expire()
    clock.advance(7 * DAY_S + 1)
    await ready.expire()
    with pytest.raises(Exception, match="upload"):
        await ready.commit_upload(BOB, upload.id, [], [], 0)


# --- bounded steps -------------------------------------------------------------------------------


@pytest.fixture
async def crowded(ready: SqliteCatalog) -> SqliteCatalog:
    """One content under many names: each of its chunks has as many uses."""
    await ready.create_datastore(OPERATOR, p("/three"), copies=3, quota_bytes=0, owner=None)
    texts = [f"t{number}" for number in range(CHUNKS)]
    for number in range(USES):
        await write(ready, f"/three/f{number}", *texts)
    return ready


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
    await crowded.set_datastore(OPERATOR, p("/three"), copies=2)
    assert looks * USES <= policies.AT_ONCE_ROWS + USES
    going = True
    while going:
        looks = 0
        going = await crowded.settle_copies()
        assert looks * USES <= policies.BATCH_ROWS + USES
    for number in (0, USES - 1):
        assert (await crowded.stat(OPERATOR, p(f"/three/f{number}"))).copies_wanted == 2


async def test_no_round_of_collection_looks_at_uses_without_end(
    crowded: SqliteCatalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crowded.set_datastore(OPERATOR, p("/three"), copies=2)
    while await crowded.settle_copies():
        pass
    await crowded.create_datastore(OPERATOR, p("/more"), copies=3, quota_bytes=0, owner=None)
    await write(crowded, "/more/f", *(f"t{number}" for number in range(CHUNKS)))
    monkeypatch.setattr(collection, "USES_LOOKED_AT", 2 * USES)
    looked: list[int] = []
    lower = policies.lower

    def counted(*args: Any) -> int:
        looked.append(lower(*args))
        return looked[-1]

    monkeypatch.setattr(collection, "lower", counted)
    await crowded.remove(OPERATOR, p("/more/f"), recursive=False, condition=ANY)
    clock.advance(1)
    rounds = 0
    while rounds < 200:
        looked.clear()
        await crowded.claim_collection(1000, 0)
        clock.advance(1)
        rounds += 1
        assert sum(looked) <= 3 * USES
        if rounds > 2 and not looked:
            break
    assert (await crowded.stat(OPERATOR, p("/three/f0"))).copies_wanted == 2
