"""No enrolment wins a majority by itself: who is approved, who is on probation, and what doubt does."""

from __future__ import annotations

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import IssuedCertificate
from collective.core.clock import ManualClock
from collective.core.errors import (
    NoSpaceError,
    NotEnoughCopiesError,
    NotFoundError,
    PermissionDeniedError,
)
from collective.core.ids import NodeId, SpiffeId
from collective.model.copies import VerifiedReceipt
from collective.model.nodes import NodeRecord, Standing
from collective.model.people import Invite, InviteKind
from collective.model.writing import Attributes
from collective.placement.healing import held_by_standing
from collective.placement.node_choice import Held
from tests.contract.catalog.engines import Engines
from tests.contract.catalog.world import (
    ANY,
    DOMAIN,
    NODES,
    OPERATOR,
    begin,
    chunk,
    claim,
    data_of,
    enrol,
    facts_of,
    grant,
    health,
    look,
    p,
    place_on,
    user,
    write,
)

DAY_S = 86400.0


async def join(
    catalog: Catalog, clock: ManualClock, name: str, *, approves: bool = False
) -> NodeRecord:
    """Redeem a fresh code as the node ``name``."""
    stored = await catalog.codes.add(OPERATOR, code_for(name, clock, approves=approves))
    await catalog.codes.redeem(stored.id, name.encode().ljust(32, b"."), issued(name))
    return await node(catalog, name)


def code_for(name: str, clock: ManualClock, *, approves: bool = False) -> Invite:
    now_s = clock.wall_s()
    return Invite(
        f"code-{name}-{now_s}",
        InviteKind.NODE,
        b"v" * 32,
        1,
        1,
        now_s + 60,
        OPERATOR.principal,
        approves=approves,
    )


def issued(name: str) -> IssuedCertificate:
    identity = SpiffeId.node(DOMAIN, NodeId(name))
    return IssuedCertificate(identity, f"serial-{name}", 10**15, b"")


async def node(catalog: Catalog, name: str) -> NodeRecord:
    return next(record for record in await catalog.nodes.list() if record.node == name)


async def test_nodes_that_enrol_before_the_first_file_are_approved_and_those_after_it_are_not(
    catalog: Catalog, clock: ManualClock
) -> None:
    first = await join(catalog, clock, "first")
    assert (first.standing, first.is_founder, first.is_new) == (Standing.APPROVED, True, True)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await enrol(catalog)
    assert (await join(catalog, clock, "second")).standing is Standing.APPROVED, "no file is there"
    await write(catalog, "/d/f", "a")
    third = await join(catalog, clock, "third")
    assert (third.standing, third.is_founder, third.is_new) == (Standing.PROBATION, False, True)
    assert "code-third" in third.standing_reason
    assert (await node(catalog, "first")).standing is Standing.APPROVED


async def test_a_removed_first_file_does_not_begin_founding_again(
    catalog: Catalog, clock: ManualClock, engines: Engines
) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a")
    await catalog.names.remove(OPERATOR, p("/d/f"), recursive=False, condition=ANY)
    await engines.close()
    assert (await join(await engines.open(), clock, "late")).standing is Standing.PROBATION


async def test_founding_ends_after_a_day_also_over_restarts(
    catalog: Catalog, clock: ManualClock, engines: Engines
) -> None:
    clock.advance(DAY_S / 2)
    assert (await join(catalog, clock, "early")).standing is Standing.APPROVED
    await engines.close()
    again = await engines.open()
    clock.advance(DAY_S / 2)
    assert (await join(again, clock, "late")).standing is Standing.PROBATION


async def test_a_code_made_for_one_node_approves_it(catalog: Catalog, clock: ManualClock) -> None:
    clock.advance(2 * DAY_S)
    single = await join(catalog, clock, "single", approves=True)
    assert (single.standing, single.is_new, single.is_founder) == (Standing.APPROVED, True, False)
    assert (await join(catalog, clock, "file")).standing is Standing.PROBATION


async def test_a_node_on_probation_that_joins_again_by_such_a_code_is_approved_a_doubted_one_is_not(
    catalog: Catalog, clock: ManualClock
) -> None:
    clock.advance(2 * DAY_S)
    for name in ("honest", "liar"):
        await join(catalog, clock, name)
    await catalog.nodes.doubt(NodeId("liar"), "it lied")
    clock.advance(1)
    assert (await join(catalog, clock, "honest", approves=True)).standing is Standing.APPROVED
    assert (await join(catalog, clock, "liar", approves=True)).standing is Standing.DOUBTED


async def test_approving_ends_probation_and_notes_that_a_node_was_seen(
    catalog: Catalog, clock: ManualClock
) -> None:
    clock.advance(2 * DAY_S)
    await join(catalog, clock, "a", approves=True)
    await join(catalog, clock, "b")
    done = await catalog.nodes.approve(OPERATOR, [NodeId("a"), NodeId("b")], even_doubted=False)
    assert [(one.was, one.was_new) for one in done] == [
        (Standing.APPROVED, True),
        (Standing.PROBATION, True),
    ]
    for name in ("a", "b"):
        found = await node(catalog, name)
        assert (found.standing, found.standing_reason, found.is_new) == (
            Standing.APPROVED,
            "",
            False,
        )
    again = await catalog.nodes.approve(OPERATOR, [NodeId("b")], even_doubted=False)
    assert [(one.was, one.was_new) for one in again] == [(Standing.APPROVED, False)]
    audit = await catalog.audit.list(since_ms=0, limit=99)
    assert [(row.target, row.detail) for row in audit if row.action == "node-approve"] == [
        ("a", "was approved"),
        ("b", "was probation"),
    ]


async def test_only_an_admin_approves_and_all_or_none(catalog: Catalog, clock: ManualClock) -> None:
    clock.advance(2 * DAY_S)
    await join(catalog, clock, "a")
    with pytest.raises(PermissionDeniedError) as refused:
        await catalog.nodes.approve(user("bob"), [NodeId("a")], even_doubted=False)
    assert refused.value.concerns == ("node-approve", "a")
    with pytest.raises(NotFoundError):
        await catalog.nodes.approve(OPERATOR, [NodeId("a"), NodeId("nobody")], even_doubted=False)
    assert (await node(catalog, "a")).standing is Standing.PROBATION
    await catalog.nodes.remove(
        OPERATOR, NodeId("a"), SpiffeId.node(DOMAIN, NodeId("a")), force=True
    )
    with pytest.raises(NotFoundError):
        await catalog.nodes.approve(OPERATOR, [NodeId("a")], even_doubted=False)


async def test_doubt_is_kept_told_once_and_cleared_to_what_was_before(
    catalog: Catalog, clock: ManualClock, engines: Engines
) -> None:
    clock.advance(2 * DAY_S)
    await join(catalog, clock, "new")
    await enrol(catalog, 1)
    for name in ("new", "n1"):
        assert await catalog.nodes.doubt(NodeId(name), "its answer to a challenge was wrong")
        assert not await catalog.nodes.doubt(NodeId(name), "another reason")
    await engines.close()
    again = await engines.open()
    for name, before in (("new", Standing.PROBATION), ("n1", Standing.APPROVED)):
        found = await node(again, name)
        assert found.standing is Standing.DOUBTED
        assert found.standing_reason == "its answer to a challenge was wrong"
        assert await again.nodes.clear_doubt(NodeId(name))
        assert not await again.nodes.clear_doubt(NodeId(name))
        assert (await node(again, name)).standing is before
    audit = await again.audit.list(since_ms=0, limit=99)
    rows = [row.action for row in audit if row.target == "new" and row.action.startswith("node-")]
    assert rows == ["node-doubt", "node-clear"]


async def test_a_heartbeats_figures_change_no_standing(
    catalog: Catalog, clock: ManualClock
) -> None:
    clock.advance(2 * DAY_S)
    stale = await join(catalog, clock, "a")
    await catalog.nodes.approve(OPERATOR, [NodeId("a")], even_doubted=False)
    await catalog.nodes.update([stale])
    assert (await node(catalog, "a")).standing is Standing.APPROVED


async def test_copies_on_a_doubted_node_are_made_elsewhere_and_not_given_up(
    catalog: Catalog,
) -> None:
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a")
    await catalog.nodes.doubt(NODES[0], "it lied")
    usable, gone = frozenset(NODES), frozenset(NODES[:1])
    (task,) = await claim(catalog, 9, place_on(NODES[3]), usable, gone)
    assert task.target.node == NODES[3]
    receipt = VerifiedReceipt(
        task.chunk, task.target.node, task.target.generation, task.stored_length, task.repair_id
    )
    await catalog.repair.finish(task, receipt)
    assert {copy.node for copy in await catalog.copies.stored(chunk("a"))} == set(NODES)
    assert await claim(catalog, 9, place_on(NODES[3]), usable, gone) == []
    assert await catalog.collection.claim(9, 0) == []
    assert {copy.node for copy in await catalog.copies.stored(chunk("a"))} == set(NODES)


async def test_copies_on_a_doubted_node_count_as_short_and_can_be_read(
    catalog: Catalog,
) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a")
    await catalog.nodes.doubt(NODES[0], "it lied")
    view = await catalog.reads.open(OPERATOR, p("/d/f"), offset=0, length=0, if_version=0, batch=9)
    told = [(copy.node, copy.is_doubted) for copy in data_of(view)[0].copies]
    assert told == [(NODES[1], False), (NODES[2], False), (NODES[0], True)]
    for name in NODES[1:3]:
        await catalog.nodes.doubt(name, "it lied")
    reader = user("reader")
    await grant(catalog, reader, "/d", 1)
    for who in (None, reader):
        totals = await health(catalog, frozenset(NODES), who)
        assert (totals.chunks, totals.under_replicated, totals.unavailable) == (1, 1, 0)
        totals = await health(catalog, frozenset(), who)
        assert (totals.under_replicated, totals.unavailable) == (1, 1)


async def test_placement_is_told_the_copies_that_there_are_by_standing(
    catalog: Catalog, clock: ManualClock
) -> None:
    await enrol(catalog, 3)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a", nodes=NODES[:2])
    clock.advance(2 * DAY_S)
    facts = await facts_of(catalog, frozenset(NODES), frozenset())
    (short,) = await look(catalog, facts)
    assert held_by_standing(short, facts) == Held(3, approved=2, on_probation=0)


async def test_a_file_that_was_refused_ends_no_founding(
    catalog: Catalog, clock: ManualClock
) -> None:
    path = p("/q")
    await catalog.datastores.create(OPERATOR, path, copies=0, quota_bytes=1, owner=None)
    with pytest.raises(NoSpaceError):
        await catalog.names.make_link(OPERATOR, p("/q/link"), b"there", Attributes(), ANY)
    assert (await join(catalog, clock, "first")).standing is Standing.APPROVED


async def test_a_node_that_joined_before_the_first_file_is_approved_though_a_change_failed_beside(
    catalog: Catalog, clock: ManualClock, engines: Engines
) -> None:
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await enrol(catalog)
    code = await catalog.codes.add(OPERATOR, code_for("early", clock))
    async with engines.held_up(catalog) as ask:
        joining = await ask(
            catalog.codes.redeem(code.id, b"early".ljust(32, b"."), issued("early"))
        )
        link = await ask(catalog.names.make_link(OPERATOR, p("/d/l"), b"t", Attributes(), ANY))
        upload = await ask(begin(catalog, "/d/g", "b", nodes=()))
    await joining
    await link
    with pytest.raises(NotEnoughCopiesError):
        await upload
    assert (await node(catalog, "early")).standing is Standing.APPROVED
