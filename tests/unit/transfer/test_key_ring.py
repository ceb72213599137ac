"""Ticket keys: fresh for signing, and the same again for receipts given before a restart."""

from __future__ import annotations

from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.ids import Domain, SpiffeId, parse_node_id
from collective.transfer.tickets.key_ring import KeyRing
from tests.roots import Roots

OWN = SpiffeId.coordinator(Domain("home.alice"))
NODE = SpiffeId.node(Domain("home.alice"), parse_node_id("alice-node-01"))
OTHER = SpiffeId.node(Domain("home.alice"), parse_node_id("alice-node-02"))
ROOT = b"r" * 32
NEXT = b"n" * 32


def ring(clock: ManualClock, roots: Roots | None = None) -> KeyRing:
    return KeyRing(OWN, roots or Roots(ROOT), clock)


def test_a_restarted_coordinator_checks_under_the_keys_of_before() -> None:
    clock = ManualClock()
    (old,) = ring(clock).hand_out(NODE, frozenset())
    clock.advance(60.0)
    after = ring(clock)
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
    assert ring(clock, Roots(b"x" * 32)).source(NODE).key(key.key_id) != key


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
    roots = Roots(ROOT)
    keys = ring(clock, roots)
    (old,) = keys.hand_out(NODE, frozenset())
    roots.ticket_root = NEXT
    assert keys.signing_key(NODE) == old, "the node has no other yet"
    (new,) = keys.hand_out(NODE, frozenset({old.key_id}))
    assert keys.signing_key(NODE) == new
    assert keys.source(NODE).key(old.key_id) == old, "receipts on their way count until the end"
    roots.rotations_ended += 1
    assert keys.source(NODE).key(old.key_id) != old
    assert keys.signing_key(NODE) == new
    given = {key.key_id: key for key in keys.hand_out(NODE, frozenset({old.key_id, new.key_id}))}
    assert given[new.key_id] == new
    assert given[old.key_id] != old, "the node's own old key is put out of use"


def test_the_relays_own_key_follows_the_new_root_at_once() -> None:
    roots = Roots(ROOT)
    keys = ring(ManualClock(), roots)
    old = keys.signing_key(OWN)
    assert old is not None
    roots.ticket_root = NEXT
    new = keys.signing_key(OWN)
    assert new is not None
    assert new.key_id > old.key_id
    assert keys.key(old.key_id) == old
    roots.rotations_ended += 1
    assert keys.key(old.key_id) != old
    assert keys.key(new.key_id) == new


def test_a_ring_that_nobody_asked_meanwhile_has_the_keys_of_one_that_was() -> None:
    clock, roots = ManualClock(), Roots(ROOT)
    asked, idle = ring(clock, roots), ring(clock, roots)
    for keys in (asked, idle):
        keys.hand_out(NODE, frozenset())
    roots.ticket_root = NEXT
    former = asked.signing_key(NODE)
    roots.rotations_ended += 1
    assert asked.signing_key(OWN) == idle.signing_key(OWN)
    assert former is not None
    has = frozenset({former.key_id})
    assert asked.hand_out(NODE, has) == idle.hand_out(NODE, has)
    assert asked.signing_key(NODE) == idle.signing_key(NODE)
    assert asked.secrets(b"x") == idle.secrets(b"x")


def test_after_a_restart_a_node_gives_up_what_it_holds_of_a_root_that_ended() -> None:
    clock = ManualClock()
    (old,) = ring(clock).hand_out(NODE, frozenset())
    clock.advance(5.0)
    planted = int(clock.wall_s()) + 500_000
    restarted = ring(clock, Roots(NEXT))
    has = frozenset({old.key_id, planted})
    given = {key.key_id: key for key in restarted.hand_out(NODE, has)}
    assert has <= given.keys()
    assert given[old.key_id] != old
    assert [*given] == sorted(given, key=lambda one: (one not in has, one))
    assert restarted.hand_out(NODE, frozenset(given)) == []
