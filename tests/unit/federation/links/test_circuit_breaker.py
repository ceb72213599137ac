"""A peer is away from its first failed exchange to its next answered one."""

from __future__ import annotations

import pytest

from collective.core.errors import UnreachableError
from collective.federation.links.circuit_breaker import PeerHealth
from tests.unit.pki.forge import BOB


def test_nothing_is_known_before_the_first_exchange_and_calls_may_try() -> None:
    health = PeerHealth(BOB)
    health.require()
    assert not health.is_healthy


def test_one_failure_makes_calls_fail_at_once_with_since_when_and_why() -> None:
    health = PeerHealth(BOB)
    health.succeeded(1_800_000_000.0, 0.01)
    assert health.failed(1_800_000_060.0, "No answer.")
    for later_s in (70.0, 80.0):
        assert not health.failed(1_800_000_000.0 + later_s, "Refused.")
    assert (health.is_healthy, health.failures) == (False, 3)
    with pytest.raises(UnreachableError) as away:
        health.require()
    assert away.value.message == (
        "garage.bob is away since 2027-01-15 08:01:00Z (Refused); try again later."
    )


def test_one_answer_makes_it_there_again() -> None:
    health = PeerHealth(BOB)
    health.failed(1.0, "No answer.")
    health.succeeded(2.5, 0.01)
    health.require()
    assert (health.is_healthy, health.failures, health.why) == (True, 0, "")
    assert health.last_seen_ms == 2500
    assert health.failed(3.0, "again"), "it went away anew"


def test_the_latency_that_is_shown_follows_the_newest_slowly() -> None:
    health = PeerHealth(BOB)
    shown = []
    for latency_s in (0.1, 0.1, 0.2, 0.2):
        health.succeeded(1.0, latency_s)
        shown.append(round(health.latency_ms, 3))
    assert shown == [100.0, 100.0, 130.0, 151.0]
