"""What a tree has besides files: times to the nanosecond, modes, links, holes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import LocatedExtent, ReadView
from collective.core.clock import ManualClock
from collective.core.errors import (
    ConflictError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from collective.core.moments import MOST_S, NS_PER_S, check_moment, moment_of, moment_text
from collective.model.entries import Entry, EntryKind
from collective.model.extents import Hole
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition, Removed
from tests.contract.catalog.engines import Engines
from tests.contract.catalog.world import (
    ANY,
    NODES,
    OPERATOR,
    SMALL,
    SPARE,
    begin,
    enrol,
    extent,
    grant,
    intent,
    names,
    p,
    place_on,
    receipts,
    user,
    write,
)

BOB = user("bob")
TIMES = (0, -1, 1, -(10**18) - 7, 1_700_000_000_123_456_789, MOST_S * NS_PER_S, -MOST_S * NS_PER_S)
READ, WRITE = int(Right.READ), int(Right.WRITE)


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    return catalog


async def link(
    catalog: Catalog, path: str, target: bytes = b"x", condition: Precondition = ANY
) -> Entry:
    return await catalog.names.make_link(OPERATOR, p(path), target, Attributes(), condition)


async def write_with(catalog: Catalog, path: str, attributes: Attributes) -> Entry:
    upload = await catalog.uploads.open(OPERATOR, p(path), attributes, ANY, [], place_on(*NODES))
    return await catalog.uploads.commit(OPERATOR, upload.id, [], [], 0)


async def read(catalog: Catalog, path: str, offset: int = 0, length: int = 0) -> ReadView:
    return await catalog.reads.open(
        OPERATOR, p(path), offset=offset, length=length, if_version=0, batch=0
    )


def shape(view: ReadView) -> list[tuple[str, int, int]]:
    return [
        ("hole", one.offset, one.length)
        if isinstance(one, Hole)
        else ("data", one.extent.offset, one.extent.length)
        for one in view.extents
    ]


# --- times and modes --------------------------------------------------------------------------------


@pytest.mark.parametrize("moment_ns", TIMES)
async def test_a_time_is_kept_to_the_nanosecond(ready: Catalog, moment_ns: int) -> None:
    given_ones = Attributes(modified_ns=moment_ns, mode=0)
    made = [
        await write_with(ready, "/d/file", given_ones),
        await ready.names.make_link(OPERATOR, p("/d/link"), b"x", given_ones, ANY),
        await ready.names.make_directory(
            OPERATOR, p("/d/dir"), parents=False, attributes=given_ones
        ),
    ]
    for entry in made:
        assert entry.modified_ns == moment_ns
        assert await ready.names.stat(OPERATOR, entry.path) == entry
    assert [entry.mode for entry in made] == [0, None, 0]
    page = await ready.names.list(OPERATOR, p("/d"), recursive=False, page_size=9, token="")
    assert sorted(page.entries, key=lambda one: one.path) == sorted(made, key=lambda one: one.path)


async def test_without_a_time_it_is_that_of_the_commit_and_a_mode_stays_none(
    ready: Catalog, clock: ManualClock
) -> None:
    upload, _ = await begin(ready, "/d/f")
    clock.advance(60)
    entry = await ready.uploads.commit(OPERATOR, upload.id, [], [], 0)
    assert entry.modified_ns == int(clock.wall_s() * 1000) * 1_000_000
    assert entry.mode is None
    assert (await ready.names.stat(OPERATOR, p("/d"))).mode is None
    again = await ready.uploads.commit(OPERATOR, upload.id, [], [], 0)
    assert again == entry


async def test_attributes_change_alone_and_give_a_new_version(ready: Catalog) -> None:
    before = await write(ready, "/d/f", "a")
    view = await read(ready, "/d/f")
    after = await ready.names.set_attributes(
        OPERATOR, p("/d/f"), modified_ns=-5, mode=None, condition=ANY
    )
    assert after.version > before.version
    assert after == before._replace(modified_ns=-5, version=after.version)
    chmod = Precondition(if_version=after.version)
    last = await ready.names.set_attributes(
        OPERATOR, p("/d/f"), modified_ns=None, mode=0o700, condition=chmod
    )
    assert (last.modified_ns, last.mode) == (-5, 0o700)
    with pytest.raises(ConflictError, match="version"):
        await ready.names.set_attributes(
            OPERATOR, p("/d/f"), modified_ns=0, mode=None, condition=chmod
        )
    more = await ready.reads.plan(OPERATOR, view.lease, offset=0, length=0, batch=0)
    assert shape(more) == shape(view)


async def test_attributes_of_a_folder_and_of_a_link(ready: Catalog) -> None:
    await link(ready, "/d/l", b"there")
    for path in ("/d", "/d/l"):
        before = await ready.names.stat(OPERATOR, p(path))
        after = await ready.names.set_attributes(
            OPERATOR, p(path), modified_ns=7, mode=None, condition=ANY
        )
        assert after._replace(modified_ns=before.modified_ns, version=0) == (
            before._replace(version=0)
        )
        assert after.modified_ns == 7
    kept = await ready.names.set_attributes(
        OPERATOR, p("/d"), modified_ns=None, mode=0o1700, condition=ANY
    )
    assert (kept.mode, kept.modified_ns) == (0o1700, 7)
    with pytest.raises(ConflictError, match="no mode"):
        await ready.names.set_attributes(
            OPERATOR, p("/d/l"), modified_ns=None, mode=1, condition=ANY
        )
    with pytest.raises(UsageError):
        await ready.names.set_attributes(OPERATOR, p("/"), modified_ns=1, mode=None, condition=ANY)
    with pytest.raises(NotFoundError):
        await ready.names.set_attributes(
            OPERATOR, p("/d/x"), modified_ns=1, mode=None, condition=ANY
        )


async def test_making_a_folder_that_is_there_changes_no_attribute_of_it(ready: Catalog) -> None:
    before = await ready.names.stat(OPERATOR, p("/d"))
    other = Attributes(modified_ns=1, mode=0o700)
    await ready.names.make_directory(OPERATOR, p("/d/x/y"), parents=True, attributes=other)
    await ready.names.make_directory(OPERATOR, p("/d"), parents=True, attributes=other)
    assert await ready.names.stat(OPERATOR, p("/d")) == before
    assert (await ready.names.stat(OPERATOR, p("/d/x"))).mode is None
    assert (await ready.names.stat(OPERATOR, p("/d/x/y"))).mode == 0o700


# --- links ------------------------------------------------------------------------------------------

TARGETS = (b"a", b"../../etc/passwd", b"/", b"\xff\n\x1b", b"x" * 4095)


@pytest.mark.parametrize("target", TARGETS)
async def test_a_link_is_kept_as_it_was_given(ready: Catalog, target: bytes) -> None:
    made = await link(ready, "/d/l", target)
    assert (made.kind, made.target, made.size_bytes) == (EntryKind.LINK, target, 0)
    assert await ready.names.stat(OPERATOR, p("/d/l")) == made


@pytest.mark.parametrize("target", [b"", b"x" * 4096, b"a\0b"])
async def test_no_file_system_takes_such_a_target(ready: Catalog, target: bytes) -> None:
    with pytest.raises(UsageError):
        await link(ready, "/d/l", target)


async def test_nothing_follows_a_link(ready: Catalog) -> None:
    await ready.names.make_directory(OPERATOR, p("/d/real"), parents=False)
    await write(ready, "/d/real/f", "a")
    await link(ready, "/d/l", b"real")
    with pytest.raises(ConflictError, match="symbolic link, which is not followed"):
        await read(ready, "/d/l")
    with pytest.raises(NotFoundError):
        await read(ready, "/d/l/f")
    with pytest.raises(NotFoundError):
        await ready.names.stat(OPERATOR, p("/d/l/f"))
    with pytest.raises(ConflictError, match="is a symbolic link"):
        await begin(ready, "/d/l/f", "a")
    with pytest.raises(ConflictError, match="is a symbolic link"):
        await ready.names.make_directory(OPERATOR, p("/d/l/x"), parents=True)
    with pytest.raises(ConflictError, match="is a symbolic link"):
        await ready.names.move(OPERATOR, p("/d/real/f"), p("/d/l/f"), condition=ANY)
    assert await names(ready, "/d", deep=True) == ["/d/l", "/d/real", "/d/real/f"]
    assert await names(ready, "/d/l") == ["/d/l"]


async def test_a_link_and_a_file_take_each_others_place(ready: Catalog) -> None:
    file = await write(ready, "/d/x", "a")
    made = await link(ready, "/d/x")
    assert made.version > file.version
    with pytest.raises(ConflictError, match="exists already"):
        await link(ready, "/d/x", condition=Precondition(if_absent=True))
    with pytest.raises(ConflictError, match="version"):
        await link(ready, "/d/x", condition=Precondition(if_version=file.version))
    back = await write(ready, "/d/x", "a")
    assert (back.kind, back.target) == (EntryKind.FILE, b"")
    assert [one.extent.length for one in (await read(ready, "/d/x")).extents
            if isinstance(one, LocatedExtent)] == [SMALL]  # fmt: skip
    await ready.names.make_directory(OPERATOR, p("/d/y"), parents=False)
    with pytest.raises(ConflictError, match="is a directory"):
        await link(ready, "/d/y")
    with pytest.raises(UsageError):
        await link(ready, "/top")


async def test_links_move_and_go_like_files(ready: Catalog) -> None:
    await link(ready, "/d/l", b"one")
    await write(ready, "/d/f", "a")
    moved = await ready.names.move(OPERATOR, p("/d/l"), p("/d/f"), condition=ANY)
    assert (moved.kind, moved.target) == (EntryKind.LINK, b"one")
    with pytest.raises(ConflictError):
        await ready.names.move(OPERATOR, p("/d/f"), p("/top"), condition=ANY)
    await ready.names.make_directory(OPERATOR, p("/d/x"), parents=False)
    await link(ready, "/d/x/l")
    assert await ready.names.remove(OPERATOR, p("/d/x"), recursive=True, condition=ANY) == Removed(
        2, is_all=True
    )
    assert await ready.names.remove(OPERATOR, p("/d/f"), recursive=False, condition=ANY) == Removed(
        1, is_all=True
    )
    assert await names(ready, "/", deep=True) == ["/d"]


async def test_what_a_link_points_to_is_for_readers(ready: Catalog) -> None:
    await link(ready, "/d/l", b"secret")
    await grant(ready, BOB, "/d", WRITE)
    seen = await ready.names.stat(BOB, p("/d/l"))
    assert seen == Entry(p("/d/l"), EntryKind.LINK)
    told = await ready.names.set_attributes(BOB, p("/d/l"), modified_ns=1, mode=None, condition=ANY)
    assert told == seen
    assert await ready.names.make_link(BOB, p("/d/m"), b"x", Attributes(), ANY) == Entry(
        p("/d/m"), EntryKind.LINK
    )
    made = await ready.names.make_directory(BOB, p("/d/n"), parents=False)
    assert made == Entry(p("/d/n"), EntryKind.DIRECTORY)


async def test_links_and_attributes_need_write(ready: Catalog) -> None:
    await link(ready, "/d/l", b"x")
    await grant(ready, BOB, "/d", READ)
    assert (await ready.names.stat(BOB, p("/d/l"))).target == b"x"
    for path in ("/d/l", "/d/new", "/e/f"):
        with pytest.raises(PermissionDeniedError):
            await ready.names.make_link(BOB, p(path), b"y", Attributes(), ANY)
        with pytest.raises(PermissionDeniedError):
            await ready.names.set_attributes(BOB, p(path), modified_ns=1, mode=None, condition=ANY)


async def test_a_link_costs_a_name_and_its_target_and_is_no_file(ready: Catalog) -> None:
    async def counted() -> tuple[int, int, int]:
        (store,) = await ready.datastores.list(OPERATOR)
        return store.files, store.used_bytes, store.catalog_bytes - len("{}")

    await link(ready, "/d/l", b"x" * 100)
    assert await counted() == (0, 0, 1024 + 100)
    totals = await ready.figures.totals(OPERATOR, frozenset(NODES))
    assert (totals.files, totals.file_bytes) == (0, 0)
    await grant(ready, BOB, "/d", READ)
    assert (await ready.figures.totals(BOB, frozenset(NODES))).files == 0
    await link(ready, "/d/l", b"y")
    assert await counted() == (0, 0, 1024 + 1)
    await ready.names.make_directory(OPERATOR, p("/e/f"), parents=True)
    await ready.names.move(OPERATOR, p("/d/l"), p("/e/f/l"), condition=ANY)
    stores = await ready.datastores.list(OPERATOR)
    assert [store.catalog_bytes for store in stores] == [0, 2 * 1024 + 1 + len("{}")]
    await ready.names.remove(OPERATOR, p("/e/f"), recursive=True, condition=ANY)
    assert [store.catalog_bytes for store in await ready.datastores.list(OPERATOR)] == [0, 0]


async def test_a_quota_bounds_links(ready: Catalog) -> None:
    await ready.datastores.set(OPERATOR, p("/d"), quota_bytes=3000)
    await link(ready, "/d/1", b"x" * 100)
    await link(ready, "/d/2", b"x" * 100)
    with pytest.raises(NoSpaceError):
        await link(ready, "/d/3", b"x")
    await link(ready, "/d/2", b"y" * 700)
    with pytest.raises(NoSpaceError):
        await link(ready, "/d/2", b"y" * 900)


async def test_links_survive_a_restart_and_collection(engines: Engines) -> None:
    catalog = await engines.open()
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await link(catalog, "/d/l", b"old")
    made = await link(catalog, "/d/l", b"new")
    await write(catalog, "/d/f", "a")
    for _ in range(3):
        engines.clock.advance(3600)
        await catalog.collection.claim(100, 1.0)
    await engines.close()
    catalog = await engines.open()
    assert await catalog.names.stat(OPERATOR, p("/d/l")) == made
    totals = await catalog.figures.totals(OPERATOR, frozenset(NODES))
    assert (totals.files, totals.file_bytes) == (1, SMALL)


# --- holes ------------------------------------------------------------------------------------------

GIB = 1 << 30


async def sparse(catalog: Catalog, path: str) -> Entry:
    """Write data at 0 and at 1 GiB, with holes between them and behind."""
    pieces = [intent("a", 0), intent("b", GIB)]
    upload = await catalog.uploads.open(
        OPERATOR, p(path), Attributes(), ANY, pieces, place_on(*NODES),
        holes=[Hole(SMALL, GIB - SMALL)],
    )  # fmt: skip
    return await catalog.uploads.commit(
        OPERATOR,
        upload.id,
        [extent(one) for one in pieces],
        receipts(upload),
        2 * GIB,
        holes=[Hole(GIB + SMALL, GIB - SMALL)],
    )


async def test_holes_come_back_among_the_extents(ready: Catalog) -> None:
    entry = await sparse(ready, "/d/f")
    assert (entry.size_bytes, entry.chunk_count) == (2 * GIB, 2)
    whole = [
        ("data", 0, SMALL),
        ("hole", SMALL, GIB - SMALL),
        ("data", GIB, SMALL),
        ("hole", GIB + SMALL, GIB - SMALL),
    ]
    assert shape(await read(ready, "/d/f")) == whole
    assert shape(await read(ready, "/d/f", SMALL, 1)) == whole[1:2]
    assert shape(await read(ready, "/d/f", GIB - 1, 2)) == whole[1:3]
    assert shape(await read(ready, "/d/f", 2 * GIB - 1, 5)) == whole[3:]
    view = await ready.reads.open(OPERATOR, p("/d/f"), offset=0, length=0, if_version=0, batch=1)
    assert (shape(view), view.more) == (whole[:1], True)
    more = await ready.reads.plan(OPERATOR, view.lease, offset=SMALL, length=0, batch=2)
    assert (shape(more), more.more) == (whole[1:3], True)


async def test_a_file_may_be_one_hole(ready: Catalog) -> None:
    upload = await ready.uploads.open(
        OPERATOR, p("/d/f"), Attributes(), ANY, [], place_on(*NODES), holes=[Hole(0, 1 << 60)]
    )
    entry = await ready.uploads.commit(OPERATOR, upload.id, [], [], 1 << 60)
    assert (entry.size_bytes, entry.chunk_count, entry.copies_least) == (1 << 60, 0, 3)
    assert shape(await read(ready, "/d/f", 1 << 59, 1)) == [("hole", 0, 1 << 60)]


async def test_what_is_neither_recorded_nor_a_hole_is_no_commit(ready: Catalog) -> None:
    upload, wanted = await begin(ready, "/d/f", "a")
    with pytest.raises(ConflictError, match="not complete"):
        await ready.uploads.commit(
            OPERATOR, upload.id, [extent(wanted[0])], receipts(upload), 4 * SMALL,
            holes=[Hole(2 * SMALL, 2 * SMALL)],
        )  # fmt: skip
    entry = await ready.uploads.commit(
        OPERATOR, upload.id, [extent(wanted[0])], receipts(upload), 4 * SMALL,
        holes=[Hole(SMALL, SMALL), Hole(2 * SMALL, 2 * SMALL)],
    )  # fmt: skip
    assert entry.size_bytes == 4 * SMALL


@pytest.mark.parametrize(
    "hole",
    [(0, SMALL), (0, 1), (SMALL - 1, 5), (5 * SMALL, SMALL), (4 * SMALL, 9 * SMALL), (0, 99)],
)
async def test_a_hole_overlaps_nothing(ready: Catalog, hole: tuple[int, int]) -> None:
    upload, wanted = await begin(ready, "/d/f", "a")
    await ready.uploads.record_extents(OPERATOR, upload.id, [extent(wanted[0])], receipts(upload))
    there = Hole(5 * SMALL, 2 * SMALL)
    for _ in range(2):  # the same again is no error
        await ready.uploads.allocate(OPERATOR, upload.id, [], place_on(*NODES), holes=[there])
    with pytest.raises(ConflictError, match="overlaps"):
        await ready.uploads.allocate(OPERATOR, upload.id, [], place_on(*NODES), holes=[Hole(*hole)])


async def test_an_extent_overlaps_no_hole(ready: Catalog) -> None:
    upload, wanted = await begin(ready, "/d/f", "a")
    await ready.uploads.allocate(OPERATOR, upload.id, [], place_on(*NODES), holes=[Hole(5, 100)])
    with pytest.raises(ConflictError, match="overlaps"):
        await ready.uploads.record_extents(
            OPERATOR, upload.id, [extent(wanted[0])], receipts(upload)
        )


@pytest.mark.parametrize("hole", [(-1, 5), (0, 0), (0, -1)])
async def test_a_hole_has_a_place_and_a_length(ready: Catalog, hole: tuple[int, int]) -> None:
    upload, _ = await begin(ready, "/d/f")
    with pytest.raises(UsageError):
        await ready.uploads.allocate(OPERATOR, upload.id, [], place_on(*NODES), holes=[Hole(*hole)])


async def test_holes_count_for_no_quota(ready: Catalog) -> None:
    await ready.datastores.set(OPERATOR, p("/d"), quota_bytes=SPARE)
    await sparse(ready, "/d/f")
    (store,) = await ready.datastores.list(OPERATOR)
    rows = 1024 + 2 * 512 + 2 * 64 + len("{}")
    assert (store.used_bytes, store.catalog_bytes) == (2 * SMALL, rows)
    totals = await ready.figures.totals(OPERATOR, frozenset(NODES))
    assert totals.file_bytes == 2 * GIB
    await ready.names.make_directory(OPERATOR, p("/e/f"), parents=True)
    await ready.datastores.set(OPERATOR, p("/e"), quota_bytes=SPARE)
    await ready.names.move(OPERATOR, p("/d/f"), p("/e/f/f"), condition=ANY)
    _, there = await ready.datastores.list(OPERATOR)
    assert (there.used_bytes, there.files) == (2 * SMALL, 1)
    await ready.names.remove(OPERATOR, p("/e/f/f"), recursive=False, condition=ANY)
    _, there = await ready.datastores.list(OPERATOR)
    assert (there.used_bytes, there.files, there.catalog_bytes) == (0, 0, 1024)


async def test_a_hole_behind_makes_no_room_for_data(ready: Catalog) -> None:
    """Repeated chunks count where they lie, whatever holes are declared."""
    quota = 60_000
    await ready.datastores.set(OPERATOR, p("/d"), quota_bytes=quota)
    many = [intent("a", number * 1000, 1000) for number in range(60)]
    upload = await ready.uploads.open(
        OPERATOR, p("/d/f"), Attributes(), ANY, many[:1], place_on(*NODES),
        holes=[Hole(60_000, GIB)],
    )  # fmt: skip
    with pytest.raises(NoSpaceError):
        await ready.uploads.record_extents(
            OPERATOR, upload.id, [extent(one) for one in many], receipts(upload)
        )


async def test_holes_are_as_few_as_extents(ready: Catalog) -> None:
    upload, _ = await begin(ready, "/d/f")
    holes = [Hole(2 * number, 1) for number in range(1025)]
    for first in range(0, 1024, 64):
        await ready.uploads.allocate(
            OPERATOR, upload.id, [], place_on(*NODES), holes=holes[first : first + 64]
        )
    with pytest.raises(UsageError, match="holes"):
        await ready.uploads.allocate(OPERATOR, upload.id, [], place_on(*NODES), holes=holes[1024:])


# --- values -----------------------------------------------------------------------------------------


@given(st.integers(-MOST_S * NS_PER_S, MOST_S * NS_PER_S))
def test_a_moment_goes_over_the_wire_and_back(moment_ns: int) -> None:
    assert moment_of(*divmod(moment_ns, NS_PER_S)) == check_moment(moment_ns) == moment_ns


@pytest.mark.parametrize("pair", [(0, -1), (0, NS_PER_S), (MOST_S + 1, 0), (-MOST_S - 1, 0)])
def test_a_pair_that_is_no_moment_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(UsageError):
        moment_of(*pair)


@pytest.mark.parametrize(
    ("moment_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_700_000_000_000_000_001, "2023-11-14T22:13:20.000000001Z"),
        (-62_135_596_800 * NS_PER_S, "0001-01-01T00:00:00.000000000Z"),
        (-62_135_596_800 * NS_PER_S - 1, "@-62135596801.999999999"),
        (253_402_300_800 * NS_PER_S - 1, "9999-12-31T23:59:59.999999999Z"),
        (253_402_300_800 * NS_PER_S, "@253402300800.000000000"),
    ],
)
def test_a_moment_is_shown_to_the_nanosecond(moment_ns: int, text: str) -> None:
    assert moment_text(moment_ns) == text
