"""How long failures are waited out, and items that failed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collective.core.backoff import Backoff, Postponed

CHANCES = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), CHANCES)
def test_a_delay_doubles_up_to_its_bound_and_is_cut_by_at_most_half(
    failures: int, uniform: float
) -> None:
    backoff = Backoff(0.5, 60.0)
    full_s = backoff.delay_s(failures, 0.0)
    assert full_s == min(0.5 * 2 ** min(failures - 1, 20), 60.0)
    assert full_s / 2 <= backoff.delay_s(failures, uniform) <= full_s


def test_items_that_failed_together_do_not_return_together() -> None:
    backoff = Backoff()
    assert len({backoff.delay_s(3, chance / 10) for chance in range(10)}) == 10


def test_an_item_that_fails_waits_and_the_others_do_not() -> None:
    postponed: Postponed[str] = Postponed(Backoff(1.0, 60.0))
    assert postponed.failed("a", 100.0, 0.0) == 1.0
    assert not postponed.is_due("a", 100.9)
    assert postponed.is_due("a", 101.0)
    assert postponed.is_due("b", 100.0)
    assert postponed.failed("a", 101.0, 0.0) == 2.0
    assert postponed.next_s(101.5) == 1.5
    postponed.worked("a")
    assert postponed.next_s(101.5) is None
    assert postponed.failed("a", 102.0, 0.0) == 1.0


def test_what_is_put_aside_is_bounded_and_the_soonest_due_is_forgotten_first() -> None:
    postponed: Postponed[int] = Postponed(Backoff(1.0, 60.0), items_max=3)
    postponed.failed(0, 0.0, 0.0)
    postponed.failed(0, 0.0, 0.0)  # twice: due later than those that follow
    for item in range(1, 4):
        postponed.failed(item, item / 10, 0.0)
    assert len(postponed) == 3
    assert postponed.is_due(1, 0.0)
    assert not postponed.is_due(0, 1.9)


def test_items_that_are_gone_are_forgotten() -> None:
    postponed: Postponed[int] = Postponed(Backoff())
    postponed.failed(1, 0.0, 0.0)
    postponed.failed(2, 0.0, 0.0)
    postponed.keep([2, 3])
    assert len(postponed) == 1
    assert postponed.is_due(1, 0.0)
