import asyncio

import pytest

from collective.catalog.interface import Catalog
from collective.core.clock import ManualClock
from collective.core.errors import (
    ConflictError,
    NotEnoughCopiesError,
    NotFoundError,
    PermissionDeniedError,
    RejectedError,
    UsageError,
)
from collective.core.ids import Generation
from collective.model.copies import VerifiedReceipt
from collective.model.writing import Attributes, Precondition
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
    health,
    intent,
    p,
    place_on,
    receipts,
    user,
    write,
)


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    return catalog


async def test_a_written_file_is_there_with_its_copies(ready: Catalog) -> None:
    entry = await write(ready, "/d/f", "a", "b")
    assert (entry.size_bytes, entry.chunk_count, entry.copies_least) == (20, 2, 3)
    assert await ready.names.stat(OPERATOR, p("/d/f")) == entry
    assert {copy.node for copy in await ready.copies.stored(chunk("a"))} == set(NODES[:3])
    assert (await ready.figures.totals(None, frozenset(NODES))).file_bytes == 20


async def test_an_empty_file_needs_no_chunk(ready: Catalog) -> None:
    assert (await write(ready, "/d/empty")).size_bytes == 0


async def test_quorum_is_of_the_setting_not_of_what_is_there(ready: Catalog) -> None:
    with pytest.raises(NotEnoughCopiesError, match="COLLECTIVE_COPIES=3"):
        await begin(ready, "/d/f", "a", nodes=NODES[:1])
    await begin(ready, "/d/f", "a", nodes=NODES[:2])


async def test_two_receipts_of_three_commit_and_show_as_short(ready: Catalog) -> None:
    entry = await write(ready, "/d/f", "a", copies=2)
    assert entry.copies_least == 2
    assert (await health(ready)).under_replicated == 1


async def test_one_receipt_of_three_does_not_commit(ready: Catalog) -> None:
    with pytest.raises(NotEnoughCopiesError):
        await write(ready, "/d/f", "a", copies=1)
    with pytest.raises(NotFoundError):
        await ready.names.stat(OPERATOR, p("/d/f"))


async def test_invented_receipts_count_for_nothing(ready: Catalog) -> None:
    upload, wanted = await begin(ready, "/d/f", "a")
    good = receipts(upload)
    other_node = [
        VerifiedReceipt(r.chunk, NODES[3], r.generation, r.stored_length, upload.id) for r in good
    ]
    other_generation = [
        VerifiedReceipt(r.chunk, r.node, Generation(999), r.stored_length, upload.id) for r in good
    ]
    for invented in (other_node, other_generation, good[:1] * 3):
        with pytest.raises(NotEnoughCopiesError):
            await ready.uploads.commit(OPERATOR, upload.id, [extent(wanted[0])], invented, 10)
    other_upload = [
        VerifiedReceipt(r.chunk, r.node, r.generation, r.stored_length, "f" * 32) for r in good
    ]
    with pytest.raises(RejectedError):
        await ready.uploads.commit(OPERATOR, upload.id, [extent(wanted[0])], other_upload, 10)


async def test_a_chunk_never_allocated_cannot_be_committed(ready: Catalog) -> None:
    await write(ready, "/d/theirs", "secret")
    upload, _ = await begin(ready, "/d/f")
    with pytest.raises(RejectedError, match="never asked"):
        await ready.uploads.commit(OPERATOR, upload.id, [extent(intent("secret"))], [], 10)


async def test_naming_a_chunk_is_no_proof_of_having_it(ready: Catalog) -> None:
    await write(ready, "/d/theirs", "secret")
    bob = user("bob")
    await ready.names.make_directory(OPERATOR, p("/bob"), parents=False)
    await grant(ready, bob, "/bob", 3)
    upload, wanted = await begin(ready, "/bob/f", "secret", who=bob)
    assert not upload.allocations[0].stored
    assert not upload.allocations[0].held
    with pytest.raises(NotEnoughCopiesError):
        await ready.uploads.commit(bob, upload.id, [extent(wanted[0])], [], 10)
    held = await ready.copies.stored(chunk("secret"))
    assert set(upload.allocations[0].targets) == set(held)
    await ready.uploads.commit(bob, upload.id, [extent(wanted[0])], receipts(upload), 10)


async def test_what_one_may_read_is_deduplicated_and_pinned(ready: Catalog) -> None:
    await write(ready, "/d/one", "same")
    upload, wanted = await begin(ready, "/d/two", "same")
    assert upload.allocations[0].stored
    await ready.names.remove(OPERATOR, p("/d/one"), recursive=False, condition=ANY)
    assert await ready.collection.claim(100, 0) == []
    await ready.uploads.commit(OPERATOR, upload.id, [extent(wanted[0])], [], 10)
    assert len(await ready.copies.stored(chunk("same"))) == 3


async def test_repeating_a_chunk_asks_elsewhere_for_what_is_missing(ready: Catalog) -> None:
    upload, wanted = await begin(ready, "/d/f", "a", nodes=NODES)
    await ready.uploads.record_extents(OPERATOR, upload.id, [], receipts(upload, count=1))
    again = await ready.uploads.allocate(OPERATOR, upload.id, wanted, place_on(*NODES))
    assert [copy.node for copy in again[0].held] == ["n1"]
    assert "n4" in [copy.node for copy in again[0].targets]
    more = receipts(upload, again, count=1)
    await ready.uploads.commit(OPERATOR, upload.id, [extent(wanted[0])], more, 10)


async def test_extents_without_quorum_are_not_recorded_until_they_have_it(
    ready: Catalog,
) -> None:
    upload, wanted = await begin(ready, "/d/f", "a", "b")
    extents = [extent(want) for want in wanted]
    first = [r for r in receipts(upload) if r.chunk == chunk("a")]
    assert await ready.uploads.record_extents(OPERATOR, upload.id, extents, first) == 10
    with pytest.raises(ConflictError, match="10 of 20"):
        await ready.uploads.commit(OPERATOR, upload.id, [], [], 20)
    assert await ready.uploads.record_extents(OPERATOR, upload.id, extents, receipts(upload)) == 20
    _, page, more = await ready.uploads.get(OPERATOR, upload.id, from_offset=0, limit=1)
    assert page == [extents[0]]
    assert more
    await ready.uploads.commit(OPERATOR, upload.id, [], [], 20)


async def test_extents_must_cover_the_size_without_overlap_or_gap(ready: Catalog) -> None:
    upload, wanted = await begin(ready, "/d/f", "a", "b")
    await ready.uploads.record_extents(OPERATOR, upload.id, [extent(wanted[0])], receipts(upload))
    overlapping = extent(intent("b", 5))
    with pytest.raises(ConflictError, match="overlaps"):
        await ready.uploads.record_extents(OPERATOR, upload.id, [overlapping], [])
    gap = extent(intent("b", 15))
    with pytest.raises(ConflictError, match="not complete"):
        await ready.uploads.commit(OPERATOR, upload.id, [gap], [], 20)


async def test_a_repeated_commit_returns_the_same_entry(ready: Catalog) -> None:
    upload, wanted = await begin(ready, "/d/f", "a")
    args = (OPERATOR, upload.id, [extent(wanted[0])], receipts(upload), 10)
    first = await ready.uploads.commit(*args)
    await write(ready, "/d/f", "b")
    assert await ready.uploads.commit(*args) == first
    assert (await ready.names.stat(OPERATOR, p("/d/f"))).version > first.version


async def test_preconditions_hold_at_the_commit_too(ready: Catalog) -> None:
    absent = Precondition(if_absent=True)
    upload, wanted = await begin(ready, "/d/f", "a", condition=absent)
    entry = await write(ready, "/d/f", "b")
    with pytest.raises(ConflictError):
        await ready.uploads.commit(OPERATOR, upload.id, [extent(wanted[0])], receipts(upload), 10)
    await write(ready, "/d/f", "c", condition=Precondition(if_version=entry.version))
    with pytest.raises(ConflictError):
        await write(ready, "/d/f", "e", condition=Precondition(if_version=entry.version))


async def test_a_grant_taken_away_stops_an_open_upload(ready: Catalog) -> None:
    bob = user("bob")
    given = await grant(ready, bob, "/d", 2)
    upload, wanted = await begin(ready, "/d/f", "a", who=bob)
    await ready.grants.remove(OPERATOR, given)
    with pytest.raises(PermissionDeniedError) as refused:
        await ready.uploads.commit(bob, upload.id, [extent(wanted[0])], receipts(upload), 10)
    assert refused.value.concerns is not None
    assert refused.value.concerns[0] == "write"


async def test_uploads_belong_to_whoever_opened_them(ready: Catalog) -> None:
    bob = user("bob")
    await grant(ready, bob, "/d", 3)
    upload, _ = await begin(ready, "/d/f", "a")
    with pytest.raises(NotFoundError):
        await ready.uploads.get(bob, upload.id, from_offset=0, limit=0)
    await ready.uploads.abort(bob, upload.id)
    await ready.uploads.get(OPERATOR, upload.id, from_offset=0, limit=0)


async def test_uploads_survive_a_restart_and_expire(
    ready: Catalog, engines: Engines, clock: ManualClock
) -> None:
    upload, wanted = await begin(ready, "/d/f", "a")
    late, _ = await begin(ready, "/d/g", "b")
    await engines.close()
    again = await engines.open()
    await again.uploads.commit(OPERATOR, upload.id, [extent(wanted[0])], receipts(upload), 10)
    clock.advance(engines.settings.upload_life_s + 1)
    await again.upkeep.expire()
    with pytest.raises(NotFoundError):
        await again.uploads.allocate(OPERATOR, late.id, [intent("b")], place_on(*NODES))
    doomed = await again.collection.claim(100, 0)
    assert {key.chunk for _, key in doomed} == {chunk("b")}


async def test_a_file_needs_a_parent_folder_in_a_datastore(ready: Catalog) -> None:
    with pytest.raises(NotFoundError, match="Parent directory does not exist"):
        await begin(ready, "/d/none/f", "a")
    with pytest.raises(UsageError):
        await begin(ready, "/f", "a")
    await write(ready, "/d/file", "a")
    with pytest.raises(ConflictError):
        await begin(ready, "/d/file/below", "a")
    with pytest.raises(ConflictError):
        await ready.names.make_directory(OPERATOR, p("/d/file"), parents=True)


async def test_too_much_metadata_is_refused(ready: Catalog) -> None:
    big = Attributes(metadata={"k": "v" * 20_000})
    with pytest.raises(UsageError):
        await ready.uploads.open(OPERATOR, p("/d/f"), big, ANY, [], place_on(*NODES))


async def test_concurrent_changes_share_commits_and_all_count(ready: Catalog) -> None:
    before = (await ready.restores.position()).sequence
    await asyncio.gather(*(write(ready, f"/d/f{number}", f"c{number}") for number in range(60)))
    assert (await ready.figures.totals(None, frozenset(NODES))).files == 60
    assert (await ready.restores.position()).sequence - before < 60


async def test_a_failing_change_leaves_its_neighbours_alone(ready: Catalog) -> None:
    results = await asyncio.gather(
        write(ready, "/d/good", "a"),
        write(ready, "/nowhere/bad", "b"),
        write(ready, "/d/good2", "c"),
        return_exceptions=True,
    )
    assert [isinstance(item, NotFoundError) for item in results] == [False, True, False]


async def test_deduplication_counts_no_copy_on_a_node_that_is_gone(ready: Catalog) -> None:
    await write(ready, "/d/f", "a", copies=2)
    held = {copy.node for copy in await ready.copies.stored(chunk("a"))}
    absent = frozenset(list(held)[:1])
    upload = await ready.uploads.open(
        OPERATOR, p("/d/g"), Attributes(), ANY, [intent("a")], place_on(NODES[3]), absent=absent
    )
    (allocation,) = upload.allocations
    assert not allocation.stored
    assert {copy.node for copy in allocation.held} == held - absent
    assert not absent & {copy.node for copy in allocation.targets}
    with pytest.raises(NotEnoughCopiesError):
        await ready.uploads.open(
            OPERATOR,
            p("/d/h"),
            Attributes(),
            ANY,
            [intent("a")],
            place_on(),
            absent=frozenset(held),
        )
