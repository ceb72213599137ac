"""What becomes of a node's standing and store, decided on values."""

from __future__ import annotations

import pytest

from collective.catalog.decisions.doubt import after_doubt, is_new_doubt
from collective.catalog.decisions.standing import (
    FOUNDING_MS,
    approves,
    enrolment_by,
    is_first_store,
    is_founding,
    stops_counting,
)
from collective.core.errors import ConflictError
from collective.core.ids import NodeId, StoreUuid
from collective.model.nodes import Approval, Standing
from collective.model.people import Invite, InviteKind
from tests.values import OPERATOR

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
    assert after_doubt(None) == (Standing.APPROVED, "")
    assert after_doubt(Standing.PROBATION)[0] is Standing.PROBATION
    assert after_doubt(Standing.PROBATION)[1]


def test_founding_ends_with_the_first_file_or_after_a_day() -> None:
    assert FOUNDING_MS == 86_400_000
    assert is_founding(100, 99, has_files=False)
    assert not is_founding(100, 100, has_files=False)
    assert not is_founding(100, 99, has_files=True)
    assert not is_founding(None, 0, has_files=False)


@pytest.mark.parametrize(
    ("approves_node", "founding", "standing"),
    [
        (False, False, Standing.PROBATION),
        (True, False, Standing.APPROVED),
        (False, True, Standing.APPROVED),
    ],
)
def test_a_node_is_worth_what_its_code_and_its_time_make_it(
    approves_node: bool, founding: bool, standing: Standing
) -> None:
    code = Invite("c0de", InviteKind.NODE, b"", 1, 1, 0, OPERATOR, approves=approves_node)
    found = enrolment_by(code, is_founding=founding)
    assert (found.standing, found.is_founder) == (standing, founding)
    assert ("c0de" in found.reason) is (standing is Standing.PROBATION)


@pytest.mark.parametrize(
    ("standing", "is_new"),
    [
        (Standing.APPROVED, True),
        (Standing.PROBATION, True),
        (Standing.DOUBTED, False),
        (None, False),
    ],
)
def test_the_first_doubt_stands_and_one_who_has_gone_is_not_doubted(
    standing: Standing | None, is_new: bool
) -> None:
    assert is_new_doubt(standing) is is_new


def test_copies_stop_counting_with_the_first_refusal_of_their_node() -> None:
    assert stops_counting("", "another store")
    assert not stops_counting("another store", "too old")
    assert not stops_counting("another store", "")
