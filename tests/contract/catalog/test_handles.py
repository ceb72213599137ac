"""Open reads, and chunks by their ids: what one has in hand gives no more than one's rights do."""

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import ReadView, Upload
from collective.core.errors import (
    CollectiveError,
    NotEnoughCopiesError,
    NotFoundError,
    PermissionDeniedError,
)
from collective.model.calls import Call
from collective.model.extents import Extent
from collective.model.rights import Right
from collective.model.writing import Attributes
from tests.contract.catalog.engines import Engines
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


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog, 4)
    for path in ("/his", "/shared", "/private"):
        await catalog.names.make_directory(OPERATOR, p(path), parents=False)
    await catalog.names.make_directory(OPERATOR, p("/shared/sub"), parents=False)
    await grant(catalog, BOB, "/his", Right.READ | Right.WRITE)
    await grant(catalog, BOB, "/shared", Right.READ)
    await write(catalog, "/shared/sub/f", "a", "b")
    return catalog


async def opened(catalog: Catalog, path: str = "/shared/sub/f", who: Call = BOB) -> ReadView:
    return await catalog.reads.open(who, p(path), offset=0, length=0, if_version=0, batch=1)


async def goes_on(catalog: Catalog, view: ReadView, who: Call = BOB) -> ReadView:
    return await catalog.reads.plan(who, view.lease, offset=0, length=0, batch=0)


async def move(catalog: Catalog, source: str, target: str) -> None:
    await catalog.names.move(OPERATOR, p(source), p(target), condition=ANY)


# --- open reads ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target"), [("/shared/sub/f", "/private/f"), ("/shared/sub", "/private/sub")]
)
async def test_a_file_moved_out_of_the_readers_grants_is_served_no_longer(
    ready: Catalog, source: str, target: str
) -> None:
    view = await opened(ready)
    await move(ready, source, target)
    with pytest.raises(PermissionDeniedError) as caught:
        await goes_on(ready, view)
    assert "private" not in str(caught.value)
    await move(ready, target, source)
    assert str((await goes_on(ready, view)).entry.path) == "/shared/sub/f"


@pytest.mark.parametrize("end", ["removed", "removed with its folder", "replaced", "moved upon"])
async def test_a_file_moved_out_and_then_gone_is_served_no_longer(ready: Catalog, end: str) -> None:
    view = await opened(ready)
    await move(ready, "/shared/sub", "/private/sub")
    if end == "removed":
        await ready.names.remove(OPERATOR, p("/private/sub/f"), recursive=False, condition=ANY)
    elif end == "removed with its folder":
        await ready.names.remove(OPERATOR, p("/private"), recursive=True, condition=ANY)
    elif end == "replaced":
        await write(ready, "/private/sub/f", "c")
    else:
        await write(ready, "/private/g", "c")
        await move(ready, "/private/g", "/private/sub/f")
    with pytest.raises(PermissionDeniedError):
        await goes_on(ready, view)


@pytest.mark.parametrize("recursive", [False, True])
async def test_a_file_gone_where_it_was_opened_goes_on_being_read_while_the_grant_holds(
    ready: Catalog, engines: Engines, recursive: bool
) -> None:
    given = await grant(ready, user("eve"), "/shared/sub", Right.READ)
    views = {who: await opened(ready, who=who) for who in (BOB, user("eve"))}
    await write(ready, "/shared/sub/f", "c")
    await ready.names.remove(
        OPERATOR, p("/shared/sub" if recursive else "/shared/sub/f"), recursive=True, condition=ANY
    )
    for who, view in views.items():
        assert len((await goes_on(ready, view, who)).extents) == 2
    await ready.grants.remove(OPERATOR, given)
    with pytest.raises(PermissionDeniedError):
        await goes_on(ready, views[user("eve")], user("eve"))
    await engines.close()
    again = await engines.open(quiet=False)
    assert len((await goes_on(again, views[BOB])).extents) == 2
    with pytest.raises(PermissionDeniedError):
        await goes_on(again, views[user("eve")], user("eve"))


async def test_a_move_within_the_readers_grants_disturbs_no_read(ready: Catalog) -> None:
    view = await opened(ready)
    await move(ready, "/shared/sub/f", "/his/f")
    assert str((await goes_on(ready, view)).entry.path) == "/his/f"


# --- chunks by their ids -------------------------------------------------------------------------


async def ask(catalog: Catalog, path: str, *wanted: Extent, who: Call = BOB) -> Upload:
    return await catalog.uploads.open(
        who, p(path), Attributes(), ANY, list(wanted), place_on(*NODES)
    )


async def test_no_answer_says_whether_a_chunk_of_someone_else_is_stored(
    ready: Catalog,
) -> None:
    """By what counts as stored, by lengths that do not fit, by the commit."""
    await write(ready, "/private/f", "secret")
    told: list[tuple[object, ...]] = []
    for text in ("secret", "never seen"):
        for length in (26, 27, 4000):
            wanted = Extent(0, 10, chunk(text), length)
            upload = await ask(ready, "/his/f", wanted)
            (one,) = upload.allocations
            told.append((text, one.stored, one.held, len(one.targets), one.stored_length - length))
            for commit in (ready.uploads.record_extents, ready.uploads.commit):
                size = () if commit == ready.uploads.record_extents else (10,)
                try:
                    answer = await commit(BOB, upload.id, [extent(wanted)], [], *size)
                    told.append((text, answer))
                except CollectiveError as error:
                    told.append((text, str(error)))
            await ready.uploads.abort(BOB, upload.id)
    half = len(told) // 2
    assert [one[1:] for one in told[:half]] == [one[1:] for one in told[half:]]
    assert (await ready.names.stat(OPERATOR, p("/private/f"))).copies_least == 3


async def test_naming_a_chunk_in_a_commit_gives_no_access_to_it(ready: Catalog) -> None:
    """Neither unasked, nor asked for, nor with receipts of other chunks, nor beside an own one."""
    await write(ready, "/private/f", "secret")
    upload = await ask(ready, "/his/f", intent("mine"), intent("secret", 10))
    own = receipts(upload, upload.allocations[:1])
    both = [extent(intent("mine")), extent(intent("secret", 10))]
    assert await ready.uploads.record_extents(BOB, upload.id, both, own) == 10
    with pytest.raises(NotEnoughCopiesError):
        await ready.uploads.commit(BOB, upload.id, both, own, 20)
    with pytest.raises(NotFoundError):
        await ready.names.stat(BOB, p("/his/f"))


async def test_a_chunk_asked_for_while_it_might_be_read_is_not_had_after_the_grant(
    ready: Catalog,
) -> None:
    given = await grant(ready, BOB, "/private", Right.READ)
    await write(ready, "/private/f", "secret")
    upload = await ask(ready, "/his/f", intent("secret"))
    assert upload.allocations[0].stored
    await ready.grants.remove(OPERATOR, given)
    with pytest.raises(NotEnoughCopiesError):
        await ready.uploads.commit(BOB, upload.id, [extent(intent("secret"))], [], 10)
    again = await ask(ready, "/his/g", intent("secret"))
    assert not again.allocations[0].stored


async def test_what_one_has_sent_oneself_is_not_sent_again(ready: Catalog) -> None:
    """He may write, not read; his first attempt was cut off."""
    drop = user("drop")
    await grant(ready, drop, "/private", Right.WRITE)
    first, _ = await begin(ready, "/private/a", "own", who=drop)
    await ready.uploads.record_extents(drop, first.id, [], receipts(first))
    assert (await ask(ready, "/private/b", intent("own"), who=drop)).allocations[0].stored
    assert not (await ask(ready, "/his/b", intent("own"))).allocations[0].stored


async def test_a_copy_on_a_node_that_was_lost_meanwhile_does_not_make_a_write_durable(
    ready: Catalog,
) -> None:
    await write(ready, "/his/one", "same", copies=2)
    held = {copy.node for copy in await ready.copies.stored(chunk("same"))}
    lost = frozenset(sorted(held)[:1])
    upload = await ask(ready, "/his/two", intent("same"))
    assert upload.allocations[0].stored
    extents = [extent(intent("same"))]
    assert await ready.uploads.record_extents(BOB, upload.id, extents, [], absent=lost) == 0
    with pytest.raises(NotEnoughCopiesError):
        await ready.uploads.commit(BOB, upload.id, extents, [], 10, absent=lost)
    again = await ready.uploads.allocate(
        BOB, upload.id, [intent("same")], place_on(*NODES), absent=lost
    )
    assert not again[0].stored
    sent = receipts(upload, again)
    await ready.uploads.commit(BOB, upload.id, extents, sent, 10, absent=lost | {sent[0].node})
