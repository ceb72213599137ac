"""What status says of a node."""

from __future__ import annotations

from collective.core.ids import NodeId
from collective.member.nodes.member_nodes import SeenNode
from collective.model.nodes import NodeState
from collective.roles.coordinator.faces.grpc.cluster import node_status
from tests.unit.member.cluster import World


def test_a_node_that_can_take_nothing_new_yet_is_not_called_healthy() -> None:
    world = World()
    live = world.table.get(NodeId("a"))
    assert live is not None
    assert node_status(SeenNode(live, NodeState.UP, 0)).is_healthy
    live.inventoried = "an earlier start"
    assert not node_status(SeenNode(live, NodeState.UP, 0)).is_healthy
