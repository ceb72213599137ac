from __future__ import annotations

from collections.abc import Mapping

from collective.core.ids import Generation, NodeId
from collective.model.copies import Copy
from collective.model.nodes import NodeState
from collective.placement.copy_order import to_read, to_write

STATES: Mapping[NodeId, NodeState] = {
    NodeId("up"): NodeState.UP,
    NodeId("well"): NodeState.UP,
    NodeId("draining"): NodeState.DRAINING,
    NodeId("suspect"): NodeState.SUSPECT,
    NodeId("down"): NodeState.DOWN,
    NodeId("lost"): NodeState.LOST,
    NodeId("refused"): NodeState.REFUSED,
}


def copies(*names: str) -> list[Copy]:
    return [Copy(NodeId(name), Generation(1)) for name in names]


def names(found: list[Copy]) -> list[str]:
    return [copy.node for copy in found]


def test_doubtful_nodes_are_written_to_last_and_absent_ones_never() -> None:
    given = copies("suspect", "lost", "well", "down", "draining", "up", "refused", "unknown")
    assert names(to_write(given, STATES)) == ["well", "up", "draining", "suspect"]


def test_a_copy_on_a_silent_node_is_read_where_no_other_is_left() -> None:
    given = copies("down", "suspect", "refused", "up", "draining", "lost", "unknown")
    assert names(to_read(given, STATES, lambda: 0.5)) == ["up", "draining", "suspect", "down"]


def test_a_copy_in_doubt_is_read_after_all_others() -> None:
    doubted = Copy(NodeId("up"), Generation(1), is_doubted=True)
    found = to_read([doubted, *copies("down")], STATES, lambda: 0.5)
    assert names(found) == ["down", "up"]


def test_nodes_that_are_alike_share_the_reads() -> None:
    chances = iter([0.9, 0.1])
    found = to_read(copies("up", "well"), STATES, lambda: next(chances))
    assert names(found) == ["well", "up"]
