"""What the machine found in the product, in the fewest acts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collective.core.ids import NodeId
from collective.model.copies import CopyState, VerifiedReceipt
from collective.model.nodes import Standing
from collective.model.rights import Right
from tests.contract.catalog.world import (
    NODES,
    OPERATOR,
    begin,
    chunk,
    claim,
    confirm,
    enrol,
    grant,
    p,
    place_on,
    user,
    write,
)
from tests.model.engine import Engine


async def _collect(engine: Engine) -> None:
    for _ in range(5):
        engine.clock.advance(3601)
        await engine.catalog.expire()
        for node, copy in await engine.catalog.claim_collection(1000, 0):
            await engine.catalog.finish_collection(node, [copy])
    while await engine.catalog.settle_copies():
        pass


@pytest.mark.xfail(
    reason="a pin that goes lowers nothing where a file holds the chunk", strict=True
)
def test_a_chunk_wants_what_files_ask_for_after_an_upload_that_asked_for_more_is_gone() -> None:
    engine = Engine()

    async def play() -> int:
        catalog = engine.catalog
        await enrol(catalog)
        for path, copies in (("/one", 1), ("/three", 3)):
            await catalog.create_datastore(
                OPERATOR, p(path), copies=copies, quota_bytes=0, owner=None
            )
        await write(catalog, "/one/f", "x")
        upload, _ = await begin(catalog, "/three/f", "x")
        await catalog.abort_upload(OPERATOR, upload.id)
        await _collect(engine)
        (there,) = await catalog.chunk_copies(chunk("x"))
        return there.wanted

    try:
        assert engine.run(play()) == 1
    finally:
        engine.close()


@pytest.mark.xfail(reason="an older copy that an upload sends hides a failed repair's", strict=True)
def test_a_repair_that_failed_where_an_upload_sends_too_leaves_nothing() -> None:
    engine = Engine()

    async def play() -> list[CopyState]:
        catalog, bob = engine.catalog, user("bob")
        await enrol(catalog, 4)
        for folder in ("/d", "/e"):
            await catalog.make_directory(OPERATOR, p(folder), parents=False)
        await grant(catalog, bob, "/e", Right.WRITE)
        await write(catalog, "/d/f", "x")
        upload, _ = await begin(catalog, "/e/f", "x", who=bob)  # to the copies that are there
        lost = next(one for one in upload.allocations[0].targets if one.node == NODES[0])
        await catalog.mark_copies(lost.node, [(chunk("x"), lost.generation)], lost=True)
        everyone: frozenset[NodeId] = frozenset(NODES)
        (task,) = await claim(catalog, 9, place_on(NODES[0]), everyone, frozenset())
        await catalog.finish_repair(task, None)
        await catalog.abort_upload(bob, upload.id)
        await _collect(engine)
        (there,) = await catalog.chunk_copies(chunk("x"))
        return [one.state for one in there.copies]

    try:
        assert CopyState.INTENT not in engine.run(play())
    finally:
        engine.close()


@pytest.mark.xfail(
    reason="an older copy that an upload sends hides a newer one's intent", strict=True
)
def test_an_upload_that_ends_before_one_that_sends_an_older_copy_leaves_nothing() -> None:
    engine = Engine()

    async def play() -> list[CopyState]:
        catalog, bob = engine.catalog, user("bob")
        await enrol(catalog)
        for folder in ("/d", "/e"):
            await catalog.make_directory(OPERATOR, p(folder), parents=False)
        await grant(catalog, bob, "/e", Right.WRITE)
        await write(catalog, "/d/f", "x")
        first, _ = await begin(catalog, "/e/f", "x", who=bob)  # to the copies that are there
        lost = next(one for one in first.allocations[0].targets if one.node == NODES[0])
        await catalog.mark_copies(lost.node, [(chunk("x"), lost.generation)], lost=True)
        second, _ = await begin(catalog, "/e/g", "x", who=bob)  # one of them is new
        for upload in (second, first):
            await catalog.abort_upload(bob, upload.id)
            await _collect(engine)
        (there,) = await catalog.chunk_copies(chunk("x"))
        return [one.state for one in there.copies]

    try:
        assert CopyState.INTENT not in engine.run(play())
    finally:
        engine.close()


@pytest.mark.xfail(
    reason="within the change a doubted node does not stay, and its copy is named first",
    strict=True,
)
def test_a_drained_node_lets_go_though_a_doubted_one_has_a_copy_too() -> None:
    engine = Engine()

    async def play() -> int:
        catalog = engine.catalog
        await enrol(catalog, 4)
        await catalog.make_directory(OPERATOR, p("/d"), parents=False)
        await catalog.set_datastore(OPERATOR, p("/d"), copies=2)
        await write(catalog, "/d/f", "x", nodes=NODES[:2])
        await catalog.drain_node(OPERATOR, NODES[0], draining=True)
        await catalog.doubt_node(NODES[1], "drawn")
        everyone: frozenset[NodeId] = frozenset(NODES)
        for _ in range(8):  # two copies elsewhere; then what is on the first one is surplus
            tasks = await claim(catalog, 9, place_on(*NODES[2:]), everyone, frozenset())
            for task in tasks:
                proof = VerifiedReceipt(
                    task.chunk,
                    task.target.node,
                    task.target.generation,
                    task.stored_length,
                    task.repair_id,
                )
                await catalog.finish_repair(task, proof)
            await confirm(catalog)
            engine.clock.advance(3601)
        return (await catalog.copies_left()).get(NODES[0], 0)

    try:
        assert engine.run(play()) == 0
    finally:
        engine.close()


@pytest.mark.xfail(
    reason="only what has too few copies is looked at, not what has too many on probation",
    strict=True,
)
def test_a_chunk_whose_copies_are_half_on_probation_is_repaired() -> None:
    engine = Engine()

    async def play() -> int:
        catalog = engine.catalog
        await enrol(catalog, 4)
        for node in NODES[:1]:
            (record,) = [one for one in await catalog.nodes() if one.node == node]
            await catalog.add_node(replace(record, standing=Standing.PROBATION))
        await catalog.make_directory(OPERATOR, p("/d"), parents=False)
        await write(catalog, "/d/f", "x")
        await catalog.set_datastore(OPERATOR, p("/d"), copies=2)
        gone = (await catalog.copies_of(chunk("x")))[2]
        await catalog.mark_copies(gone.node, [(chunk("x"), gone.generation)], lost=False)
        everyone: frozenset[NodeId] = frozenset(NODES)
        return len(await claim(catalog, 9, place_on(NODES[3]), everyone, frozenset()))

    try:
        assert engine.run(play()) == 1
    finally:
        engine.close()
