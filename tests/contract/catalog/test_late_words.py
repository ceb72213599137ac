"""Words that come late: receipts from before a loss, lies in a write that fails, copies on probation."""

from __future__ import annotations

import dataclasses

import pytest

from collective.catalog.interface import Catalog
from collective.core.clock import ManualClock
from collective.core.errors import ConflictError, NotEnoughCopiesError
from collective.core.ids import NodeId, SpiffeId
from collective.model.copies import CopyKey
from collective.model.nodes import NodeRecord, Standing
from collective.model.rights import Right
from tests.contract.catalog.test_giving_up import (
    A,
    B,
    C,
    D,
    deletes,
    put_on_probation,
    repair,
    stored,
)
from tests.contract.catalog.world import (
    DOMAIN,
    NODES,
    OPERATOR,
    answer,
    begin,
    chunk,
    claim,
    confirm,
    enrol,
    extent,
    grant,
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
    await write(catalog, "/d/f", "a")
    return catalog


async def lose(catalog: Catalog, *nodes: NodeId) -> None:
    for node in nodes:
        await catalog.copies.compare_inventory(node, [], after=b"", last=True)


async def test_a_receipt_from_before_a_loss_brings_no_copy_back(ready: Catalog) -> None:
    """Somebody else who knows the content keeps what the nodes signed until they have lost it."""
    await grant(ready, user("eve"), "/d/e", Right.READ | Right.WRITE)
    upload, wanted = await begin(ready, "/d/e", "a", who=user("eve"))
    signed = receipts(upload)
    await lose(ready, A, B)
    await ready.uploads.record_extents(
        user("eve"), upload.id, [extent(one) for one in wanted], signed
    )
    assert await stored(ready) == {C}


async def test_who_writes_the_same_after_a_loss_has_new_copies_made(ready: Catalog) -> None:
    """A missing or doubted copy is not waited for: its node gets another one, and keeps the old one."""
    before = {copy.node: copy.generation for copy in await ready.copies.stored(chunk("a"))}
    await lose(ready, A, B)
    back = [CopyKey(chunk("a"), before[A], 26)]
    await ready.copies.compare_inventory(A, back, after=b"", last=True)
    assert await ready.figures.copies_in_doubt() == (1, 0), (
        "what A has is doubted, what B had is missing"
    )
    await write(ready, "/d/again", "a")
    now = {copy.node: copy.generation for copy in await ready.copies.stored(chunk("a"))}
    assert now.keys() == {A, B, C}
    assert now[A] != before[A]
    assert now[B] != before[B]
    assert await deletes(ready) == []


async def test_a_node_that_lies_in_a_write_that_fails_is_doubted(ready: Catalog) -> None:
    upload, wanted = await begin(ready, "/d/new", "b")
    lies = [
        one if one.node == C else dataclasses.replace(one, stored_length=7)
        for one in receipts(upload)
    ]
    with pytest.raises(NotEnoughCopiesError):
        await ready.uploads.commit(OPERATOR, upload.id, [extent(one) for one in wanted], lies, 10)
    standings = {record.node: record.standing for record in await ready.nodes.list()}
    assert standings[A] is standings[B] is Standing.DOUBTED
    assert standings[C] is Standing.APPROVED


async def test_a_removal_that_waits_for_copies_on_probation_names_their_nodes(
    catalog: Catalog, clock: ManualClock
) -> None:
    """Copies on probation let no other go, so waiting alone would never help."""
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a", nodes=(A, B, C))
    await catalog.nodes.add(NodeRecord(NodeId("n5"), None, 1 << 40, 0, 0, ("127.0.0.1:1",), 0))
    await put_on_probation(catalog, D)
    await catalog.nodes.drain(OPERATOR, A, draining=True)
    for task in await claim(catalog, 9, place_on(D), frozenset(NODES), frozenset()):
        await catalog.repair.finish(task, answer(task))
    await repair(catalog)
    clock.advance(4000)
    await confirm(catalog)
    identity = SpiffeId.node(DOMAIN, A)
    with pytest.raises(ConflictError, match="collective node approve n4"):
        await catalog.nodes.remove(OPERATOR, A, identity, force=False)
    await catalog.nodes.approve(OPERATOR, [D], even_doubted=False)
    clock.advance(4000)
    await confirm(catalog)
    await catalog.nodes.remove(OPERATOR, A, identity, force=False)


async def test_a_drain_ends_though_a_copy_is_on_probation_where_approved_nodes_have_room(
    catalog: Catalog, clock: ManualClock
) -> None:
    await enrol(catalog, 4)
    other = NodeId("n5")
    await catalog.nodes.add(NodeRecord(other, None, 1 << 40, 0, 0, ("127.0.0.1:1",), 0))
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    await put_on_probation(catalog, D)
    await write(catalog, "/d/f", "a", nodes=(A, B, D))
    await catalog.nodes.drain(OPERATOR, A, draining=True)
    everybody = frozenset((*NODES, other))
    for _ in range(10):
        for task in await claim(catalog, 99, place_on(C, other), everybody, frozenset()):
            await catalog.repair.finish(task, answer(task))
        clock.advance(4000)
        await confirm(catalog, everybody)
    assert {B, C, other} <= await stored(catalog)
    await catalog.nodes.remove(OPERATOR, A, SpiffeId.node(DOMAIN, A), force=False)
