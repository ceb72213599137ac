"""A catalogue that takes another one's place, or comes back from a backup: nothing is deleted by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from collective.catalog.interface import Catalog
from collective.core.clock import ManualClock
from collective.core.errors import ConflictError, NotFoundError, PermissionDeniedError
from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId, StoreUuid
from collective.model.copies import CopyKey
from collective.model.nodes import NodeClaim, Position, Standing
from collective.model.people import Invite, InviteKind
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import (
    DOMAIN,
    NODES,
    OPERATOR,
    chunk,
    enrol,
    p,
    user,
    write,
)

OLD = Position("f" * 32, 9, 9)
WEEK_S = 7 * 86400.0


def claim(name: str, obeys: Position | None = OLD) -> NodeClaim:
    return NodeClaim(
        identity=SpiffeId.node(DOMAIN, NodeId(name)),
        key_digest=name.encode().ljust(32, b"."),
        serial=f"serial-{name}",
        expires_ms=10**15,
        store_uuid=StoreUuid("ab" * 16),
        capacity_bytes=100,
        used_bytes=7,
        chunk_count=3,
        addresses=("127.0.0.1:1",),
        obeys=obeys,
    )


def foreign(*texts: str, generation: int = 7) -> list[CopyKey]:
    """Copies as another catalogue, which counted from 1, gave them out."""
    found = [CopyKey(chunk(text), Generation(generation), 26) for text in texts]
    return sorted(found, key=lambda copy: copy.chunk)


async def told(catalog: Catalog, copies: Sequence[CopyKey]) -> Sequence[CopyKey]:
    return await catalog.copies.compare_inventory(NODES[0], copies, after=b"", last=True)


async def held(catalog: Catalog) -> int:
    record = next(one for one in await catalog.nodes.list() if one.node == NODES[0])
    return record.quarantined_bytes


async def test_a_new_catalogue_begins_at_another_generation_than_any_other(
    catalog: Catalog, engines: Engines
) -> None:
    other = await engines.beside(seed=8).open()
    found = []
    for one in (catalog, other):
        await enrol(one)
        await one.names.make_directory(OPERATOR, p("/d"), parents=False)
        await write(one, "/d/f", "a")
        found.append({copy.generation for copy in await one.copies.stored(chunk("a"))})
    assert not found[0] & found[1]
    assert min(min(some) for some in found) > 1 << 32


async def test_another_catalogues_position_makes_nothing_restored_and_ends_no_code(
    catalog: Catalog, clock: ManualClock
) -> None:
    """Finding 6: the first old node that returned voided the fresh join code for all others."""
    now_s = clock.wall_s()
    code = Invite("c1", InviteKind.NODE, b"v" * 32, 9, 9, now_s + 60, OPERATOR.principal)
    await catalog.codes.add(OPERATOR, code)
    assert not await catalog.restores.observe(OLD)
    assert not await catalog.restores.is_restored()
    assert (await catalog.codes.get("c1")).state(now_s) == "open"
    assert not await catalog.restores.is_replaced(NODES[0], OLD)


async def test_adopting_takes_the_place_of_what_nodes_obeyed_and_enrols_those_that_wait(
    catalog: Catalog,
) -> None:
    await enrol(catalog, 1)
    await catalog.restores.observe(OLD)
    done = await catalog.restores.adopt(
        OPERATOR, frozenset({NodeId("attic")}), obeyed={NODES[0]: OLD}, claims=[claim("attic")]
    )
    assert (done.enrolled, done.replaced, done.confirmed) == ((NodeId("attic"),), 1, False)
    assert await catalog.restores.is_replaced(NODES[0], OLD)
    record = next(one for one in await catalog.nodes.list() if one.node == "attic")
    assert (record.standing, record.is_new) == (Standing.APPROVED, False)
    assert (record.store_uuid, record.certificate_serial) == ("ab" * 16, "serial-attic")
    assert await catalog.certificates.key_of("serial-attic") == claim("attic").key_digest
    assert await catalog.codes.has_redeemed(claim("attic").identity, claim("attic").key_digest)
    with pytest.raises(ConflictError):
        await catalog.nodes.bind_store(NodeId("attic"), StoreUuid("cd" * 16))
    with pytest.raises(ConflictError, match="nothing to adopt"):
        await catalog.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    rows = [row for row in await catalog.audit.list(since_ms=0, limit=99) if "adopt" in row.action]
    assert {(row.action, row.target) for row in rows} == {
        ("adopt", OLD.catalog_id),
        ("node-adopt", "attic"),
    }
    assert all(row.actor == str(OPERATOR.principal) for row in rows)


async def test_adopting_all_enrols_those_that_wait_on_probation(catalog: Catalog) -> None:
    """Strangers that the former catalogue did not approve wait beside the member's own nodes."""
    await catalog.restores.observe(OLD)
    await catalog.restores.adopt(OPERATOR, None, obeyed={NODES[0]: OLD}, claims=[claim("attic")])
    record = next(one for one in await catalog.nodes.list() if one.node == "attic")
    assert (record.standing, record.standing_reason) == (
        Standing.PROBATION,
        "it was adopted with all others, and not by its name",
    )


async def test_adopting_all_takes_the_place_also_of_what_absent_nodes_obey(
    catalog: Catalog,
) -> None:
    await catalog.restores.observe(OLD)
    done = await catalog.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    assert done.replaced == 1
    assert await catalog.restores.is_replaced(NODES[0], OLD)


async def test_only_an_admin_adopts_and_a_removed_node_is_not_enrolled_again(
    catalog: Catalog,
) -> None:
    with pytest.raises(PermissionDeniedError):
        await catalog.restores.adopt(user("bob"), None, obeyed={NODES[0]: OLD}, claims=())
    await enrol(catalog, 1)
    await catalog.nodes.remove(OPERATOR, NODES[0], SpiffeId.node(DOMAIN, NODES[0]), force=True)
    with pytest.raises(ConflictError):
        await catalog.restores.adopt(OPERATOR, None, obeyed={}, claims=[claim(NODES[0])])
    assert next(iter(await catalog.nodes.list())).removed


async def test_copies_of_another_life_are_kept_and_our_own_orphans_are_deleted(
    catalog: Catalog,
) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "ours")
    (ours,) = [copy for copy in await catalog.copies.stored(chunk("ours")) if copy.node == NODES[0]]
    known = CopyKey(chunk("ours"), ours.generation, 26)
    orphan = CopyKey(chunk("orphan"), ours.generation, 26)
    page = sorted([known, orphan, *foreign("x", "y")], key=lambda copy: copy.chunk)
    assert await told(catalog, page) == [orphan]
    assert await held(catalog) == 2 * 26
    assert await told(catalog, page) == []
    assert await held(catalog) == 2 * 26, "an inventory told again counts nothing twice"
    assert [key for _, key in await catalog.collection.claim(99, 0)] == [orphan]


async def test_a_quarantined_copy_that_is_gone_from_its_node_is_forgotten(
    catalog: Catalog,
) -> None:
    await enrol(catalog)
    await told(catalog, foreign("x", "y", "z"))
    await told(catalog, foreign("y"))
    assert await held(catalog) == 26
    await told(catalog, [])
    assert await held(catalog) == 0


async def test_quarantined_copies_go_by_a_second_command_after_seven_days(
    catalog: Catalog, clock: ManualClock
) -> None:
    await enrol(catalog)
    await catalog.restores.observe(OLD)
    await told(catalog, foreign("x", "y"))
    clock.advance(WEEK_S)
    await catalog.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    with pytest.raises(ConflictError, match="seven days"):
        await catalog.quarantine.discard(OPERATOR, None)
    clock.advance(WEEK_S - 1)
    with pytest.raises(ConflictError, match="seven days"):
        await catalog.quarantine.discard(OPERATOR, [NODES[0]])
    assert await catalog.collection.claim(99, 0) == [], "time alone deletes nothing"
    clock.advance(1)
    await told(catalog, foreign("x", "y", "young"))
    with pytest.raises(NotFoundError):
        await catalog.quarantine.discard(OPERATOR, [NodeId("nobody")])
    with pytest.raises(PermissionDeniedError):
        await catalog.quarantine.discard(user("bob"), None)
    done = await catalog.quarantine.discard(OPERATOR, None)
    assert [(one.node, one.copies, one.size_bytes) for one in done if one.copies] == [
        (NODES[0], 2, 52)
    ]
    while await catalog.quarantine.discard_step():
        pass
    assert await held(catalog) == 26, "what was found later stays"
    gone = {key.chunk for _, key in await catalog.collection.claim(99, 0)}
    assert gone == {chunk("x"), chunk("y")}
    await told(catalog, foreign("x", "y", "young"))
    assert await held(catalog) == 26, "what is being deleted is not kept anew"
    rows = [
        row
        for row in await catalog.audit.list(since_ms=0, limit=99)
        if row.action == "node-discard"
    ]
    assert [(row.target, row.detail) for row in rows] == [(NODES[0], "2 copies, 52 bytes")]


async def test_a_node_that_is_not_approved_has_a_figure_in_quarantine_and_no_rows(
    catalog: Catalog, clock: ManualClock
) -> None:
    """A stranger invents as many copies as it likes; they fill no disk."""
    await enrol(catalog)
    await catalog.nodes.doubt(NODES[0], "a test says so")
    for _ in range(2):
        await told(catalog, foreign("x", "y"))
        assert await held(catalog) == 2 * 26, "an inventory told again counts nothing twice"
    clock.advance(WEEK_S)
    with pytest.raises(ConflictError, match="No copies are quarantined"):
        await catalog.quarantine.discard(OPERATOR, None)
    await catalog.nodes.clear_doubt(NODES[0])
    await told(catalog, foreign("x", "y"))
    assert await held(catalog) == 2 * 26
    clock.advance(WEEK_S)
    done = await catalog.quarantine.discard(OPERATOR, [NODES[0]])
    assert [one.copies for one in done] == [2]


async def test_quarantine_has_one_bound_over_all_nodes(
    catalog: Catalog, clock: ManualClock, engines: Engines
) -> None:
    engines.bound(Bound.QUARANTINED_COPIES, 3)
    await enrol(catalog)
    for node in NODES[:2]:
        await catalog.copies.compare_inventory(node, foreign("x", "y"), after=b"", last=True)
    assert [record.quarantined_bytes for record in await catalog.nodes.list()] == [52, 52, 0]
    clock.advance(WEEK_S)
    done = await catalog.quarantine.discard(OPERATOR, None)
    assert [one.copies for one in done] == [2, 1, 0]


async def test_quarantine_lists_a_few_copies_of_one_chunk_and_tells_the_bytes_of_the_others(
    catalog: Catalog, clock: ManualClock
) -> None:
    """A node that lies may invent any number, and what looks at the chunk would look at each."""
    await enrol(catalog)
    many = [copy for number in range(1, 51) for copy in foreign("x", generation=number)]
    for _ in range(2):
        await told(catalog, many)
        assert await held(catalog) == 50 * 26
    clock.advance(WEEK_S)
    done = await catalog.quarantine.discard(OPERATOR, [NODES[0]])
    assert [one.copies for one in done] == [32]


async def test_discarding_hands_over_in_bounded_steps(catalog: Catalog, clock: ManualClock) -> None:
    await enrol(catalog)
    await told(catalog, foreign(*(f"c{number}" for number in range(600))))
    clock.advance(WEEK_S)
    await catalog.quarantine.discard(OPERATOR, None)
    steps = 0
    while await catalog.quarantine.discard_step():
        steps += 1
    assert steps == 6, "128 four times, 88, and the end noted"
    assert await held(catalog) == 0


async def test_discarding_lets_every_copy_of_one_chunk_in_use_go(
    catalog: Catalog, clock: ManualClock, engines: Engines
) -> None:
    engines.bound(Bound.GUARDED_STRANGERS, 3)
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "x")
    (ours,) = [copy for copy in await catalog.copies.stored(chunk("x")) if copy.node == NODES[0]]
    many = [copy for number in range(1, 11) for copy in foreign("x", generation=number)]
    await told(catalog, [*many, CopyKey(chunk("x"), ours.generation, 26)])
    assert await held(catalog) == 10 * 26
    clock.advance(WEEK_S)
    await catalog.quarantine.discard(OPERATOR, None)
    while await catalog.quarantine.discard_step():
        pass
    assert await held(catalog) == 0
    assert await catalog.figures.copies_in_doubt() == (0, 10)


async def test_a_node_that_has_no_room_for_more_to_delete_holds_up_no_discard_of_another(
    catalog: Catalog, clock: ManualClock, engines: Engines
) -> None:
    await enrol(catalog)
    for node in NODES[:2]:
        await catalog.copies.compare_inventory(node, foreign("x", "y"), after=b"", last=True)
    clock.advance(WEEK_S)
    await catalog.quarantine.discard(OPERATOR, None)
    engines.bound(Bound.STRANGERS, 1)
    while await catalog.quarantine.discard_step():
        pass
    kept = [record.quarantined_bytes for record in await catalog.nodes.list()]
    assert kept == [26, 26, 0], "each has handed over what it has room for"


async def test_a_restored_catalogue_discards_nothing_before_it_is_adopted(
    catalog: Catalog, clock: ManualClock
) -> None:
    await enrol(catalog)
    await told(catalog, foreign("x"))
    ours = await catalog.restores.position()
    assert await catalog.restores.observe(replace(ours, sequence=ours.sequence + 1000))
    clock.advance(WEEK_S)
    with pytest.raises(ConflictError, match="restored"):
        await catalog.quarantine.discard(OPERATOR, None)
    with pytest.raises(ConflictError, match="node adopt --all"):
        await catalog.restores.adopt(OPERATOR, frozenset({NODES[0]}), obeyed={}, claims=())


async def test_what_a_lost_future_gave_out_is_kept_and_what_is_given_out_since_is_ours(
    catalog: Catalog,
) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "before")
    newest = max(copy.generation for copy in await catalog.copies.stored(chunk("before")))
    ours = await catalog.restores.position()
    await catalog.restores.observe(replace(ours, sequence=ours.sequence + 1000))
    await write(catalog, "/d/g", "after")
    since = min(copy.generation for copy in await catalog.copies.stored(chunk("after")))
    lost = [CopyKey(chunk("lost"), Generation(newest + 5), 26)]
    orphan = [CopyKey(chunk("orphan"), Generation(since), 26)]
    page = sorted([*lost, *orphan], key=lambda copy: copy.chunk)
    assert await told(catalog, page) == orphan
    assert await held(catalog) == 26


async def test_an_old_backup_beside_another_catalogue_gives_out_none_of_its_lost_generations(
    catalog: Catalog,
) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "before")
    newest = max(copy.generation for copy in await catalog.copies.stored(chunk("before")))
    await catalog.restores.observe(OLD)
    await write(catalog, "/d/g", "after")
    since = min(copy.generation for copy in await catalog.copies.stored(chunk("after")))
    assert since > newest + (1 << 31)
    assert await told(catalog, [CopyKey(ChunkId(b"\xff" * 32), Generation(newest + 1), 26)]) == []


async def test_a_node_ahead_without_proof_is_brought_back_and_no_number_follows_it(
    catalog: Catalog, engines: Engines
) -> None:
    """What it says may be a lie, so it counts for this one node and exactly what it said."""
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a")
    before = await catalog.restores.position()
    held = replace(before, epoch=(1 << 64) - 1, sequence=(1 << 64) - 1, life="ab" * 16)
    assert not await catalog.restores.is_replaced(NODES[0], held)
    done = await catalog.restores.adopt(
        OPERATOR, frozenset({NODES[0]}), obeyed={NODES[0]: held}, claims=()
    )
    assert (done.brought_back, done.replaced, done.confirmed) == ((NODES[0],), 0, False)
    assert (await catalog.restores.position()).epoch == before.epoch
    assert not await catalog.restores.is_restored()
    with pytest.raises(ConflictError, match="nothing to adopt"):
        await catalog.restores.adopt(OPERATOR, None, obeyed={NODES[0]: held}, claims=())
    await engines.close()
    catalog = await engines.open()
    assert await catalog.restores.is_replaced(NODES[0], held)
    assert not await catalog.restores.is_replaced(NODES[1], held), "nobody was asked about it"
    assert not await catalog.restores.is_replaced(
        NODES[0], replace(held, sequence=held.sequence - 1)
    )


async def test_the_word_that_brings_a_node_back_ends_once_it_shows_something_else(
    catalog: Catalog, engines: Engines
) -> None:
    await enrol(catalog)
    restores = catalog.restores
    before = await restores.position()
    held = replace(before, epoch=before.epoch + 2, life="ab" * 16)
    obeyed = dict.fromkeys(NODES[:2], held)
    await restores.adopt(OPERATOR, frozenset(obeyed), obeyed=obeyed, claims=())
    await restores.showed(NODES[0], held)
    assert await restores.is_replaced(NODES[0], held), "the answer may have been lost"
    await restores.showed(NODES[0], await restores.position())
    assert not await restores.is_replaced(NODES[0], held)
    assert await restores.is_replaced(NODES[1], held), "another node has shown nothing"
    await restores.showed(NODES[1], replace(held, sequence=held.sequence + 1))
    assert not await restores.is_replaced(NODES[1], held)
    await engines.close()
    restores = (await engines.open()).restores
    assert not any([await restores.is_replaced(node, held) for node in NODES[:2]])
    await restores.adopt(OPERATOR, frozenset(obeyed), obeyed=obeyed, claims=())
    assert await restores.is_replaced(NODES[0], held), "by another word"


async def test_the_word_that_brings_a_node_back_ends_with_the_node(catalog: Catalog) -> None:
    await enrol(catalog)
    before = await catalog.restores.position()
    held = replace(before, epoch=before.epoch + 2, life="ab" * 16)
    await catalog.restores.adopt(
        OPERATOR, frozenset({NODES[0]}), obeyed={NODES[0]: held}, claims=()
    )
    identity = SpiffeId.node(DOMAIN, NODES[0])
    await catalog.nodes.remove(OPERATOR, NODES[0], identity, force=True)
    assert not await catalog.restores.is_replaced(NODES[0], held)


async def test_what_a_node_that_is_brought_back_may_have_seen_is_left_out(catalog: Catalog) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a")
    given = {copy.generation for copy in await catalog.copies.stored(chunk("a"))}
    own = await catalog.restores.position()
    held = replace(own, epoch=own.epoch + 1, life="ab" * 16)
    await catalog.restores.adopt(OPERATOR, None, obeyed={NODES[0]: held}, claims=())
    lost = [CopyKey(chunk("lost"), Generation(max(given) + 1), 26)]
    assert await told(catalog, lost) == [], "it may be of a future that was lost"
    await write(catalog, "/d/g", "b")
    assert min({copy.generation for copy in await catalog.copies.stored(chunk("b"))}) > max(
        given
    ) + (1 << 31)


async def test_a_node_behind_or_at_this_catalogue_is_not_brought_back(catalog: Catalog) -> None:
    await enrol(catalog)
    own = await catalog.restores.position()
    for held in (own, replace(own, sequence=own.sequence - 1, life="ab" * 16)):
        with pytest.raises(ConflictError, match="nothing to adopt"):
            await catalog.restores.adopt(OPERATOR, None, obeyed={NODES[0]: held}, claims=())


async def test_an_adoption_that_is_refused_leaves_no_numbers_out(catalog: Catalog) -> None:
    """Else those of the lost future that it left out seemed to have been given out here."""
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a")
    given = [copy.generation for copy in await catalog.copies.stored(chunk("a"))]
    now = await catalog.restores.position()
    obeyed = {NODES[0]: replace(now, epoch=now.epoch + 1)}
    named = frozenset(NODES[:2])
    with pytest.raises(ConflictError):  # a node that is known by now
        await catalog.restores.adopt(OPERATOR, named, obeyed=obeyed, claims=[claim(NODES[1])])
    await catalog.restores.adopt(OPERATOR, named, obeyed=obeyed, claims=())
    [lost] = foreign("lost", generation=1 + max(given))
    assert list(await told(catalog, [lost])) == [], "it would be deleted"
    assert await held(catalog) == lost.stored_length
