"""Ways round a quota that are none, and the life of what an upload has reserved."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collective.access.model import Right
from collective.catalog.model import Attributes, ChunkIntent, ReadView, Upload
from collective.catalog.sqlite import SqliteCatalog, collection, quotas
from collective.core.clock import ManualClock
from collective.core.errors import BusyError, NoSpaceError, NotFoundError
from collective.core.paths import FilePath
from tests.contract.catalog.conftest import Engines
from tests.contract.catalog.world import (
    ANY,
    NODES,
    OPERATOR,
    begin,
    chunk,
    enrol,
    extent,
    grant,
    intent,
    p,
    place_on,
    receipts,
    user,
    write,
)

BOB = user("bob")
MINUTE_S = 60


@pytest.fixture
async def ready(catalog: SqliteCatalog) -> SqliteCatalog:
    await enrol(catalog)
    await quota(catalog, "/d", 30)
    return catalog


async def quota(catalog: SqliteCatalog, path: str, size_bytes: int) -> None:
    await catalog.create_datastore(OPERATOR, p(path), copies=0, quota_bytes=size_bytes, owner=None)


async def open_read(catalog: SqliteCatalog, path: str) -> ReadView:
    return await catalog.open_read(OPERATOR, p(path), offset=0, length=0, if_version=0, batch=0)


# --- what an upload has reserved -----------------------------------------------------------------


async def test_an_upload_that_takes_an_hour_keeps_its_place(
    ready: SqliteCatalog, clock: ManualClock
) -> None:
    upload, wanted = await begin(ready, "/d/slow", "a", "b", "c")
    for number in range(12):
        clock.advance(5 * MINUTE_S)
        sent = receipts(upload, upload.allocations[number % 3 : number % 3 + 1])
        await ready.record_extents(OPERATOR, upload.id, [], sent)
        with pytest.raises(NoSpaceError):
            await write(ready, "/d/quick", "x")
    await ready.commit_upload(
        OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 30
    )


async def test_an_upload_that_stands_still_gives_way_only_where_its_room_is_needed(
    ready: SqliteCatalog, clock: ManualClock
) -> None:
    left, wanted = await begin(ready, "/d/left", "a")
    clock.advance(60 * MINUTE_S)
    await write(ready, "/d/small", "x", "y")
    await ready.record_extents(OPERATOR, left.id, [extent(wanted[0])], receipts(left))
    clock.advance(11 * MINUTE_S)
    with pytest.raises(NoSpaceError):
        await write(ready, "/d/large", "1", "2")  # it would not fit without the one left either
    await ready.check_upload(OPERATOR, left.id)
    await write(ready, "/d/last", "z")
    with pytest.raises(NotFoundError):
        await ready.commit_upload(OPERATOR, left.id, [], [], 10)
    doomed = await ready.claim_collection(100, 0)
    assert {key.chunk for _, key in doomed} == {chunk("a")}


async def test_an_upload_lives_from_its_last_use(
    ready: SqliteCatalog, engines: Engines, clock: ManualClock
) -> None:
    upload, wanted = await begin(ready, "/d/f", "a", "b")
    for _ in range(3):
        clock.advance(engines.settings.upload_life_s * 0.9)
        await ready.expire()
        await ready.allocate(OPERATOR, upload.id, wanted, place_on(*NODES[:3]))
    await ready.commit_upload(
        OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 20
    )


async def test_replacing_the_same_file_twice_at_once_is_credited_twice(
    ready: SqliteCatalog,
) -> None:
    await write(ready, "/d/f", "a", "b", "c")
    uploads = [await begin(ready, "/d/f", *texts) for texts in (("d", "e", "f"), ("g", "h", "i"))]
    for upload, wanted in uploads:
        await ready.commit_upload(
            OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 30
        )


async def test_whoever_loses_what_he_replaces_gives_way_not_another(
    ready: SqliteCatalog,
) -> None:
    await write(ready, "/d/f", "a", "b", "c")
    larger, wanted = await begin(ready, "/d/f", "d", "e", "f")
    await write(ready, "/d/f", "g")
    other, more = await begin(ready, "/d/other", "h", "i")
    with pytest.raises(NoSpaceError):
        await ready.commit_upload(
            OPERATOR, larger.id, [extent(one) for one in wanted], receipts(larger), 30
        )
    await ready.commit_upload(
        OPERATOR, other.id, [extent(one) for one in more], receipts(other), 20
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
    """One run of steps in a datastore with a quota of 50 bytes."""

    def __init__(self, catalog: SqliteCatalog, clock: ManualClock) -> None:
        self.catalog = catalog
        self.clock = clock
        self.uploads: list[tuple[Upload, list[ChunkIntent], int]] = []
        self.number = 0

    async def size_of(self, path: FilePath) -> int:
        try:
            return (await self.catalog.stat(OPERATOR, path)).size_bytes
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
            await self.catalog.commit_upload(
                OPERATOR, upload.id, extents, receipts(upload), 10 * len(wanted)
            )
        except NoSpaceError:
            assert has < had

    async def abort(self, which: int, _: int) -> None:
        if self.uploads:
            upload, _wanted, _had = self.uploads.pop(which % len(self.uploads))
            await self.catalog.abort_upload(OPERATOR, upload.id)

    async def remove(self, path: str, _: int) -> None:
        await self.catalog.remove(OPERATOR, p(path), recursive=False, condition=ANY)

    async def move_in(self, path: str, count: int) -> None:
        texts = (f"{self.number}.{one}" for one in range(count))
        await write(self.catalog, f"/e/{self.number}", *texts)
        await self.catalog.move(OPERATOR, p(f"/e/{self.number}"), p(path), condition=ANY)

    async def move_out(self, path: str, _: int) -> None:
        await self.catalog.move(OPERATOR, p(path), p(f"/e/{self.number}"), condition=ANY)

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
    for one in await catalog.datastores(OPERATOR):
        await catalog.remove(OPERATOR, one.path, recursive=True, condition=ANY)
    await quota(catalog, "/d", 50)
    await catalog.make_directory(OPERATOR, p("/e"), parents=False)
    play = Play(catalog, clock)
    for act, what, count in steps:
        play.number += 1
        with suppress(NoSpaceError, NotFoundError):
            await getattr(play, act)(what, count)
        (found,) = (one for one in await catalog.datastores(OPERATOR) if one.path == p("/d"))
        assert found.used_bytes <= 50
    for upload, _, _ in play.uploads:
        await catalog.abort_upload(OPERATOR, upload.id)


# --- ways round that are none --------------------------------------------------------------------


async def test_a_full_quota_is_told_in_figures(ready: SqliteCatalog) -> None:
    await write(ready, "/d/a", "a", "b")
    with pytest.raises(NoSpaceError, match="quota of /d is 30 B, and this needs 10 B more"):
        await begin(ready, "/d/b", "c", "d")


async def test_many_chunks_at_one_offset_take_no_more_than_the_quota(ready: SqliteCatalog) -> None:
    """They are never part of a file, but they would lie on the nodes for a week."""
    upload, _ = await begin(ready, "/d/f", "0")
    for number in range(1, 3):
        await ready.allocate(OPERATOR, upload.id, [intent(f"{number}")], place_on(*NODES[:3]))
    for _ in range(2):
        await ready.allocate(OPERATOR, upload.id, [intent("2")], place_on(*NODES[:3]))
        with pytest.raises(NoSpaceError):
            await ready.allocate(OPERATOR, upload.id, [intent("3")], place_on(*NODES[:3]))
        with pytest.raises(NoSpaceError):
            await begin(ready, "/d/g", "4")


async def test_one_chunk_at_many_offsets_passes_no_quota(ready: SqliteCatalog) -> None:
    upload, _ = await begin(ready, "/d/f", "0")
    await ready.record_extents(
        OPERATOR, upload.id, [extent(intent("0", 10 * one)) for one in range(4)], receipts(upload)
    )
    with pytest.raises(NoSpaceError):
        await ready.commit_upload(OPERATOR, upload.id, [], [], 40)


async def test_a_commit_of_more_than_was_reserved_takes_nothing_from_another_upload(
    ready: SqliteCatalog,
) -> None:
    honest, wanted = await begin(ready, "/d/honest", "a", "b")
    greedy, _ = await begin(ready, "/d/greedy", "0")
    twice = [extent(intent("0", 10 * one)) for one in range(2)]
    with pytest.raises(NoSpaceError):
        await ready.commit_upload(OPERATOR, greedy.id, twice, receipts(greedy), 20)
    await ready.commit_upload(
        OPERATOR, honest.id, [extent(one) for one in wanted], receipts(honest), 20
    )


async def test_a_tree_moved_in_takes_nothing_from_an_upload_under_way(
    ready: SqliteCatalog,
) -> None:
    await ready.make_directory(OPERATOR, p("/e/t"), parents=True)
    await write(ready, "/e/t/1", "x")
    await write(ready, "/e/t/2", "y")
    upload, wanted = await begin(ready, "/d/f", "a", "b")
    with pytest.raises(NoSpaceError):
        await ready.move(OPERATOR, p("/e/t"), p("/d/t"), condition=ANY)
    await ready.move(OPERATOR, p("/e/t/1"), p("/d/1"), condition=ANY)
    await ready.commit_upload(
        OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 20
    )


async def test_moving_out_and_back_in_passes_no_quota(ready: SqliteCatalog) -> None:
    await ready.make_directory(OPERATOR, p("/e"), parents=False)
    await write(ready, "/d/f", "a", "b", "c")
    await ready.move(OPERATOR, p("/d/f"), p("/e/f"), condition=ANY)
    await write(ready, "/d/g", "d", "e", "f")
    with pytest.raises(NoSpaceError):
        await ready.move(OPERATOR, p("/e/f"), p("/d/f"), condition=ANY)
    await ready.move(OPERATOR, p("/e/f"), p("/d/g"), condition=ANY)  # replaces what is as large


async def test_content_that_is_stored_already_counts_as_any_other(ready: SqliteCatalog) -> None:
    await write(ready, "/d/f", "a", "b")
    with pytest.raises(NoSpaceError):
        await write(ready, "/d/copy", "a", "b")


async def test_an_upload_opened_before_its_datastore_was_made_anew_passes_no_quota(
    ready: SqliteCatalog,
) -> None:
    await ready.make_directory(OPERATOR, p("/e"), parents=False)
    upload, wanted = await begin(ready, "/e/f", "a", "b", "c", "d")
    await ready.remove(OPERATOR, p("/e"), recursive=True, condition=ANY)
    await quota(ready, "/e", 30)
    with pytest.raises(NoSpaceError):
        await ready.commit_upload(
            OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 40
        )


async def test_readers_keep_no_more_old_versions_than_the_quota_has_bytes(
    ready: SqliteCatalog, clock: ManualClock
) -> None:
    """Whoever holds every version that he replaces fills the nodes at most once more."""
    views = []
    for number in range(5):
        await write(ready, "/d/f", f"{number}a", f"{number}b")
        views.append(await open_read(ready, "/d/f"))
        clock.advance(1)
    claimed = [*await ready.claim_collection(100, 0), *await ready.claim_collection(100, 0)]
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
            await ready.plan_read(OPERATOR, view.lease, offset=0, length=0, batch=0)
            continue
        with pytest.raises(NotFoundError, match="open the file again"):
            await ready.plan_read(OPERATOR, view.lease, offset=0, length=0, batch=0)


async def test_readers_of_old_versions_do_not_keep_others_from_being_collected(
    ready: SqliteCatalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds the oldest ones for ever must not stop collection for all."""
    monkeypatch.setattr(collection, "VERSIONS_LOOKED_AT", 2)
    await ready.make_directory(OPERATOR, p("/free"), parents=False)
    for number in range(4):
        await write(ready, "/free/f", f"{number}")
        await open_read(ready, "/free/f")
        clock.advance(1)
    await write(ready, "/free/g", "gone")
    await ready.remove(OPERATOR, p("/free/g"), recursive=False, condition=ANY)
    claimed = [*await ready.claim_collection(100, 0), *await ready.claim_collection(100, 0)]
    assert {key.chunk for _, key in claimed} == {chunk("gone")}


# --- how many may be open ------------------------------------------------------------------------


async def test_nobody_opens_uploads_without_end(
    ready: SqliteCatalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "UPLOADS_PER_CALLER_MAX", 3)
    await ready.make_directory(OPERATOR, p("/free"), parents=False)
    await grant(ready, BOB, "/free", Right.WRITE)
    first, _ = await begin(ready, "/free/0", "0", who=BOB)
    clock.advance(1)
    for number in (1, 2):
        await begin(ready, f"/free/{number}", f"{number}", who=BOB)
    with pytest.raises(BusyError, match="3 files open for writing"):
        await begin(ready, "/free/3", "3", who=BOB)
    await begin(ready, "/free/3", "3")  # others are not concerned
    clock.advance(601)  # a crash left them: the oldest makes place
    await ready.allocate(BOB, first.id, [intent("0")], place_on(*NODES[:3]))
    second, _ = await begin(ready, "/free/3", "3", who=BOB)
    for kept in (first, second):
        await ready.get_upload(BOB, kept.id, from_offset=0, limit=0)
    await ready.abort_upload(BOB, second.id)
    await ready.open_upload(BOB, p("/free/4"), Attributes(), ANY, [], place_on(*NODES[:3]))
