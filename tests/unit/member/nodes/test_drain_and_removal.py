"""What removing and draining a node changes at the coordinator, and when."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from collective.core.errors import NotFoundError, PermissionDeniedError
from collective.core.ids import NodeId
from collective.member.nodes.drain_and_removal import Removal
from collective.model.calls import Call
from collective.model.nodes import NodeState
from tests.unit.member.cluster import USER
from tests.unit.member.farm import OPERATOR, Scene, scene
from tests.unit.member.nodes.test_heartbeats import Gate, revocations_of

A = NodeId("a")


def removal(here: Scene, gate: Gate | None = None) -> Removal:
    revocations = revocations_of(here, gate)
    return Removal(
        here.catalog, here.world.table, revocations, here.world.keys, here.farm, here.wakes
    )


async def test_a_removed_node_is_out_when_the_call_returns(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        gate, identity = Gate(), here.world.table.identity(A)
        assert here.world.keys.signing_key(identity) is not None
        assert await removal(here, gate).remove(OPERATOR, A, force=False) > 0
        assert gate.revocations.entries == {str(identity)}
        assert here.world.table.get(A) is None
        assert here.world.keys.signing_key(identity) is None
        assert here.farm.down == {A}, "nobody calls it any more"
        assert here.wakes.repair.is_set()
        with pytest.raises(NotFoundError):
            await removal(here).remove(OPERATOR, A, force=False)


async def test_a_removal_goes_on_when_its_caller_leaves(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        desk = removal(here)
        call = asyncio.create_task(desk.remove(OPERATOR, A, force=False))
        while not desk._acts:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await desk.close()
        assert here.world.table.get(A) is None
        assert [one.node for one in await here.catalog.nodes.list() if one.removed] == [A]


async def test_a_drain_is_taken_back_and_both_are_for_admins(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        desk, states = removal(here), here.world.table.states
        with pytest.raises(PermissionDeniedError):
            await desk.drain(Call(USER, is_operator=False), A, stop=False)
        with pytest.raises(PermissionDeniedError):
            await desk.remove(Call(USER, is_operator=False), A, force=True)
        assert await desk.drain(OPERATOR, A, stop=False) == 0
        assert states()[A] is NodeState.DRAINING
        await desk.drain(OPERATOR, A, stop=True)
        assert states()[A] is NodeState.UP
