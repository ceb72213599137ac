from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.core.ids import NodeId
from collective.model.nodes import NodeState, ShownState, Standing
from collective.placement.node_states import (
    TOGETHER_WINDOW_S,
    Observation,
    Timers,
    look,
    shown,
    state_of,
    vanished_together,
)

TIMERS = Timers(5.0, 10.0, 600.0)


def seen(
    name: str, at: float | None, standing: Standing = Standing.APPROVED, **flags: bool
) -> Observation:
    return Observation(NodeId(name), at, standing=standing, **flags)


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (0.0, NodeState.UP),
        (4.9, NodeState.UP),
        (5.0, NodeState.SUSPECT),
        (10.0, NodeState.DOWN),
        (599.9, NodeState.DOWN),
        (600.0, NodeState.LOST),
    ],
)
def test_silence_moves_a_node_through_its_states(age: float, state: NodeState) -> None:
    found = state_of(seen("a", 1000.0), now_s=1000.0 + age, started_s=0.0, timers=TIMERS)
    assert found is state


def test_a_coordinator_that_just_started_declares_nobody_lost() -> None:
    out = look([seen("a", None), seen("b", None)], now_s=5003.0, started_s=5000.0, timers=TIMERS)
    assert set(out.states.values()) == {NodeState.SUSPECT}
    assert not out.gone


def test_a_node_never_heard_is_not_a_source() -> None:
    out = look([seen("a", None)], now_s=0.0, started_s=0.0, timers=TIMERS)
    assert not out.sources


def test_one_lost_node_of_three_is_given_up() -> None:
    nodes = [seen("a", 0.0), seen("b", 1000.0), seen("c", 1000.0)]
    out = look(nodes, now_s=1000.0, started_s=0.0, timers=TIMERS)
    assert out.gone == {"a"}
    assert not out.vanished_together


def test_two_of_three_vanishing_together_are_not_given_up() -> None:
    nodes = [seen("a", 0.0), seen("b", 30.0), seen("c", 1000.0)]
    out = look(nodes, now_s=1000.0, started_s=0.0, timers=TIMERS)
    assert out.vanished_together == {"a", "b"}
    assert not out.gone


@pytest.mark.parametrize("standing", [Standing.PROBATION, Standing.DOUBTED])
def test_nodes_that_are_not_approved_hold_no_repair_back(standing: Standing) -> None:
    rogues = [seen(f"r{number}", 0.0, standing) for number in range(9)]
    nodes = [seen("a", 0.0), seen("b", 1000.0), seen("c", 1000.0), *rogues]
    out = look(nodes, now_s=1000.0, started_s=0.0, timers=TIMERS)
    assert not out.vanished_together
    assert out.gone == {"a", *(rogue.node for rogue in rogues)}


@pytest.mark.parametrize("standing", [Standing.PROBATION, Standing.DOUBTED])
def test_nodes_that_are_not_approved_do_not_make_a_third_of_the_approved_fewer(
    standing: Standing,
) -> None:
    others = [seen(f"r{number}", 1000.0, standing) for number in range(9)]
    nodes = [seen("a", 0.0), seen("b", 0.0), seen("c", 1000.0), *others]
    out = look(nodes, now_s=1000.0, started_s=0.0, timers=TIMERS)
    assert out.vanished_together == {"a", "b"}
    assert not out.gone & {"a", "b"}


def test_a_doubted_node_is_a_source_and_does_not_count() -> None:
    out = look([seen("a", 0.0, Standing.DOUBTED)], now_s=0.0, started_s=0.0, timers=TIMERS)
    assert out.sources == out.gone == {"a"}


def test_status_says_the_standing_of_a_node_that_is_up_and_not_approved() -> None:
    assert shown(NodeState.UP, Standing.APPROVED) is ShownState.UP
    assert shown(NodeState.UP, Standing.PROBATION) is ShownState.PROBATION
    assert shown(NodeState.UP, Standing.DOUBTED) is ShownState.DOUBTED
    assert shown(NodeState.DOWN, Standing.DOUBTED) is ShownState.DOWN


def test_nodes_lost_one_after_the_other_are_given_up() -> None:
    nodes = [seen("a", 0.0), seen("b", TOGETHER_WINDOW_S + 1), seen("c", 1000.0)]
    out = look(nodes, now_s=1000.0, started_s=0.0, timers=TIMERS)
    assert not out.vanished_together
    assert out.gone == {"a", "b"}


def test_a_draining_node_is_a_source_and_does_not_count() -> None:
    out = look([seen("a", 0.0, draining=True)], now_s=0.0, started_s=0.0, timers=TIMERS)
    assert out.states == {NodeId("a"): NodeState.DRAINING}
    assert out.sources == out.gone == {"a"}


def test_a_refused_node_is_no_source() -> None:
    out = look([seen("a", 0.0, refused=True)], now_s=0.0, started_s=0.0, timers=TIMERS)
    assert out.gone == {"a"}
    assert not out.sources


@given(
    st.dictionaries(st.integers(0, 30).map(lambda n: NodeId(f"n{n}")), st.floats(0, 1e4)),
    st.integers(0, 30),
)
def test_a_group_lies_in_the_window_and_exceeds_a_third(
    silences: dict[NodeId, float], more: int
) -> None:
    total = len(silences) + more
    group = vanished_together(silences, total)
    if group:
        times = [silences[node] for node in group]
        assert max(times) - min(times) <= TOGETHER_WINDOW_S
        assert len(group) * 3 > total
    elif silences:
        for start in silences.values():
            near = [t for t in silences.values() if 0 <= t - start <= TOGETHER_WINDOW_S]
            assert len(near) * 3 <= total
