"""What becomes of a node's standing and store, decided on values."""

from __future__ import annotations

import pytest

from collective.catalog.decisions.standing import after_doubt, approves, is_first_store
from collective.core.errors import ConflictError
from collective.core.ids import NodeId, StoreUuid
from collective.model.nodes import Approval, Standing

NODE = NodeId("n1")
STORE, OTHER = StoreUuid("0" * 32), StoreUuid("1" * 32)


def test_a_node_keeps_the_store_that_it_first_came_with() -> None:
    assert is_first_store(NODE, None, STORE)
    assert not is_first_store(NODE, STORE, STORE)
    with pytest.raises(ConflictError, match="came with another store"):
        is_first_store(NODE, STORE, OTHER)


@pytest.mark.parametrize(
    ("was", "was_new", "changes"),
    [
        (Standing.APPROVED, False, False),
        (Standing.APPROVED, True, True),
        (Standing.PROBATION, False, True),
    ],
)
def test_approval_changes_a_standing_or_notes_that_the_node_was_seen(
    was: Standing, was_new: bool, changes: bool
) -> None:
    assert approves(Approval(NODE, was, was_new), "", even_doubted=False) is changes


def test_a_doubted_node_is_approved_only_where_that_is_meant() -> None:
    doubted = Approval(NODE, Standing.DOUBTED, False)
    with pytest.raises(ConflictError, match="is doubted: it lied"):
        approves(doubted, "it lied", even_doubted=False)
    assert approves(doubted, "it lied", even_doubted=True)


def test_after_a_doubt_it_has_the_standing_of_before() -> None:
    assert after_doubt(Standing.APPROVED) == (Standing.APPROVED, "")
    assert after_doubt(Standing.PROBATION)[0] is Standing.PROBATION
    assert after_doubt(Standing.PROBATION)[1]
