"""Which copies are kept in quarantine and when they may go, decided on values."""

from __future__ import annotations

import pytest

from collective.catalog.decisions.quarantine import (
    KEPT_MS,
    ROWS_MAX,
    first_may_go_ms,
    found_until_ms,
    may_discard_on,
    may_enter,
    require_discardable,
    rows_allowed,
)
from collective.core.errors import ConflictError
from collective.core.ids import NodeId
from collective.model.copies import CopyState
from collective.model.nodes import Discarded, Standing

NODE = NodeId("n1")
NOW_MS = 2_000_000_000_000


@pytest.mark.parametrize(
    ("held", "enters"),
    [
        (None, True),
        (CopyState.MISSING, True),
        (CopyState.INTENT, False),
        (CopyState.STORED, False),
        (CopyState.DOUBTED, False),
    ],
)
def test_a_copy_enters_only_where_its_node_has_no_other(
    held: CopyState | None, enters: bool
) -> None:
    assert may_enter(held) is enters


def test_only_an_approved_node_gets_rows_and_only_while_there_is_room() -> None:
    assert rows_allowed(Standing.APPROVED, lambda: 0) == ROWS_MAX
    assert rows_allowed(Standing.APPROVED, lambda: ROWS_MAX - 1) == 1
    assert rows_allowed(Standing.APPROVED, lambda: ROWS_MAX + 5) == 0


@pytest.mark.parametrize("standing", [Standing.PROBATION, Standing.DOUBTED])
def test_what_another_node_has_is_not_even_counted(standing: Standing) -> None:
    assert rows_allowed(standing, lambda: pytest.fail("it was counted")) == 0


def test_a_copy_may_go_seven_days_after_it_was_found_and_its_node_adopted() -> None:
    assert found_until_ms(NOW_MS) == NOW_MS - 7 * 86_400_000
    assert may_discard_on(NOW_MS - KEPT_MS, NOW_MS)
    assert not may_discard_on(NOW_MS - KEPT_MS + 1, NOW_MS)
    assert may_discard_on(0, NOW_MS)
    assert first_may_go_ms(NOW_MS, 0) == NOW_MS + KEPT_MS
    assert first_may_go_ms(NOW_MS, NOW_MS + 5) == NOW_MS + 5 + KEPT_MS
    assert first_may_go_ms(None, NOW_MS) == 0


def test_nothing_is_discarded_for_a_restored_catalogue() -> None:
    with pytest.raises(ConflictError, match="restored"):
        require_discardable([Discarded(NODE, 1, 10, 0)], is_restored=True)


def test_one_node_with_copies_is_enough() -> None:
    found = [Discarded(NODE, 0, 0, NOW_MS), Discarded(NodeId("n2"), 1, 10, 0)]
    require_discardable(found, is_restored=False)


def test_who_discards_too_early_is_told_when_the_first_copy_may_go() -> None:
    found = [Discarded(NODE, 0, 0, NOW_MS + 1000), Discarded(NodeId("n2"), 0, 0, NOW_MS)]
    with pytest.raises(ConflictError, match="at 2033-05-18 03:33:20Z"):
        require_discardable(found, is_restored=False)
    with pytest.raises(ConflictError, match="No copies are quarantined"):
        require_discardable([Discarded(NODE, 0, 0, 0)], is_restored=False)
