"""Which positions show a future that a catalogue lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.catalog.decisions.catalog_lives import (
    Past,
    has_been_at,
    is_ahead,
    is_told_by_numbers,
    learned,
    shows_a_lost_future,
)
from collective.model.nodes import Position

PAST = Past("now", epoch=2, sequence=100, ended=None, oldest_ended=10, is_lost=False)
FORMER = replace(PAST, ended=50)


@pytest.mark.parametrize(
    ("past", "life", "sequence", "is_lost"),
    [
        (PAST, "other", 11, True),
        (PAST, "other", 100, True),
        (PAST, "other", 10, False),
        (PAST, "now", 100, False),
        (PAST, "now", 101, False),
        (PAST, "", 101, False),
        (FORMER, "former", 50, False),
        (FORMER, "former", 51, True),
        (replace(FORMER, is_lost=True), "former", 51, False),
        (replace(PAST, is_lost=True), "other", 60, False),
    ],
)
def test_what_shows_a_lost_future(past: Past, life: str, sequence: int, is_lost: bool) -> None:
    assert shows_a_lost_future(past, life, sequence) is is_lost


def test_a_position_is_ahead_by_its_epoch_first() -> None:
    assert not is_ahead(PAST, 2, 100)
    assert is_ahead(PAST, 2, 101)
    assert is_ahead(PAST, 3, 1)
    assert not is_ahead(PAST, 1, 1000)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.data())
def test_of_one_history_nothing_is_lost_and_of_its_branch_everything(
    changes: list[int], data: st.DataObject
) -> None:
    """``changes``: how many each life made; the branch begins where one of them was backed up."""
    ends = [sum(changes[: number + 1]) for number in range(len(changes))]
    forgotten = data.draw(st.integers(0, len(ends)))
    branch = data.draw(st.integers(forgotten, len(ends)))
    began = ends[branch - 1] if branch else 0
    for number, end in enumerate(ends):
        known = Past(
            "now",
            epoch=1,
            sequence=ends[-1] + 1,
            ended=end if number >= forgotten else None,
            oldest_ended=ends[forgotten] if forgotten < len(ends) else ends[-1],
            is_lost=False,
        )
        assert not shows_a_lost_future(known, str(number), end)
    behind = Past("now", 1, ends[-1], None, ends[forgotten] if forgotten < branch else began, False)
    assert shows_a_lost_future(behind, "branch", began + 1)


def seen(life: str, sequence: int, epoch: int = 2) -> Position:
    return Position("c", epoch, sequence, life)


def test_only_a_life_that_is_not_the_present_one_needs_the_past() -> None:
    assert is_told_by_numbers("", "now")
    assert is_told_by_numbers("now", "now")
    assert not is_told_by_numbers("other", "now")


def test_a_catalogue_has_been_where_neither_its_numbers_nor_its_lives_say_otherwise() -> None:
    assert has_been_at(FORMER, seen("former", 50))
    assert not has_been_at(FORMER, seen("former", 51))
    assert not has_been_at(PAST, seen("now", 101))
    assert not has_been_at(PAST, seen("now", 1, epoch=3))
    assert has_been_at(replace(PAST, is_lost=True), seen("other", 60))


@pytest.mark.parametrize(
    ("position", "was_restored", "is_newly_lost", "epoch"),
    [
        (seen("now", 100), False, False, None),
        (seen("now", 101), True, False, 3),
        (seen("", 1, epoch=5), True, False, 6),
        (seen("other", 60), False, True, 3),
        (seen("other", 60), True, True, None),
        (seen("other", 101), True, True, 3),
    ],
    ids=(
        "its own past tells nothing",
        "a number ahead of its own always makes it restored",
        "the epoch goes past the highest that was seen",
        "so does the first lost life",
        "another lost life does not, once the numbers were left out",
        "unless its numbers are ahead",
    ),
)
def test_what_a_position_tells_of_the_catalogue(
    position: Position, was_restored: bool, is_newly_lost: bool, epoch: int | None
) -> None:
    assert learned(PAST, position, lambda: was_restored) == (is_newly_lost, epoch)
