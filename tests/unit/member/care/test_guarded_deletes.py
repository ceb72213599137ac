"""Which nodes are asked to settle what was given up, and how much they read for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from collective.core.ids import NodeId
from collective.core.paths import FilePath
from collective.member.care import guarded_deletes as module
from collective.member.care.challenger import Ask
from collective.model.copies import Verdict
from collective.model.routes import Route
from collective.model.writing import Attributes, Precondition
from collective.transfer.buffers import PooledBuffer
from tests.unit.member.care.test_evidence import A, B, C, counted, held
from tests.unit.member.care.test_healing import PATH, put
from tests.unit.member.farm import OPERATOR, Scene, scene
from tests.unit.member.files.test_whole_files import stream


async def surplus(here: Scene) -> tuple[NodeId, NodeId, NodeId]:
    """Have two of three copies given up; return the node of the one that is left, and the others."""
    await put(here)
    one = FilePath.parse("/one")
    await here.catalog.datastores.create(OPERATOR, one, copies=1, quota_bytes=0, owner=None)
    await here.catalog.names.move(OPERATOR, PATH, one.child("file"), condition=Precondition())
    while await here.catalog.datastores.settle_copies():
        pass
    repairer = here.repairer()
    for _ in range(4):
        await repairer.round()
        repairer.begin_anew()
    (kept,) = await counted(here, held(here, A)[0])
    first, second = sorted({A, B, C} - {kept})
    return kept, first, second


async def test_a_node_that_did_not_answer_is_not_asked_again_for_a_while(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        kept, hung, other = await surplus(here)
        here.farm.down.add(kept)
        guarded_deletes = here.guarded_deletes()
        await guarded_deletes.step()
        assert kept in here.farm.asked
        here.farm.asked.clear()
        here.world.clock.advance(20.0)
        here.world.hear("a", "b", "c")
        assert await guarded_deletes.step()
        assert here.farm.asked == []
        here.farm.down.clear()
        here.world.clock.advance(60.0)
        here.world.hear("a", "b", "c")
        await guarded_deletes.step()
        assert set(here.farm.asked) == {kept, hung, other}


async def test_the_copies_of_a_node_that_does_not_answer_are_settled_all_the_same(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        _, hung, _ = await surplus(here)
        here.farm.down.add(hung)
        guarded_deletes = here.guarded_deletes()
        await guarded_deletes.step()
        assert await here.catalog.figures.copies_in_doubt() == (0, 0)


async def test_what_nodes_read_for_it_has_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BURST_BYTES", 10.0)
    monkeypatch.setattr(module, "RATE_BYTES_S", 10.0)
    async with scene(tmp_path) as here:
        await surplus(here)
        guarded_deletes = here.guarded_deletes()
        await guarded_deletes.work()
        outcome = await guarded_deletes.work()
        assert outcome.rest_s > 60.0


async def test_what_answers_do_not_settle_is_read_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        path = PATH.parent.child("other")
        await here.whole.write(OPERATOR, path, Attributes(), Precondition(), stream(b"y" * 500))
        both = asyncio.Barrier(2)
        get = here.farm.get

        async def wait_for_both(route: Route) -> PooledBuffer:
            await both.wait()
            return await get(route)

        monkeypatch.setattr(here.farm, "get", wait_for_both)
        asks = []
        for chunk, generation in here.farm.stored[A]:
            (known,) = await here.catalog.copies.known(chunk)
            (name,) = [one.name for one in known.copies if one.node == A]
            assert name[1] == generation
            asks.append(Ask(known, (name,)))
        for verdicts in await here.challenger().prove(asks):
            assert set(verdicts.values()) == {Verdict.PROVEN}
