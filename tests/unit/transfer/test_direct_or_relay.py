"""Direct or relayed: what a process concludes from attempts that end, take long, or are refused."""

from __future__ import annotations

import pytest

from collective.core.clock import ManualClock
from collective.core.ids import Domain, NodeId, SpiffeId
from collective.model.routes import RouteMode
from collective.transfer.engine.direct_or_relay import CUT_OFF_FOR_S, RELAYED_FIRST, RouteChoice
from collective.transfer.engine.node_health import NodeHealth

DIRECT, RELAY = RouteMode.DIRECT, RouteMode.RELAY
ONE, TWO, THREE = (SpiffeId.node(Domain("home.alice"), NodeId(f"n{n}")) for n in (1, 2, 3))


@pytest.fixture
def health() -> NodeHealth:
    return NodeHealth(ManualClock())


@pytest.fixture
def choice(health: NodeHealth) -> RouteChoice:
    return RouteChoice(health)


def test_one_node_that_is_missed_is_avoided_and_two_mean_relay(
    choice: RouteChoice, health: NodeHealth
) -> None:
    choice.missed(ONE)
    assert choice.mode is DIRECT
    assert health.avoided() == (ONE,)
    choice.missed(TWO)
    assert choice.mode is RELAY
    assert health.avoided() == (), "by relay they may be reached"
    choice.unreachable(RELAY, TWO)
    assert health.avoided() == (TWO,), "not that way either"


def test_a_miss_of_one_does_not_end_waiting_for_another(choice: RouteChoice) -> None:
    choice.overdue(ONE)
    choice.overdue(TWO)
    choice.missed(ONE)
    assert choice.mode is RELAY, "the second is still under way"
    choice.worked(DIRECT)
    assert choice.mode is DIRECT


def test_all_attempts_that_were_overdue_and_missed_mean_relay(choice: RouteChoice) -> None:
    for node in (ONE, TWO):
        choice.overdue(node)
    for node in (ONE, TWO):
        choice.missed(node)
    assert choice.mode is RELAY
    assert not choice.is_open


def test_nodes_that_were_missed_before_are_relayed_to_while_another_is_overdue(
    choice: RouteChoice, health: NodeHealth
) -> None:
    choice.missed(ONE)
    choice.overdue(TWO)
    assert health.avoided() == ()


def test_a_miss_while_another_is_overdue_holds_nothing_against_the_node(
    choice: RouteChoice, health: NodeHealth
) -> None:
    choice.overdue(ONE)
    choice.missed(TWO)
    assert health.avoided() == ()
    choice.missed(ONE)
    assert choice.mode is RELAY
    assert health.avoided() == ()


def test_too_few_without_those_missed_are_relayed_to(
    choice: RouteChoice, health: NodeHealth
) -> None:
    assert not choice.relay_to_the_rest()
    choice.missed(ONE)
    assert choice.relay_to_the_rest()
    assert choice.mode is RELAY
    assert health.avoided() == ()
    assert not choice.relay_to_the_rest()


def test_relaying_to_the_rest_is_left_for_later_while_an_attempt_is_overdue(
    choice: RouteChoice,
) -> None:
    choice.missed(ONE)
    choice.overdue(TWO)
    assert not choice.relay_to_the_rest()
    choice.worked(DIRECT)
    assert not choice.relay_to_the_rest(), "there is a direct way"


def test_a_hint_is_put_to_the_test_once_much_was_relayed(health: NodeHealth) -> None:
    choice = RouteChoice(health, relay_first=True)
    for _ in range(RELAYED_FIRST):
        assert choice.mode is RELAY
        assert choice.is_open
        choice.worked(RELAY)
    assert choice.mode is DIRECT


def test_a_direct_answer_overrules_a_hint(health: NodeHealth) -> None:
    choice = RouteChoice(health, relay_first=True)
    choice.worked(DIRECT)
    assert choice.mode is DIRECT


def test_there_is_no_relay_where_it_may_not_be(health: NodeHealth) -> None:
    choice = RouteChoice(health, may_relay=False, relay_first=True)
    choice.overdue(ONE)
    for node in (ONE, TWO, THREE):
        choice.missed(node)
    assert not choice.is_open
    assert choice.mode is DIRECT
    assert health.avoided() == (ONE, TWO, THREE)


def test_a_machine_that_is_carried_out_of_its_network_relays(
    choice: RouteChoice, health: NodeHealth
) -> None:
    for node in (ONE, TWO):
        health.alive(node)
    choice.worked(DIRECT)
    choice.unreachable(DIRECT, ONE)
    assert choice.mode is DIRECT, "one that is dead among others"
    choice.unreachable(DIRECT, TWO)
    assert choice.mode is RELAY
    assert health.avoided() == ()


def test_a_process_that_was_cut_off_looks_for_a_direct_way_again() -> None:
    clock = ManualClock()
    choice = RouteChoice(NodeHealth(clock))
    for node in (ONE, TWO):
        choice.missed(node)
    assert choice.mode is RELAY
    clock.advance(CUT_OFF_FOR_S + 1)
    assert choice.mode is DIRECT
    assert choice.is_open
