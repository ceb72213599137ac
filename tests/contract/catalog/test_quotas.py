"""Ways round a quota that are none, and the life of what an upload has reserved."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collective.catalog.decisions.quotas import IDLE_MS
from collective.catalog.decisions.weights import EXTENT_BYTES, NAME_BYTES
from collective.catalog.interface import Catalog
from collective.catalog.interface.values import ReadView, Upload
from collective.core.clock import ManualClock
from collective.core.errors import (
    BusyError,
    CollectiveError,
    NoSpaceError,
    NotFoundError,
    UsageError,
)
from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.core.limits import EXTENTS_FREE
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.extents import Extent
from collective.model.rights import Right
from collective.model.writing import Attributes
from tests.contract.catalog import world
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import (
    ANY,
    LARGE,
    NODES,
    OPERATOR,
    SPARE,
    chunk,
    enrol,
    extent,
    grant,
    intent,
    p,
    place_on,
    receipts,
    user,
)

BOB = user("bob")
MINUTE_S = 60
FILE = NAME_BYTES + len("{}")
"""What a file without attributes counts for beside its size and extents."""
begin = partial(world.begin, unit=LARGE)
write = partial(world.write, unit=LARGE)


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog)
    await quota(catalog, "/d", 3)
    return catalog


async def quota(catalog: Catalog, path: str, chunks: int) -> None:
    """Make a datastore that has room for so many chunks, in whatever files."""
    size_bytes = chunks * LARGE + SPARE
    await catalog.datastores.create(OPERATOR, p(path), copies=0, quota_bytes=size_bytes, owner=None)


async def open_read(catalog: Catalog, path: str) -> ReadView:
    return await catalog.reads.open(OPERATOR, p(path), offset=0, length=0, if_version=0, batch=0)


# --- what an upload has reserved -----------------------------------------------------------------


async def test_an_upload_that_takes_an_hour_keeps_its_place(
    ready: Catalog, clock: ManualClock
) -> None:
    upload, wanted = await begin(ready, "/d/slow", "a", "b", "c")
    for number in range(12):
        clock.advance(5 * MINUTE_S)
        sent = receipts(upload, upload.allocations[number % 3 : number % 3 + 1])
        await ready.uploads.record_extents(OPERATOR, upload.id, [], sent)
        with pytest.raises(NoSpaceError):
            await write(ready, "/d/quick", "x")
    await ready.uploads.commit(
        OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 3 * LARGE
    )


async def test_an_upload_that_stands_still_gives_way_only_where_its_room_is_needed(
    ready: Catalog, clock: ManualClock
) -> None:
    left, wanted = await begin(ready, "/d/left", "a")
    clock.advance(60 * MINUTE_S)
    await write(ready, "/d/small", "x", "y")
    await ready.uploads.record_extents(OPERATOR, left.id, [extent(wanted[0])], receipts(left))
    clock.advance(11 * MINUTE_S)
    with pytest.raises(NoSpaceError):
        await write(ready, "/d/large", "1", "2")  # it would not fit without the one left either
    await ready.uploads.check(OPERATOR, left.id)
    await write(ready, "/d/last", "z")
    with pytest.raises(NotFoundError):
        await ready.uploads.commit(OPERATOR, left.id, [], [], LARGE)
    doomed = await ready.collection.claim(100, 0)
    assert {key.chunk for _, key in doomed} == {chunk("a")}


async def test_many_uploads_that_stand_still_give_way_in_steps_and_none_that_goes_on(
    ready: Catalog, clock: ManualClock, engines: Engines
) -> None:
    """The third one is used again while the steps are done: two of three are room for two."""
    engines.bound(Bound.ENDED_UPLOADS, 1)
    left = [(await begin(ready, f"/d/left{number}", f"{number}"))[0] for number in range(3)]
    clock.advance(IDLE_MS / 1000 + 1)
    with pytest.raises(NoSpaceError):
        await write(ready, "/d/new", *"abcd")
    for upload in left:
        await ready.uploads.check(OPERATOR, upload.id)  # nothing would have been won
    steps = 0

    async def is_used(number: int) -> None:
        nonlocal steps
        steps = number
        if number > 1:
            await ready.uploads.get(OPERATOR, left[2].id, from_offset=0, limit=0)

    with engines.between(ready, is_used), pytest.raises(NoSpaceError):
        await write(ready, "/d/new", *"abc")
    assert steps > 2, "there were steps, and it was used between these"
    await ready.uploads.check(OPERATOR, left[2].id)
    await write(ready, "/d/new", *"ab")
    for upload in left[:2]:
        with pytest.raises(NotFoundError):
            await ready.uploads.check(OPERATOR, upload.id)


async def test_an_upload_lives_from_its_last_use(
    ready: Catalog, engines: Engines, clock: ManualClock
) -> None:
    upload, wanted = await begin(ready, "/d/f", "a", "b")
    for _ in range(3):
        clock.advance(engines.settings.upload_life_s * 0.9)
        await ready.upkeep.expire()
        await ready.uploads.allocate(OPERATOR, upload.id, wanted, place_on(*NODES[:3]))
    await ready.uploads.commit(
        OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 2 * LARGE
    )


async def test_replacing_the_same_file_twice_at_once_is_credited_twice(
    ready: Catalog,
) -> None:
    await write(ready, "/d/f", "a", "b", "c")
    uploads = [await begin(ready, "/d/f", *texts) for texts in (("d", "e", "f"), ("g", "h", "i"))]
    for upload, wanted in uploads:
        await ready.uploads.commit(
            OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 3 * LARGE
        )


async def test_whoever_loses_what_he_replaces_gives_way_not_another(
    ready: Catalog,
) -> None:
    await write(ready, "/d/f", "a", "b", "c")
    larger, wanted = await begin(ready, "/d/f", "d", "e", "f")
    await write(ready, "/d/f", "g")
    other, more = await begin(ready, "/d/other", "h", "i")
    with pytest.raises(NoSpaceError):
        await ready.uploads.commit(
            OPERATOR, larger.id, [extent(one) for one in wanted], receipts(larger), 3 * LARGE
        )
    await ready.uploads.commit(
        OPERATOR, other.id, [extent(one) for one in more], receipts(other), 2 * LARGE
    )


FILES = st.sampled_from(["/d/f", "/d/g", "/d/h"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), FILES, st.integers(1, 4)),
        st.tuples(st.just("commit"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("abort"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("remove"), FILES, st.just(0)),
        st.tuples(st.just("move_in"), FILES, st.integers(1, 4)),
        st.tuples(st.just("move_out"), FILES, st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([60, 700]), st.just(0)),
    ),
    max_size=16,
)


class Play:
    """One run of steps in a datastore with a quota of five chunks."""

    def __init__(self, catalog: Catalog, clock: ManualClock) -> None:
        self.catalog = catalog
        self.clock = clock
        self.uploads: list[tuple[Upload, list[Extent], int]] = []
        self.number = 0

    async def size_of(self, path: FilePath) -> int:
        try:
            return (await self.catalog.names.stat(OPERATOR, path)).size_bytes
        except NotFoundError:
            return 0

    async def open(self, path: str, count: int) -> None:
        texts = (f"{self.number}.{one}" for one in range(count))
        upload, wanted = await begin(self.catalog, path, *texts)
        self.uploads.append((upload, wanted, await self.size_of(upload.path)))

    async def commit(self, which: int, _: int) -> None:
        if not self.uploads:
            return
        upload, wanted, had = self.uploads.pop(which % len(self.uploads))
        has = await self.size_of(upload.path)
        extents = [extent(one) for one in wanted]
        try:
            await self.catalog.uploads.commit(
                OPERATOR, upload.id, extents, receipts(upload), 1 * LARGE * len(wanted)
            )
        except NoSpaceError:
            assert has < had

    async def abort(self, which: int, _: int) -> None:
        if self.uploads:
            upload, _wanted, _had = self.uploads.pop(which % len(self.uploads))
            await self.catalog.uploads.abort(OPERATOR, upload.id)

    async def remove(self, path: str, _: int) -> None:
        await self.catalog.names.remove(OPERATOR, p(path), recursive=False, condition=ANY)

    async def move_in(self, path: str, count: int) -> None:
        texts = (f"{self.number}.{one}" for one in range(count))
        await write(self.catalog, f"/e/{self.number}", *texts)
        await self.catalog.names.move(OPERATOR, p(f"/e/{self.number}"), p(path), condition=ANY)

    async def move_out(self, path: str, _: int) -> None:
        await self.catalog.names.move(OPERATOR, p(path), p(f"/e/{self.number}"), condition=ANY)

    async def wait(self, seconds: int, _: int) -> None:
        self.clock.advance(seconds)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
async def test_a_quota_is_never_passed_and_no_reservation_breaks(
    engines: Engines, clock: ManualClock, steps: list[tuple[str, Any, int]]
) -> None:
    """An upload that has its place commits, unless what it was to replace became less."""
    catalog = engines.opened[0] if engines.opened else await engines.open()
    await enrol(catalog)
    for one in await catalog.datastores.list(OPERATOR):
        await catalog.names.remove(OPERATOR, one.path, recursive=True, condition=ANY)
    await quota(catalog, "/d", 5)
    await catalog.names.make_directory(OPERATOR, p("/e"), parents=False)
    play = Play(catalog, clock)
    for act, what, count in steps:
        play.number += 1
        with suppress(NoSpaceError, NotFoundError):
            await getattr(play, act)(what, count)
        (found,) = (one for one in await catalog.datastores.list(OPERATOR) if one.path == p("/d"))
        assert found.used_bytes <= 5 * LARGE
    for upload, _, _ in play.uploads:
        await catalog.uploads.abort(OPERATOR, upload.id)


# --- ways round that are none --------------------------------------------------------------------


async def test_a_full_quota_is_told_in_figures(ready: Catalog) -> None:
    await write(ready, "/d/a", "a", "b")
    with pytest.raises(NoSpaceError, match=r"quota of /d is \S+ \S+, and this needs \S+ \S+ more"):
        await begin(ready, "/d/b", "c", "d")


async def test_many_chunks_at_one_offset_take_no_more_than_the_quota(ready: Catalog) -> None:
    """They are never part of a file, but they would lie on the nodes for a week."""
    upload, _ = await begin(ready, "/d/f", "0")
    for number in range(1, 3):
        await ready.uploads.allocate(
            OPERATOR, upload.id, [intent(f"{number}", 0, LARGE)], place_on(*NODES[:3])
        )
    for _ in range(2):
        await ready.uploads.allocate(
            OPERATOR, upload.id, [intent("2", 0, LARGE)], place_on(*NODES[:3])
        )
        with pytest.raises(NoSpaceError):
            await ready.uploads.allocate(
                OPERATOR, upload.id, [intent("3", 0, LARGE)], place_on(*NODES[:3])
            )
        with pytest.raises(NoSpaceError):
            await begin(ready, "/d/g", "4")


async def test_one_chunk_at_many_offsets_passes_no_quota(ready: Catalog) -> None:
    upload, _ = await begin(ready, "/d/f", "0")
    many = [extent(intent("0", LARGE * one, LARGE)) for one in range(4)]
    with pytest.raises(NoSpaceError):
        await ready.uploads.record_extents(OPERATOR, upload.id, many, receipts(upload))
    with pytest.raises(NoSpaceError):
        await ready.uploads.commit(OPERATOR, upload.id, many, receipts(upload), 4 * LARGE)


async def test_a_commit_of_more_than_was_reserved_takes_nothing_from_another_upload(
    ready: Catalog,
) -> None:
    honest, wanted = await begin(ready, "/d/honest", "a", "b")
    greedy, _ = await begin(ready, "/d/greedy", "0")
    twice = [extent(intent("0", LARGE * one, LARGE)) for one in range(2)]
    with pytest.raises(NoSpaceError):
        await ready.uploads.commit(OPERATOR, greedy.id, twice, receipts(greedy), 2 * LARGE)
    await ready.uploads.commit(
        OPERATOR, honest.id, [extent(one) for one in wanted], receipts(honest), 2 * LARGE
    )


async def test_a_tree_moved_in_takes_nothing_from_an_upload_under_way(
    ready: Catalog,
) -> None:
    await ready.names.make_directory(OPERATOR, p("/e/t"), parents=True)
    await write(ready, "/e/t/1", "x")
    await write(ready, "/e/t/2", "y")
    upload, wanted = await begin(ready, "/d/f", "a", "b")
    with pytest.raises(NoSpaceError):
        await ready.names.move(OPERATOR, p("/e/t"), p("/d/t"), condition=ANY)
    await ready.names.move(OPERATOR, p("/e/t/1"), p("/d/1"), condition=ANY)
    await ready.uploads.commit(
        OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 2 * LARGE
    )


async def test_moving_out_and_back_in_passes_no_quota(ready: Catalog) -> None:
    await ready.names.make_directory(OPERATOR, p("/e"), parents=False)
    await write(ready, "/d/f", "a", "b", "c")
    await ready.names.move(OPERATOR, p("/d/f"), p("/e/f"), condition=ANY)
    await write(ready, "/d/g", "d", "e", "f")
    with pytest.raises(NoSpaceError):
        await ready.names.move(OPERATOR, p("/e/f"), p("/d/f"), condition=ANY)
    await ready.names.move(
        OPERATOR, p("/e/f"), p("/d/g"), condition=ANY
    )  # replaces what is as large


async def times(act: Callable[[int], Awaitable[object]]) -> int:
    """Return how often ``act`` can be done, of 100,000 times, before the quota has no room."""
    for number in range(100_000):
        try:
            await act(number)
        except NoSpaceError:
            return number
    raise AssertionError("the quota holds nobody")


async def bytes_recorded(catalog: Catalog, upload: Upload, refusal: type[CollectiveError]) -> int:
    """Record one chunk of a byte at 100,000 offsets; return how many it were before the refusal."""
    recorded = 0
    for start in range(0, 100_000, 64):
        extents = [extent(intent("0", start + one, 1)) for one in range(64)]
        try:
            recorded = await catalog.uploads.record_extents(
                OPERATOR, upload.id, extents, receipts(upload)
            )
        except refusal:
            return recorded
    raise AssertionError("nothing was refused")


async def test_one_chunk_at_a_hundred_thousand_offsets_is_not_the_coordinators_to_pay(
    ready: Catalog,
) -> None:
    """Finding 7: extents of a byte each, all of one chunk, in a datastore of 100 KB."""
    await ready.datastores.create(OPERATOR, p("/e"), copies=0, quota_bytes=100_000, owner=None)
    upload, _ = await world.begin(ready, "/e/f", "0", unit=1)
    recorded = await bytes_recorded(ready, upload, NoSpaceError)
    assert 64 <= recorded <= 100_000 // EXTENT_BYTES
    (found,) = (one for one in await ready.datastores.list(OPERATOR) if one.path == p("/e"))
    assert found.reserved_bytes <= 100_000
    await ready.uploads.commit(OPERATOR, upload.id, [], [], recorded)
    (found,) = (one for one in await ready.datastores.list(OPERATOR) if one.path == p("/e"))
    assert (found.used_bytes, found.reserved_bytes) == (recorded, 0)
    assert found.catalog_bytes == FILE + recorded * EXTENT_BYTES


async def test_a_hundred_thousand_files_of_a_byte_are_not_the_coordinators_to_pay(
    ready: Catalog,
) -> None:
    await ready.datastores.create(OPERATOR, p("/e"), copies=0, quota_bytes=100_000, owner=None)
    count = await times(lambda number: world.write(ready, f"/e/{number}", "0", unit=1))
    assert count == 100_000 // (1 + FILE + EXTENT_BYTES)


async def test_folders_and_attributes_count_too(ready: Catalog) -> None:
    await ready.datastores.create(OPERATOR, p("/e"), copies=0, quota_bytes=20_000, owner=None)
    count = await times(
        lambda number: ready.names.make_directory(OPERATOR, p(f"/e/{number}"), parents=False)
    )
    assert count == 20_000 // NAME_BYTES
    await ready.names.remove(OPERATOR, p("/e/0"), recursive=False, condition=ANY)
    with pytest.raises(NoSpaceError, match="quota of /e"):
        await ready.uploads.open(
            OPERATOR,
            p("/e/f"),
            Attributes(metadata={"key": "v" * 10_000}),
            ANY,
            [],
            place_on(*NODES[:3]),
        )
    with pytest.raises(NoSpaceError, match="quota of /e"):
        await ready.names.make_directory(OPERATOR, p("/e/1/2/3"), parents=True)


async def test_chunks_that_are_allocated_and_never_recorded_count_with_their_rows(
    ready: Catalog,
) -> None:
    await ready.datastores.create(OPERATOR, p("/e"), copies=0, quota_bytes=100_000, owner=None)
    upload, _ = await world.begin(ready, "/e/f")
    count = await times(
        lambda number: ready.uploads.allocate(
            OPERATOR, upload.id, [intent(f"{number}", 0, 1)], place_on(*NODES[:3])
        )
    )
    assert 100 < count <= 100_000 // EXTENT_BYTES


async def test_a_file_has_no_more_extents_than_its_size_allows(ready: Catalog) -> None:
    """Where there is no quota, a file of 100 GB of extents of a byte each cannot be, either."""
    await ready.names.make_directory(OPERATOR, p("/free"), parents=False)
    upload, _ = await world.begin(ready, "/free/f", "0", unit=1)
    recorded = await bytes_recorded(ready, upload, UsageError)
    assert recorded == EXTENTS_FREE
    larger = extent(replace(intent("0", recorded, 64 * 1024), stored_length=17))
    await ready.uploads.record_extents(OPERATOR, upload.id, [larger], [])


async def test_what_counts_follows_moves_and_removals_exactly(ready: Catalog) -> None:
    async def counted() -> dict[str, tuple[int, int]]:
        found = await ready.datastores.list(OPERATOR)
        return {str(one.path): (one.used_bytes, one.catalog_bytes) for one in found}

    file = FILE + 2 * EXTENT_BYTES
    await ready.names.make_directory(OPERATOR, p("/e/t/u"), parents=True)
    await world.write(ready, "/e/t/u/f", "a", "b")
    assert await counted() == {"/d": (0, 0), "/e": (20, 2 * NAME_BYTES + file)}
    await ready.names.move(OPERATOR, p("/e/t"), p("/d/t"), condition=ANY)
    assert await counted() == {"/d": (20, 2 * NAME_BYTES + file), "/e": (0, 0)}
    await ready.names.move(OPERATOR, p("/d/t"), p("/t"), condition=ANY)
    assert await counted() == {"/d": (0, 0), "/e": (0, 0), "/t": (20, NAME_BYTES + file)}
    await ready.names.move(OPERATOR, p("/t"), p("/e/t"), condition=ANY)
    await world.write(ready, "/e/t/u/f", "c")
    assert (await counted())["/e"] == (10, 2 * NAME_BYTES + FILE + EXTENT_BYTES)
    await ready.names.remove(OPERATOR, p("/e/t"), recursive=True, condition=ANY)
    assert await counted() == {"/d": (0, 0), "/e": (0, 0)}


async def test_the_answer_to_a_commit_is_kept_for_an_hour_and_no_week(
    ready: Catalog, clock: ManualClock
) -> None:
    """Else one small file that is written again and again fills the catalogue for seven days."""
    upload, wanted = await world.begin(ready, "/d/f", "a")
    args = (OPERATOR, upload.id, [extent(wanted[0])], receipts(upload), 10)
    entry = await ready.uploads.commit(*args)
    clock.advance(3599)
    await ready.collection.claim(100, 0)
    assert await ready.uploads.commit(*args) == entry
    clock.advance(2)
    await ready.collection.claim(100, 0)
    with pytest.raises(NotFoundError):
        await ready.uploads.commit(*args)


async def test_content_that_is_stored_already_counts_as_any_other(ready: Catalog) -> None:
    await write(ready, "/d/f", "a", "b")
    with pytest.raises(NoSpaceError):
        await write(ready, "/d/copy", "a", "b")


async def test_an_upload_opened_before_its_datastore_was_made_anew_passes_no_quota(
    ready: Catalog,
) -> None:
    await ready.names.make_directory(OPERATOR, p("/e"), parents=False)
    upload, wanted = await begin(ready, "/e/f", "a", "b", "c", "d")
    await ready.names.remove(OPERATOR, p("/e"), recursive=True, condition=ANY)
    await quota(ready, "/e", 3)
    with pytest.raises(NoSpaceError):
        await ready.uploads.commit(
            OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 4 * LARGE
        )


async def test_readers_keep_no_more_old_versions_than_the_quota_has_bytes(
    ready: Catalog, clock: ManualClock
) -> None:
    """Whoever holds every version that he replaces fills the nodes at most once more."""
    views = []
    for number in range(5):
        await write(ready, "/d/f", f"{number}a", f"{number}b")
        views.append(await open_read(ready, "/d/f"))
        clock.advance(1)
    claimed = [*await ready.collection.claim(100, 0), *await ready.collection.claim(100, 0)]
    doomed = {key.chunk for _, key in claimed}
    kept = {
        f"{number}{half}"
        for number in range(5)
        for half in "ab"
        if chunk(f"{number}{half}") not in doomed
    }
    assert {name[0] for name in kept} == {"3", "4"}
    for view, is_kept in zip(views, (False, False, False, True, True), strict=True):
        if is_kept:
            await ready.reads.plan(OPERATOR, view.lease, offset=0, length=0, batch=0)
            continue
        with pytest.raises(NotFoundError, match="open the file again"):
            await ready.reads.plan(OPERATOR, view.lease, offset=0, length=0, batch=0)


async def test_readers_of_old_versions_do_not_keep_others_from_being_collected(
    ready: Catalog, clock: ManualClock, engines: Engines
) -> None:
    """Whoever holds the oldest ones for ever must not stop collection for all."""
    engines.bound(Bound.LOOKED_AT_VERSIONS, 2)
    await ready.names.make_directory(OPERATOR, p("/free"), parents=False)
    for number in range(4):
        await write(ready, "/free/f", f"{number}")
        await open_read(ready, "/free/f")
        clock.advance(1)
    await write(ready, "/free/g", "gone")
    await ready.names.remove(OPERATOR, p("/free/g"), recursive=False, condition=ANY)
    claimed = [*await ready.collection.claim(100, 0), *await ready.collection.claim(100, 0)]
    assert {key.chunk for _, key in claimed} == {chunk("gone")}


# --- how many may be open ------------------------------------------------------------------------


async def test_nobody_opens_uploads_without_end(
    ready: Catalog, clock: ManualClock, engines: Engines
) -> None:
    engines.bound(Bound.UPLOADS_PER_CALLER, 3)
    await ready.names.make_directory(OPERATOR, p("/free"), parents=False)
    await grant(ready, BOB, "/free", Right.WRITE)
    first, _ = await begin(ready, "/free/0", "0", who=BOB)
    clock.advance(1)
    for number in (1, 2):
        await begin(ready, f"/free/{number}", f"{number}", who=BOB)
    with pytest.raises(BusyError, match="3 files open for writing"):
        await begin(ready, "/free/3", "3", who=BOB)
    await begin(ready, "/free/3", "3")  # others are not concerned
    clock.advance(601)  # a crash left them: the oldest makes place
    await ready.uploads.allocate(BOB, first.id, [intent("0", 0, LARGE)], place_on(*NODES[:3]))
    second, _ = await begin(ready, "/free/3", "3", who=BOB)
    for kept in (first, second):
        await ready.uploads.get(BOB, kept.id, from_offset=0, limit=0)
    await ready.uploads.abort(BOB, second.id)
    await ready.uploads.open(BOB, p("/free/4"), Attributes(), ANY, [], place_on(*NODES[:3]))


async def test_the_people_of_a_peer_open_no_more_uploads_than_one(
    ready: Catalog, clock: ManualClock, engines: Engines
) -> None:
    """It could invent any number of them."""
    engines.bound(Bound.UPLOADS_PER_CALLER, 3)
    await ready.names.make_directory(OPERATOR, p("/free"), parents=False)
    people = [theirs(f"b{number}") for number in range(4)]
    for who in (*people, theirs("b", "home.bobby"), user("ann")):
        await grant(ready, who, "/free", Right.WRITE)
    opened = [(await begin(ready, f"/free/{who}", f"{who}", who=people[who]))[0] for who in (0, 1)]
    clock.advance(1)
    await begin(ready, "/free/2", "2", who=people[2])
    with pytest.raises(BusyError, match="3 files open for writing"):
        await begin(ready, "/free/3", "3", who=people[3])
    await begin(ready, "/free/3", "3", who=theirs("b", "home.bobby"))  # nobody else is concerned
    for number in range(3):
        await begin(ready, f"/free/a{number}", f"a{number}", who=user("ann"))
    clock.advance(600)
    await begin(ready, "/free/3", "3", who=people[3])  # in the place of one that was left
    left = []
    for who, upload in zip(people, opened, strict=False):
        with suppress(CollectiveError):
            await ready.uploads.get(who, upload.id, from_offset=0, limit=0)
            left.append(upload)
    assert len(left) == 1


async def test_uploads_that_stand_still_end_where_disks_are_full(
    ready: Catalog, clock: ManualClock
) -> None:
    """What a client sent before it gave up kept all others from writing for a week."""
    await ready.names.make_directory(OPERATOR, p("/free"), parents=False)
    left, _ = await begin(ready, "/free/left", "left")
    clock.advance(599)
    await ready.upkeep.expire(makes_room=True)
    await ready.uploads.get(OPERATOR, left.id, from_offset=0, limit=0)  # which is progress
    clock.advance(599)
    going_on, _ = await begin(ready, "/free/on", "on")
    clock.advance(2)
    await ready.upkeep.expire()
    await ready.upkeep.expire(makes_room=True)
    with pytest.raises(CollectiveError):
        await ready.uploads.get(OPERATOR, left.id, from_offset=0, limit=0)
    await ready.uploads.get(OPERATOR, going_on.id, from_offset=0, limit=0)


def theirs(name: str, of: str = "home.bob") -> Call:
    """Return a call that the peer ``of`` makes for one of its people."""
    domain = Domain(of)
    who = SpiffeId.user(domain, GlobalId(name, domain))
    return Call(who, is_operator=False, carrier=SpiffeId.coordinator(domain), via=domain)
