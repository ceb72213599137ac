"""Ticket keys: fresh for signing, and the same again for receipts given before a restart."""

from __future__ import annotations

from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.ids import Domain, SpiffeId, parse_node_id
from collective.core.randomness import SeededRandomness
from collective.roles.coordinator.keys import KeyRing

OWN = SpiffeId.coordinator(Domain("home.alice"))
NODE = SpiffeId.node(Domain("home.alice"), parse_node_id("alice-node-01"))
OTHER = SpiffeId.node(Domain("home.alice"), parse_node_id("alice-node-02"))
ROOT = b"r" * 32


def ring(clock: ManualClock, root: bytes = ROOT, seed: int = 1) -> KeyRing:
    return KeyRing(OWN, clock, SeededRandomness(seed), root)


def test_a_restarted_coordinator_checks_under_the_keys_of_before() -> None:
    clock = ManualClock()
    (old,) = ring(clock).hand_out(NODE, frozenset())
    clock.advance(60.0)
    after = ring(clock, seed=2)
    assert after.source(NODE).key(old.key_id) == old
    (new,) = after.hand_out(NODE, frozenset({old.key_id}))
    assert new.key_id != old.key_id
    assert after.signing_key(NODE) == new


def test_a_key_fits_one_holder_and_one_root_only() -> None:
    clock = ManualClock()
    (key,) = ring(clock).hand_out(NODE, frozenset())
    assert ring(clock).source(OTHER).key(key.key_id) != key
    assert ring(clock, root=b"x" * 32).source(NODE).key(key.key_id) != key
    assert ring(clock, root=b"").source(NODE).key(key.key_id) != key


def test_keys_older_than_an_upload_can_be_and_from_the_future_do_not_check() -> None:
    clock = ManualClock()
    (key,) = ring(clock).hand_out(NODE, frozenset())
    clock.advance(limits.UPLOAD_LIFE_S + 10)
    late = ring(clock)
    assert late.source(NODE).key(key.key_id) is None
    assert late.source(NODE).key(int(clock.wall_s()) + 10_000) is None


def test_a_removed_node_has_no_keys_of_any_time() -> None:
    clock = ManualClock()
    keys = ring(clock)
    (key,) = keys.hand_out(NODE, frozenset())
    keys.forget(NODE)
    assert keys.source(NODE).key(key.key_id) is None
    assert keys.signing_key(NODE) is None
