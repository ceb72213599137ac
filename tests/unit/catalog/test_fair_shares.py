"""Neither the huge hold up the small, nor the small the huge."""

from hypothesis import given
from hypothesis import strategies as st

from collective.catalog.decisions.fair_shares import even, slices

SIZES = st.lists(st.integers(1, 1000), max_size=30)
BUDGETS = st.integers(2, 500)


@given(SIZES, BUDGETS)
def test_a_step_does_what_fits_and_no_more(sizes: list[int], budget: int) -> None:
    shares = slices(list(enumerate(sizes)), budget)
    assert all(0 < share <= sizes[key] for key, share in shares.items())
    assert sum(shares.values()) == min(budget, sum(sizes))


@given(SIZES.filter(bool), BUDGETS)
def test_the_one_that_waited_longest_gets_half_at_least(sizes: list[int], budget: int) -> None:
    shares = slices(list(enumerate(sizes)), budget)
    assert shares.get(0, 0) >= min(sizes[0], budget // 2)


@given(st.lists(st.integers(1, 10), max_size=10), st.integers(1000, 10**9))
def test_small_ones_are_done_in_one_step_however_large_the_others_are(
    small: list[int], huge: int
) -> None:
    waiting = [("huge", huge), *((f"{number}", size) for number, size in enumerate(small))]
    shares = slices(waiting, 2 * sum(small) + 2)
    assert all(shares[f"{number}"] == size for number, size in enumerate(small))


def test_even_shares_are_never_none() -> None:
    assert [even(0, 10), even(3, 10), even(20, 10)] == [10, 3, 1]
