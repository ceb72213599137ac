from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collective.core.ids import ChunkId, NodeId
from collective.placement.repair import Budget, Shortage, repair_order

nodes = st.sets(st.integers(0, 5).map(lambda n: NodeId(f"n{n}"))).map(frozenset)
shortages = st.lists(
    st.builds(
        Shortage,
        chunk=st.binary(min_size=32, max_size=32).map(ChunkId),
        copies_wanted=st.integers(1, 6),
        sources=nodes,
        counted=st.integers(0, 6),
        waiting_s=st.floats(0, 1e6),
    )
)


@given(shortages)
def test_fewest_copies_come_first_and_what_has_no_source_is_left_out(found: list[Shortage]) -> None:
    order = repair_order(found)
    assert all(s.sources and s.counted < s.copies_wanted for s in order)
    assert [s.counted for s in order] == sorted(s.counted for s in order)
    assert len(order) == sum(1 for s in found if s.sources and s.counted < s.copies_wanted)


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
