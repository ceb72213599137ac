"""How many copies a chunk gets: the most that any datastore asks for that holds a file with it."""

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.interface.values import Upload
from collective.core.clock import ManualClock
from collective.core.errors import NoSpaceError
from collective.core.ids import NodeId
from collective.model.rights import Right
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import (
    ANY,
    LARGE,
    NODES,
    OPERATOR,
    SPARE,
    answer,
    begin,
    chunk,
    claim,
    collected,
    enrol,
    extent,
    grant,
    health,
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
    for path, copies in (("/two", 2), ("/three", 3), ("/setting", 0)):
        await catalog.datastores.create(OPERATOR, p(path), copies=copies, quota_bytes=0, owner=None)
    return catalog


async def settle(catalog: Catalog) -> None:
    while await catalog.datastores.settle_copies():
        pass


async def told(catalog: Catalog, path: str) -> tuple[int, int]:
    entry = await catalog.names.stat(OPERATOR, p(path))
    return entry.copies_least, entry.copies_wanted


async def short(catalog: Catalog) -> int:
    return (await health(catalog, USABLE)).under_replicated


async def repair(catalog: Catalog) -> int:
    made = 0
    while tasks := await claim(catalog, 64, place_on(*NODES), USABLE, NONE):
        for task in tasks:
            await catalog.repair.finish(task, answer(task))
            made += 1
    return made


async def move(catalog: Catalog, source: str, target: str) -> None:
    await catalog.names.move(OPERATOR, p(source), p(target), condition=ANY)


async def test_a_file_moved_to_where_more_copies_are_kept_gets_them(ready: Catalog) -> None:
    await write(ready, "/two/f", "a", "b")
    assert await told(ready, "/two/f") == (2, 2)
    entry = await ready.names.move(OPERATOR, p("/two/f"), p("/three/f"), condition=ANY)
    assert (entry.copies_least, entry.copies_wanted) == (2, 3)
    assert await told(ready, "/three/f") == (2, 3)
    view = await ready.reads.open(
        OPERATOR, p("/three/f"), offset=0, length=0, if_version=0, batch=1
    )
    assert (view.entry.copies_least, view.entry.copies_wanted) == (2, 3)
    page = await ready.names.list(OPERATOR, p("/three"), recursive=False, page_size=9, token="")
    assert [(one.copies_least, one.copies_wanted) for one in page.entries] == [(2, 3)]
    await settle(ready)
    assert await short(ready) == 2
    assert await told(ready, "/three/f") == (2, 3)
    assert await repair(ready) == 2
    assert await told(ready, "/three/f") == (3, 3)
    assert await short(ready) == 0


async def test_a_datastore_set_to_more_copies_gets_them_below_every_folder(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.SETTLED_IN_A_STEP, 2)
    await ready.names.make_directory(OPERATOR, p("/two/x/y"), parents=True)
    for number in range(5):
        await write(ready, f"/two/f{number}", f"f{number}", f"g{number}", f"h{number}")
        await write(ready, f"/two/x/y/f{number}", f"i{number}")
    await ready.datastores.set(OPERATOR, p("/two"), copies=3)
    for path in ("/two/f4", "/two/x/y/f4"):
        assert await told(ready, path) == (2, 3)
    await settle(ready)
    assert await short(ready) == 20
    assert await repair(ready) == 20
    assert await told(ready, "/two/f4") == await told(ready, "/two/x/y/f0") == (3, 3)
    assert not await ready.datastores.settle_copies()


async def test_fewer_copies_are_asked_for_where_nothing_else_asks_for_more(
    ready: Catalog,
) -> None:
    await write(ready, "/three/f", "alone", "shared", copies=2)
    await write(ready, "/three/g", "shared", copies=2)
    assert await short(ready) == 2
    await move(ready, "/three/f", "/two/f")
    await settle(ready)
    assert await short(ready) == 1  # what /three/g holds as well
    assert await told(ready, "/three/g") == (2, 3)
    await ready.names.remove(OPERATOR, p("/three/g"), recursive=False, condition=ANY)
    await ready.collection.claim(100, 0)
    await ready.collection.claim(100, 0)
    assert await short(ready) == 0
    assert await told(ready, "/two/f") == (2, 2)


async def test_what_an_open_upload_was_promised_is_not_taken_from_it(ready: Catalog) -> None:
    await write(ready, "/two/f", "a")
    upload, wanted = await begin(ready, "/three/g", "a")
    await move(ready, "/two/f", "/two/h")
    await ready.datastores.set(OPERATOR, p("/two"), copies=1)
    await settle(ready)
    await ready.uploads.commit(
        OPERATOR, upload.id, [extent(want) for want in wanted], receipts(upload), 10
    )
    assert await short(ready) == 1
    assert await told(ready, "/three/g") == (2, 3)


async def test_a_file_committed_after_its_datastore_was_set_gets_the_new_copies(
    ready: Catalog,
) -> None:
    upload, wanted = await begin(ready, "/two/f", "a")
    await ready.datastores.set(OPERATOR, p("/two"), copies=4)
    await settle(ready)
    entry = await ready.uploads.commit(
        OPERATOR, upload.id, [extent(want) for want in wanted], receipts(upload), 10
    )
    assert (entry.copies_least, entry.copies_wanted) == (2, 4)
    await settle(ready)
    assert await repair(ready) == 2
    assert await told(ready, "/two/f") == (4, 4)


async def test_a_move_within_a_datastore_that_is_being_gone_through_hides_nothing(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.SETTLED_IN_A_STEP, 1)
    for number in range(6):
        await write(ready, f"/two/f{number}", f"f{number}")
    await ready.datastores.set(OPERATOR, p("/two"), copies=3)
    await ready.datastores.settle_copies()
    await move(ready, "/two/f5", "/two/a")  # to before the names that were gone through
    await settle(ready)
    assert await short(ready) == 6


async def test_a_crash_while_a_tree_is_gone_through_loses_nothing(engines: Engines) -> None:
    engines.bound(Bound.SETTLED_IN_A_STEP, 1)
    catalog = await engines.open()
    await enrol(catalog, 4)
    for path, copies in (("/two", 2), ("/three", 3)):
        await catalog.datastores.create(OPERATOR, p(path), copies=copies, quota_bytes=0, owner=None)
    await catalog.names.make_directory(OPERATOR, p("/two/x"), parents=True)
    for number in range(6):
        await write(catalog, f"/two/x/f{number}", f"f{number}")
    await move(catalog, "/two/x", "/three/x")
    await catalog.datastores.settle_copies()
    await engines.close()
    again = await engines.open()
    assert await told(again, "/three/x/f5") == (2, 3)
    await settle(again)
    assert await short(again) == 6


async def test_another_setting_of_copies_holds_for_what_is_there(
    engines: Engines,
) -> None:
    catalog = await engines.open()
    await enrol(catalog, 4)
    for path, copies in (("/two", 2), ("/setting", 0)):
        await catalog.datastores.create(OPERATOR, p(path), copies=copies, quota_bytes=0, owner=None)
    await write(catalog, "/two/f", "a")
    await write(catalog, "/setting/f", "b")
    await engines.close()
    engines.settings = CatalogSettings(copies=4)
    again = await engines.open()
    assert await told(again, "/setting/f") == (3, 4)
    await settle(again)
    assert await short(again) == 1
    assert await repair(again) == 1
    assert await told(again, "/setting/f") == (4, 4)
    assert await told(again, "/two/f") == (2, 2)


async def test_a_move_of_a_great_tree_writes_one_row_and_the_rest_goes_in_bounded_steps(
    ready: Catalog, engines: Engines
) -> None:
    """No step looks at more than so many names and chunks."""
    engines.bound(Bound.SETTLED_AT_ONCE, 4)
    engines.bound(Bound.SETTLED_IN_A_STEP, 8)
    await ready.names.make_directory(OPERATOR, p("/two/x"), parents=True)
    for number in range(40):
        await write(ready, f"/two/x/f{number}", f"f{number}")
    await write(ready, "/two/x/long", *[f"chunk {number}" for number in range(60)])
    await move(ready, "/two/x", "/three/x")
    seen = [await short(ready)]
    assert seen[0] <= 4
    while await ready.datastores.settle_copies():
        seen.append(await short(ready))
        assert seen[-1] - seen[-2] <= 8
    assert await short(ready) == 100
    assert await told(ready, "/three/x/long") == (2, 3)


async def test_an_owner_whose_grant_was_removed_gets_it_back_by_being_set_again(
    ready: Catalog,
) -> None:
    bob, eve = user("bob"), user("eve")
    await ready.datastores.set(OPERATOR, p("/two"), owner=bob.principal)
    (owned,) = await ready.grants.list(bob)
    await ready.grants.remove(OPERATOR, owned.id)
    assert await ready.grants.list(bob) == []
    await ready.datastores.set(OPERATOR, p("/two"), owner=bob.principal)
    assert [int(one.rights) for one in await ready.grants.list(bob)] == [7]
    await ready.grants.add(bob, p("/two"), Right.READ, eve.principal, None)
    await ready.datastores.set(OPERATOR, p("/two"), owner=bob.principal)  # and is no loss to others
    assert [int(one.rights) for one in await ready.grants.list(eve)] == [1]


async def test_an_upload_that_is_looked_at_for_resumption_keeps_its_reservation(
    ready: Catalog, clock: ManualClock
) -> None:
    bob, eve = user("bob"), user("eve")
    await ready.datastores.set(OPERATOR, p("/two"), quota_bytes=3 * LARGE + SPARE)
    for who in (bob, eve):
        await grant(ready, who, "/two", 3)
    upload, wanted = await begin(ready, "/two/f", "a", "b", who=bob, unit=LARGE)
    for _ in range(3):
        clock.advance(400.0)
        await ready.uploads.get(bob, upload.id, from_offset=0, limit=10)
    with pytest.raises(NoSpaceError, match="quota"):
        await begin(ready, "/two/g", "c", "d", who=eve, unit=LARGE)
    await ready.uploads.commit(
        bob, upload.id, [extent(want) for want in wanted], receipts(upload), 2 * LARGE
    )


async def test_a_number_is_not_lowered_where_too_many_use_the_chunk(
    ready: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.LOOKED_AT_USES, 3)
    for number in range(3):
        await write(ready, f"/two/f{number}", "a", copies=2)
    await write(ready, "/three/f", "a", nodes=NODES[:2])
    await ready.datastores.set(OPERATOR, p("/two"), copies=1)
    await settle(ready)
    assert await short(ready) == 1
    assert await repair(ready) == 1
    assert len(await ready.copies.stored(chunk("a"))) == 3


async def asked_for_more(catalog: Catalog) -> Upload:
    """Begin an upload that wants three copies of a chunk of which a file wants one."""
    await enrol(catalog)
    for path, copies in (("/one", 1), ("/three", 3)):
        await catalog.datastores.create(OPERATOR, p(path), copies=copies, quota_bytes=0, owner=None)
    await write(catalog, "/one/f", "x")
    upload, _ = await begin(catalog, "/three/f", "x")
    assert await wanted_of(catalog, "x") == 3
    return upload


async def wanted_of(catalog: Catalog, text: str) -> int:
    (there,) = await catalog.copies.known(chunk(text))
    return there.wanted


async def test_an_upload_that_asked_for_more_and_is_gone_leaves_what_files_ask_for(
    catalog: Catalog, clock: ManualClock
) -> None:
    upload = await asked_for_more(catalog)
    await catalog.uploads.abort(OPERATOR, upload.id)
    await collected(catalog, clock)
    assert await wanted_of(catalog, "x") == 1


async def test_so_does_one_that_ended_without_the_chunk(
    catalog: Catalog, clock: ManualClock
) -> None:
    upload = await asked_for_more(catalog)
    await catalog.uploads.commit(OPERATOR, upload.id, [], [], 0)
    await collected(catalog, clock)
    assert await wanted_of(catalog, "x") == 1
