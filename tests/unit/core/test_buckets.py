"""So many at once, and so many in the long run."""

from __future__ import annotations

from collective.core.buckets import Bucket


def taken(bucket: Bucket, now_s: float, times: int) -> int:
    return sum(bucket.take(now_s) for _ in range(times))


def test_a_bucket_is_full_at_first_and_fills_up_again() -> None:
    bucket = Bucket(most=5, rate_per_s=2)
    assert taken(bucket, 1000.0, 9) == 5
    assert taken(bucket, 1000.4, 9) == 0
    assert taken(bucket, 1001.0, 9) == 2
    assert taken(bucket, 5000.0, 9) == 5


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    bucket = Bucket(most=2, rate_per_s=1)
    assert taken(bucket, 10.0, 9) == 2
    assert taken(bucket, 1.0, 9) == 0
    assert taken(bucket, 2.0, 9) == 1
