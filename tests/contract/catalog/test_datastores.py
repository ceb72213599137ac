"""Datastores: owner, copies, and a quota that nobody passes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collective.access.permissions import ALL_RIGHTS
from collective.catalog.interface import Catalog
from collective.core.clock import ManualClock
from collective.core.errors import (
    ConflictError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from collective.model.rights import Right
from collective.model.writing import Attributes, Removed
from tests.contract.catalog.engines import Engines
from tests.contract.catalog.world import (
    ANY,
    LARGE,
    NODES,
    OPERATOR,
    SPARE,
    begin,
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


async def make(catalog: Catalog, path: str, copies: int = 0, quota: int = 0) -> None:
    await catalog.datastores.create(OPERATOR, p(path), copies=copies, quota_bytes=quota, owner=None)


async def usage(catalog: Catalog) -> dict[str, tuple[int, int]]:
    return {
        str(one.path): (one.used_bytes, one.files)
        for one in await catalog.datastores.list(OPERATOR)
    }


async def test_only_admins_make_and_change_policies(catalog: Catalog) -> None:
    await grant(catalog, BOB, "/d", 7)
    with pytest.raises(PermissionDeniedError):
        await catalog.datastores.create(BOB, p("/d"), copies=1, quota_bytes=0, owner=None)
    await make(catalog, "/d")
    with pytest.raises(PermissionDeniedError):
        await catalog.datastores.set(BOB, p("/d"), quota_bytes=1)
    with pytest.raises(ConflictError):
        await make(catalog, "/d")
    with pytest.raises(NotFoundError):
        await catalog.datastores.set(OPERATOR, p("/none"), copies=2)
    for path, copies in (("/d/x", 1), ("/", 1), ("/d", 17), ("/@bob.home", 1)):
        with pytest.raises(UsageError):
            await make(catalog, path, copies)


async def test_an_owner_has_every_right_there_while_he_owns_it(catalog: Catalog) -> None:
    await catalog.datastores.create(OPERATOR, p("/d"), copies=0, quota_bytes=0, owner=BOB.principal)
    assert [one.rights for one in await catalog.grants.list(BOB)] == [ALL_RIGHTS]
    eve = user("eve")
    await catalog.grants.add(BOB, p("/d"), Right.READ, eve.principal, None)
    await catalog.names.move(OPERATOR, p("/d"), p("/e"), condition=ANY)
    assert [str(one.path) for one in await catalog.grants.list(BOB)] == ["/e"]
    assert await catalog.grants.list(eve) == []
    changed = await catalog.datastores.set(OPERATOR, p("/e"), owner="member")
    assert changed.owner is None
    assert await catalog.grants.list(BOB) == []


async def test_an_owner_of_a_datastore_that_went_has_nothing_in_its_successor(
    catalog: Catalog,
) -> None:
    await catalog.datastores.create(OPERATOR, p("/d"), copies=0, quota_bytes=0, owner=BOB.principal)
    await catalog.names.make_directory(BOB, p("/d/x"), parents=False)
    assert await catalog.names.remove(BOB, p("/d"), recursive=True, condition=ANY) == Removed(
        2, is_all=True
    )
    await make(catalog, "/d")
    with pytest.raises(PermissionDeniedError):
        await catalog.names.stat(BOB, p("/d"))


async def test_listed_are_those_that_one_may_read(catalog: Catalog) -> None:
    for path in ("/a", "/b", "/c"):
        await make(catalog, path)
    await grant(catalog, BOB, "/a", 1)
    await grant(catalog, BOB, "/b", 2)
    await grant(catalog, BOB, "/c/below", 1)
    assert [str(one.path) for one in await catalog.datastores.list(BOB)] == ["/a"]


async def test_copies_of_a_datastore_count_for_placement_and_quorum(
    catalog: Catalog,
) -> None:
    await enrol(catalog, 4)
    await make(catalog, "/one", copies=1)
    await make(catalog, "/four", copies=4)
    upload, _ = await begin(catalog, "/one/f", "x", nodes=NODES)
    assert (upload.copies, upload.quorum, len(upload.allocations[0].targets)) == (1, 1, 1)
    assert upload.allocations[0].quorum == 1
    await write(catalog, "/four/f", "y", nodes=NODES)
    assert (await catalog.names.stat(OPERATOR, p("/four/f"))).copies_wanted == 4
    listed = await catalog.names.list(OPERATOR, p("/"), recursive=True, page_size=9, token="")
    assert {str(one.path): one.copies_wanted for one in listed.entries if one.chunk_count} == {
        "/four/f": 4
    }


async def test_a_quota_is_enforced_at_opening_allocating_and_committing(
    catalog: Catalog,
) -> None:
    await enrol(catalog)
    await make(catalog, "/d", quota=3 * LARGE + SPARE)
    with pytest.raises(NoSpaceError, match="quota"):
        await begin(catalog, "/d/big", "a", "b", "c", "d", unit=LARGE)
    upload, wanted = await begin(catalog, "/d/f", "a", "b", unit=LARGE)
    with pytest.raises(NoSpaceError, match="quota"):
        await catalog.uploads.allocate(
            OPERATOR, upload.id, [intent("c", 2 * LARGE, LARGE + SPARE)], place_on(*NODES[:3])
        )
    await catalog.datastores.set(OPERATOR, p("/d"), quota_bytes=2 * LARGE)
    with pytest.raises(NoSpaceError, match="quota"):
        await catalog.uploads.commit(
            OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 2 * LARGE
        )
    assert await usage(catalog) == {"/d": (0, 0)}
    await catalog.datastores.set(OPERATOR, p("/d"), quota_bytes=2 * LARGE + SPARE)
    await catalog.uploads.commit(
        OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload), 2 * LARGE
    )
    assert await usage(catalog) == {"/d": (2 * LARGE, 1)}


async def test_a_lie_about_the_offset_passes_no_quota(catalog: Catalog) -> None:
    await enrol(catalog)
    await make(catalog, "/d", quota=1 * LARGE + LARGE // 2)
    with pytest.raises(NoSpaceError, match="quota"):
        await catalog.uploads.open(
            OPERATOR, p("/d/f"), Attributes(), ANY, [intent("a", 0, LARGE), intent("b", 0, LARGE)],
            place_on(*NODES[:3]),
        )  # fmt: skip


async def test_writers_at_the_same_time_cannot_pass_a_quota_together(
    catalog: Catalog, clock: ManualClock
) -> None:
    await enrol(catalog)
    await make(catalog, "/d", quota=5 * LARGE + SPARE)
    first, _ = await begin(catalog, "/d/1", "a", "b", "c", unit=LARGE)
    with pytest.raises(NoSpaceError):
        await begin(catalog, "/d/2", "d", "e", "f", unit=LARGE)
    second, wanted = await begin(catalog, "/d/2", "d", "e", unit=LARGE)
    await catalog.uploads.abort(OPERATOR, first.id)
    third, more = await begin(catalog, "/d/3", "g", "h", "i", unit=LARGE)
    for upload, sent in ((second, wanted), (third, more)):
        await catalog.uploads.commit(
            OPERATOR, upload.id, [extent(one) for one in sent], receipts(upload), LARGE * len(sent)
        )
    assert await usage(catalog) == {"/d": (5 * LARGE, 2)}


async def test_an_upload_that_was_left_holds_its_place_for_ten_minutes_only(
    catalog: Catalog, clock: ManualClock
) -> None:
    await enrol(catalog)
    await make(catalog, "/d", quota=3 * LARGE + SPARE)
    await begin(catalog, "/d/left", "a", "b", "c", unit=LARGE)
    with pytest.raises(NoSpaceError):
        await begin(catalog, "/d/next", "x", unit=LARGE)
    clock.advance(601)
    await begin(catalog, "/d/next", "x", unit=LARGE)


async def test_replacing_a_file_counts_the_difference(catalog: Catalog) -> None:
    await enrol(catalog)
    await make(catalog, "/d", quota=3 * LARGE + SPARE)
    await write(catalog, "/d/f", "a", "b", "c", unit=LARGE)
    await write(catalog, "/d/f", "d", "e", "f", unit=LARGE)
    assert await usage(catalog) == {"/d": (3 * LARGE, 1)}
    await catalog.names.remove(OPERATOR, p("/d/f"), recursive=False, condition=ANY)
    assert await usage(catalog) == {"/d": (0, 0)}


async def test_moves_carry_their_bytes_and_pass_no_quota(catalog: Catalog) -> None:
    await enrol(catalog)
    await make(catalog, "/a")
    await make(catalog, "/b", quota=2 * LARGE + LARGE // 2)
    await catalog.names.make_directory(OPERATOR, p("/a/t"), parents=False)
    await write(catalog, "/a/t/1", "x", unit=LARGE)
    await write(catalog, "/a/t/2", "y", "z", unit=LARGE)
    with pytest.raises(NoSpaceError, match="quota"):
        await catalog.names.move(OPERATOR, p("/a/t"), p("/b/t"), condition=ANY)
    assert await usage(catalog) == {"/a": (3 * LARGE, 2), "/b": (0, 0)}
    await catalog.names.move(OPERATOR, p("/a/t/2"), p("/b/2"), condition=ANY)
    assert await usage(catalog) == {"/a": (1 * LARGE, 1), "/b": (2 * LARGE, 1)}
    await catalog.names.move(OPERATOR, p("/a/t"), p("/t"), condition=ANY)
    assert await usage(catalog) == {"/a": (0, 0), "/b": (2 * LARGE, 1), "/t": (1 * LARGE, 1)}
    await catalog.names.move(OPERATOR, p("/t"), p("/a/u"), condition=ANY)
    assert await usage(catalog) == {"/a": (1 * LARGE, 1), "/b": (2 * LARGE, 1)}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "remove", "move", "mkdir"]),
        st.sampled_from(["/a/f", "/a/g", "/a/s/f", "/b/f", "/b/s", "/a/s", "/c"]),
        st.sampled_from(["/a/f", "/b/h", "/b/s", "/a/t", "/c", "/d", "/c/f"]),
        st.integers(1, 3),
    ),
    max_size=14,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
async def test_the_running_count_is_always_what_a_walk_finds(
    engines: Engines, steps: list[tuple[str, str, str, int]]
) -> None:
    catalog = engines.opened[0] if engines.opened else await engines.open()
    await enrol(catalog)
    for top in await catalog.datastores.list(OPERATOR):
        await catalog.names.remove(OPERATOR, top.path, recursive=True, condition=ANY)
    for path in ("/a", "/b"):
        await make(catalog, path)
    for number, (act, path, other, size) in enumerate(steps):
        try:
            if act == "write":
                await write(catalog, path, *(f"{number}.{one}" for one in range(size)))
            elif act == "remove":
                await catalog.names.remove(OPERATOR, p(path), recursive=size > 1, condition=ANY)
            elif act == "move":
                await catalog.names.move(OPERATOR, p(path), p(other), condition=ANY)
            else:
                await catalog.names.make_directory(OPERATOR, p(path), parents=True)
        except (ConflictError, NotFoundError, UsageError):
            continue
    page = await catalog.names.list(OPERATOR, p("/"), recursive=True, page_size=0, token="")
    walked = {str(one.path): (0, 0) for one in page.entries if len(one.path.names) == 1}
    for one in page.entries:
        if one.version:
            used, files = walked[f"/{one.path.names[0]}"]
            walked[f"/{one.path.names[0]}"] = (used + one.size_bytes, files + 1)
    assert await usage(catalog) == walked
