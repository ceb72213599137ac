from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collective.core.buckets import Budget


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 1 << 24)), max_size=50))
def test_repair_never_moves_more_than_rate_and_burst_allow(steps: list[tuple[float, int]]) -> None:
    budget = Budget.full(rate_bytes_s=1e6, burst_bytes=4e6, now_s=0.0)
    now, moved, largest = 0.0, 0, 0
    for pause, size in steps:
        now += pause
        budget = budget.at(now)
        if budget.wait_s() == 0.0:
            budget = budget.spend(size)
            moved += size
            largest = max(largest, size)
    assert moved <= 4e6 + now * 1e6 + largest + 1


def test_a_bucket_in_debt_says_when_it_is_out() -> None:
    budget = Budget.full(100.0, 100.0, 0.0).spend(300)
    assert budget.wait_s() == 2.0
    assert budget.at(2.0).wait_s() == 0.0
