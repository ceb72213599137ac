"""When a certificate is renewed, and how soon a renewal that failed is tried again."""

from __future__ import annotations

from collective.core.clock import ManualClock
from collective.core.ids import NodeId, SpiffeId
from collective.pki import certificates, renewal_times
from tests.unit.pki.forge import ALICE, authority
from tests.worlds import REAL


def test_renewal_is_due_at_two_thirds_of_life_and_retries_back_off() -> None:
    clock = ManualClock()
    key = certificates.new_private_key(REAL.randomness).public_key()
    leaf = certificates.describe(
        authority(clock).issue(SpiffeId.node(ALICE, NodeId("n1")), key, lifetime_s=3_000_000 - 300)
    )
    due = renewal_times.renewal_due_s(leaf)
    assert due == leaf.not_before_s + 2_000_000
    assert not renewal_times.is_due(leaf, due - 1)
    assert renewal_times.is_due(leaf, due)
    assert leaf.has_expired(leaf.expires_s + 1)
    assert not leaf.has_expired(leaf.expires_s)
    waits = [renewal_times.retries(leaf).delay_s(failures, 0.0) for failures in range(1, 12)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (30.0, 3600.0)
    assert renewal_times.next_look_s(leaf, due - 500) == 500


def test_a_life_of_seconds_is_renewed_in_time_and_not_begun_in_its_last_third() -> None:
    clock = ManualClock()
    key = certificates.new_private_key(REAL.randomness).public_key()
    leaf = certificates.describe(
        authority(clock).issue(SpiffeId.node(ALICE, NodeId("n1")), key, lifetime_s=12)
    )
    now_s = clock.wall_s()
    assert not renewal_times.is_due(leaf, now_s + 5)
    assert now_s + 5 + renewal_times.next_look_s(leaf, now_s + 5) < leaf.expires_s - 3
    waits = [renewal_times.retries(leaf).delay_s(failures, 0.0) for failures in range(1, 12)]
    assert max(waits) < 1
