"""Lines that others cause: so many at once, so many in the long run, and what is left out is counted."""

from __future__ import annotations

from collective.core.log_rate import (
    LINES_BURST,
    LINES_PER_S,
    SOURCES_MAX,
    UNPROVEN_BURST,
    UNPROVEN_PER_S,
    LogRate,
)


def test_what_is_left_out_is_counted_and_told_with_the_next_line() -> None:
    rate = LogRate()
    burst = int(LINES_BURST)
    assert [rate.take("bob", 1000.0) for _ in range(burst)] == [{}] * burst
    assert [rate.take("bob", 1000.0) for _ in range(7)] == [None] * 7
    assert rate.take("carol", 1000.0) == {}, "each source has its own"
    later_s = 1000.0 + 1 / LINES_PER_S
    assert rate.take("bob", later_s) == {"left_out": 7}
    assert rate.take("bob", later_s) is None
    assert rate.take("bob", later_s + 1 / LINES_PER_S) == {"left_out": 1}


def test_sources_without_end_take_no_memory_without_end() -> None:
    rate = LogRate()
    for number in range(3 * SOURCES_MAX):
        rate.take(f"s{number}", 1.0)
    assert len(rate._lines) == SOURCES_MAX


def test_sources_that_anybody_can_invent_have_a_bound_together() -> None:
    """One that is forgotten comes back with its whole burst: whoever has many has no end of them."""
    rate = LogRate()
    hosts = [f"2001:db8:{number:x}::/64" for number in range(2 * SOURCES_MAX)]
    turns = int(UNPROVEN_BURST) // len(hosts) + 2
    told = [rate.take(host, 1.0, is_proven=False) for _ in range(turns) for host in hosts]
    assert [one for one in told if one is not None] == [{}] * int(UNPROVEN_BURST)
    assert rate.take("bob", 1.0) == {}, "who has proved who they are is not limited by that"
    left_out = len(told) - int(UNPROVEN_BURST)
    later_s = 1.0 + 1 / UNPROVEN_PER_S
    assert rate.take("other", later_s, is_proven=False) == {"left_out": left_out}
    assert rate.take("another", later_s, is_proven=False) is None
