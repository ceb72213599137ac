"""Copies on probation are never a majority of what counts, nor of what is placed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.model.nodes import Standing
from collective.placement.quorum import (
    count,
    counted,
    is_quorum,
    probation_most,
    quorum_of,
)

SMALL = st.integers(0, 20)


@given(SMALL, SMALL)
def test_what_counts_on_probation_is_a_minority(approved: int, on_probation: int) -> None:
    extra = counted(approved, on_probation) - approved
    assert 0 <= extra <= on_probation
    assert extra < approved or extra == 0


@pytest.mark.parametrize(("copies", "most"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)])
def test_probation_gets_a_minority_of_the_copies(copies: int, most: int) -> None:
    assert probation_most(copies) == most
    assert copies - most >= quorum_of(copies)


@given(st.lists(st.sampled_from(Standing)), st.integers(1, 9))
def test_doubted_copies_count_for_nothing(standings: list[Standing], copies: int) -> None:
    believed = [one for one in standings if one is not Standing.DOUBTED]
    assert count(standings) == count(believed)
    assert is_quorum(standings, copies) is (count(believed) >= copies // 2 + 1)


@given(st.lists(st.sampled_from(Standing)), st.sampled_from(Standing))
def test_a_further_copy_never_takes_a_quorum_away(
    standings: list[Standing], more: Standing
) -> None:
    assert count([*standings, more]) >= count(standings)
