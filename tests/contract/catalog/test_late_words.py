"""Words that come late: receipts from before a loss, lies in a write that fails, a future shown meanwhile."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from collective.catalog.interface.values import Settled
from collective.catalog.sqlite import SqliteCatalog, collection, rows
from collective.catalog.sqlite.adoption import AdoptionPart
from collective.core.clock import ManualClock
from collective.core.errors import ConflictError, NotEnoughCopiesError
from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId
from collective.model.copies import CopyKey
from collective.model.nodes import NodeRecord, Standing
from collective.model.rights import Right
from tests.contract.catalog.test_copies import answer
from tests.contract.catalog.test_giving_up import A, B, C, D, deletes, empty, repair, stored
from tests.contract.catalog.world import (
    DOMAIN,
    NODES,
    OPERATOR,
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
async def ready(catalog: SqliteCatalog) -> SqliteCatalog:
    await enrol(catalog, 4)
    await catalog.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a")
    return catalog


async def lose(catalog: SqliteCatalog, *nodes: NodeId) -> None:
    for node in nodes:
        await catalog.compare_inventory(node, [], after=b"", last=True)


async def test_a_receipt_from_before_a_loss_brings_no_copy_back(ready: SqliteCatalog) -> None:
    """Somebody else who knows the content keeps what the nodes signed until they have lost it."""
    await grant(ready, user("eve"), "/d/e", Right.READ | Right.WRITE)
    upload, wanted = await begin(ready, "/d/e", "a", who=user("eve"))
    signed = receipts(upload)
    await lose(ready, A, B)
    await ready.record_extents(user("eve"), upload.id, [extent(one) for one in wanted], signed)
    assert await stored(ready) == {C}


async def test_nor_does_the_answer_of_a_repair(ready: SqliteCatalog) -> None:
    await lose(ready, A)
    (task,) = await claim(ready, 9, place_on(A), frozenset(NODES), frozenset())
    assert task.target.node == A
    await ready._engine.change(lambda tx: tx.run("UPDATE copies SET state = 2 WHERE state = 0"))
    await ready.finish_repair(task, answer(task))
    assert await stored(ready) == {B, C}


async def test_who_writes_the_same_after_a_loss_has_new_copies_made(ready: SqliteCatalog) -> None:
    """A missing or doubted copy is not waited for: its node gets another one, and keeps the old one."""
    before = {copy.node: copy.generation for copy in await ready.copies_of(chunk("a"))}
    await lose(ready, A, B)
    await ready._engine.change(
        lambda tx: tx.run("UPDATE copies SET state = 3 WHERE state = 2 AND node = 1")
    )
    await write(ready, "/d/again", "a")
    now = {copy.node: copy.generation for copy in await ready.copies_of(chunk("a"))}
    assert now.keys() == {A, B, C}
    assert now[A] != before[A]
    assert now[B] != before[B]
    assert await deletes(ready) == []


async def test_a_node_that_lies_in_a_write_that_fails_is_doubted(ready: SqliteCatalog) -> None:
    upload, wanted = await begin(ready, "/d/new", "b")
    lies = [
        one if one.node == C else dataclasses.replace(one, stored_length=7)
        for one in receipts(upload)
    ]
    with pytest.raises(NotEnoughCopiesError):
        await ready.commit_upload(OPERATOR, upload.id, [extent(one) for one in wanted], lies, 10)
    standings = {record.node: record.standing for record in await ready.nodes()}
    assert standings[A] is standings[B] is Standing.DOUBTED
    assert standings[C] is Standing.APPROVED


async def test_a_future_that_is_shown_while_another_catalogue_is_adopted_is_not_confirmed(
    ready: SqliteCatalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await empty(ready)
    clock.advance(4000)
    assert Settled.DELETED in await confirm(ready)
    position = await ready.position()
    await ready.observe_position(dataclasses.replace(position, catalog_id="f" * 32))
    later = dataclasses.replace(position, sequence=position.sequence + 1_000_000)

    async def under_way(self: AdoptionPart) -> None:
        del self

    with monkeypatch.context() as observing:  # shown after adoption had looked, and guarded by half
        observing.setattr(AdoptionPart, "_guard_again", under_way)
        await ready.observe_position(later)
        ready._engine.restored = False
        with pytest.raises(ConflictError, match="just shown"):
            await ready.adopt(OPERATOR, None, obeyed=frozenset(), claims=())
    ready._engine.restored = True
    assert await deletes(ready) == []
    await ready.adopt(OPERATOR, None, obeyed=frozenset(), claims=())
    assert await deletes(ready) == []


async def test_a_removal_that_waits_for_copies_on_probation_names_their_nodes(
    catalog: SqliteCatalog, clock: ManualClock
) -> None:
    """Copies on probation let no other go, so waiting alone would never help."""
    await enrol(catalog, 4)
    await catalog.make_directory(OPERATOR, p("/d"), parents=False)
    await write(catalog, "/d/f", "a", nodes=(A, B, C))
    await catalog.add_node(NodeRecord(NodeId("n5"), None, 1 << 40, 0, 0, ("127.0.0.1:1",), 0))
    await catalog._engine.change(
        lambda tx: tx.run("UPDATE nodes SET standing = 'probation' WHERE name = ?", D)
    )
    await catalog.drain_node(OPERATOR, A, draining=True)
    for task in await claim(catalog, 9, place_on(D), frozenset(NODES), frozenset()):
        await catalog.finish_repair(task, answer(task))
    await repair(catalog)
    clock.advance(4000)
    await confirm(catalog)
    identity = SpiffeId.node(DOMAIN, A)
    with pytest.raises(ConflictError, match="collective node approve n4"):
        await catalog.remove_node(OPERATOR, A, identity, force=False)
    await catalog.approve_nodes(OPERATOR, [D], even_doubted=False)
    clock.advance(4000)
    await confirm(catalog)
    await catalog.remove_node(OPERATOR, A, identity, force=False)


async def test_a_drain_ends_though_a_copy_is_on_probation_where_approved_nodes_have_room(
    catalog: SqliteCatalog, clock: ManualClock
) -> None:
    await enrol(catalog, 4)
    other = NodeId("n5")
    await catalog.add_node(NodeRecord(other, None, 1 << 40, 0, 0, ("127.0.0.1:1",), 0))
    await catalog.make_directory(OPERATOR, p("/d"), parents=False)
    await catalog._engine.change(
        lambda tx: tx.run("UPDATE nodes SET standing = 'probation' WHERE name = ?", D)
    )
    await write(catalog, "/d/f", "a", nodes=(A, B, D))
    await catalog.drain_node(OPERATOR, A, draining=True)
    everybody = frozenset((*NODES, other))
    for _ in range(10):
        for task in await claim(catalog, 99, place_on(C, other), everybody, frozenset()):
            await catalog.finish_repair(task, answer(task))
        clock.advance(4000)
        await confirm(catalog, everybody)
    assert {B, C, other} <= await stored(catalog)
    await catalog.remove_node(OPERATOR, A, SpiffeId.node(DOMAIN, A), force=False)


async def test_what_is_quarantined_on_a_removed_node_is_forgotten(
    ready: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "CLEARED_ROWS", 2)
    page = [CopyKey(ChunkId(bytes([number]) * 32), Generation(7), 26) for number in range(5)]
    for node in (C, D):
        await ready.compare_inventory(node, page, after=b"", last=True)
    await ready.remove_node(OPERATOR, D, SpiffeId.node(DOMAIN, D), force=True)
    for _ in range(3):
        await ready.claim_collection(9, 0)
    quarantined = {record.node: record.quarantined_bytes for record in await ready.nodes()}
    assert quarantined[C] == 5 * 26

    def rest(tx: Any) -> Any:
        return tx.one(
            "SELECT (SELECT count(*) FROM quarantine), sum(quarantined_copies) FROM nodes"
        )

    assert tuple(await ready._engine.change(rest)) == (5, 5)


async def test_very_many_uploads_are_checked_again_without_marking_each(
    ready: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MARKED_AT_ONCE", 3)
    made = [await begin(ready, f"/d/u{number}", "a") for number in range(4)]
    for upload, wanted in made:
        await ready.record_extents(
            OPERATOR, upload.id, [extent(one) for one in wanted], receipts(upload)
        )

    def behind(tx: Any) -> Any:
        return tx.value(
            "SELECT count(*) FROM uploads, state WHERE uploads.state = 0"
            " AND checked_epoch <> trust_epoch"
        )

    assert await ready._engine.change(behind) == 0
    await lose(ready, A)
    assert await ready._engine.change(behind) == 4
