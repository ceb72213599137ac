"""Ticket keys: fresh for signing, and the same again for receipts given before a restart."""

from __future__ import annotations

from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.ids import Domain, SpiffeId, parse_node_id
from collective.core.randomness import SeededRandomness
from collective.transfer.tickets.key_ring import KeyRing

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
    again, new = after.hand_out(NODE, frozenset({old.key_id}))
    assert again == old
    assert after.hand_out(NODE, frozenset({old.key_id, new.key_id})) == []
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


def test_a_new_root_signs_as_soon_as_a_node_has_it_and_the_former_ends() -> None:
    clock = ManualClock()
    keys = ring(clock)
    (old,) = keys.hand_out(NODE, frozenset())
    keys.take_root(b"n" * 32)
    assert keys.signing_key(NODE) == old, "the node has no other yet"
    (new,) = keys.hand_out(NODE, frozenset({old.key_id}))
    assert keys.signing_key(NODE) == new
    assert keys.source(NODE).key(old.key_id) == old, "receipts on their way count until the end"
    keys.end_former()
    assert keys.source(NODE).key(old.key_id) != old
    assert keys.signing_key(NODE) == new
    given = {key.key_id: key for key in keys.hand_out(NODE, frozenset({old.key_id, new.key_id}))}
    assert given[new.key_id] == new
    assert given[old.key_id] != old, "the node's own old key is put out of use"


def test_the_relays_own_key_follows_the_new_root_at_once() -> None:
    keys = ring(ManualClock())
    old = keys.signing_key(OWN)
    assert old is not None
    keys.take_root(b"n" * 32)
    new = keys.signing_key(OWN)
    assert new is not None
    assert new.key_id > old.key_id
    assert keys.key(old.key_id) == old
    keys.end_former()
    assert keys.key(old.key_id) != old
    assert keys.key(new.key_id) == new


def test_after_a_restart_a_node_gives_up_what_it_holds_of_a_root_that_ended() -> None:
    clock = ManualClock()
    (old,) = ring(clock).hand_out(NODE, frozenset())
    clock.advance(5.0)
    planted = int(clock.wall_s()) + 500_000
    restarted = ring(clock, root=b"n" * 32)
    has = frozenset({old.key_id, planted})
    given = {key.key_id: key for key in restarted.hand_out(NODE, has)}
    assert has <= given.keys()
    assert given[old.key_id] != old
    assert [*given] == sorted(given, key=lambda one: (one not in has, one))
    assert restarted.hand_out(NODE, frozenset(given)) == []
