"""What is said where too few nodes or copies are there for a write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.core.ids import NodeId
from collective.model.nodes import Standing
from collective.placement.quorum import is_quorum
from collective.placement.shortage import Policy, copies_shortage, listed, nodes_shortage

A, P, D = Standing.APPROVED, Standing.PROBATION, Standing.DOUBTED


def nodes(*standings: Standing) -> list[tuple[NodeId, Standing]]:
    return [(NodeId(f"node{number}"), one) for number, one in enumerate(standings, 1)]


@pytest.mark.parametrize(
    ("copies", "enrolled", "usable", "words"),
    [
        (3, 1, (A,), "COLLECTIVE_COPIES=3 needs 2 nodes for a write, and 1 is enrolled"),
        (5, 2, (A, A), "COLLECTIVE_COPIES=5 needs 3 nodes for a write, and 2 are enrolled"),
        (3, 3, (A,), "A write needs 2 healthy nodes, and 1 of 3 can be used now"),
        (3, 3, (A, D, D), "A write needs 2 healthy nodes, and 1 of 3 can be used now"),
        (3, 2, (A, P), "node2 could, on probation. If you know it: collective node approve node2"),
        (3, 3, (P, P, P), "node1, node2, node3 could, on probation. If you know them:"),
    ],
)
def test_each_reason_has_its_sentence(
    copies: int, enrolled: int, usable: tuple[Standing, ...], words: str
) -> None:
    assert words in (nodes_shortage(Policy(copies), enrolled, nodes(*usable)) or "")


@given(st.lists(st.sampled_from(Standing), max_size=9), st.integers(1, 9), st.integers(0, 3))
def test_something_is_said_exactly_where_there_is_no_quorum(
    standings: list[Standing], copies: int, away: int
) -> None:
    """Copies on probation that count are no reason: two approved and one are three of five."""
    said = nodes_shortage(Policy(copies), len(standings) + away, nodes(*standings))
    assert (said is None) is is_quorum(standings, copies)


def test_a_shortage_of_copies_names_the_setting_and_the_nodes_to_approve() -> None:
    assert copies_shortage(3, [A]) == (
        "1 of the 2 copies that a write needs count (COLLECTIVE_COPIES=3, or the datastore's own"
        " copies)"
    )
    assert "(1 more on probation: collective node approve)" in copies_shortage(3, [A, P, D])


def test_few_nodes_are_named_and_the_rest_is_counted() -> None:
    names = [node for node, _ in nodes(*[A] * 7)]
    assert listed(names) == "node1, node2, node3, node4, node5 and 2 more"
    assert listed(names[:2]) == "node1, node2"
