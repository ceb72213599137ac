"""What status says of a node."""

from __future__ import annotations

from collective.core.ids import NodeId
from collective.member.nodes.member_nodes import enrolled_status
from collective.model.nodes import NodeState
from tests.unit.member.cluster import World


def test_a_node_that_can_take_nothing_new_yet_is_not_called_healthy() -> None:
    world = World()
    live = world.table.get(NodeId("a"))
    assert live is not None
    assert enrolled_status(live, NodeState.UP, 0).is_healthy
    live.inventory.instance_id = "an earlier start"
    assert not enrolled_status(live, NodeState.UP, 0).is_healthy
