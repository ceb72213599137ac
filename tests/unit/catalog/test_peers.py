"""Which peerings are taken up, and what takes the place of what."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from collective.catalog.decisions.peers import (
    STEP_BYTES,
    confirmed,
    next_sequence,
    removed,
    renewed,
    require_peer_code,
    step_of,
    surplus,
    taken_up,
)
from collective.core import limits
from collective.core.errors import ConflictError, NotFoundError, RejectedError
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.model.peers import Peer, PeerState
from collective.model.people import Invite, InviteKind
from tests.values import OPERATOR

BOB: Final = Domain("garage.bob")
CA, OTHER_CA = b"a" * 32, b"o" * 32
ACTIVE, WAITING, REMOVED = PeerState.ACTIVE, PeerState.WAITING, PeerState.REMOVED
CODE: Final = Invite(
    "c1", InviteKind.PEER, b"v" * 32, 1, 1, 100.0, OPERATOR, bound=SpiffeId.coordinator(BOB)
)


def peer(
    state: PeerState = ACTIVE, sequence: int = 5, digest: bytes = CA, body: bytes = b"body"
) -> Peer:
    return Peer(BOB, MemberId("bob"), state, digest, sequence, body, b"signature", 10)


def test_a_code_counts_for_the_one_member_that_it_was_made_for() -> None:
    require_peer_code(CODE, BOB)
    with pytest.raises(ConflictError, match=r"another member than home\.carol"):
        require_peer_code(CODE, Domain("home.carol"))
    with pytest.raises(ConflictError, match="another member"):
        require_peer_code(replace(CODE, bound=None), BOB)


@pytest.mark.parametrize("kind", [InviteKind.USER, InviteKind.NODE])
def test_a_code_of_another_kind_makes_no_peer(kind: InviteKind) -> None:
    eve = SpiffeId.user(BOB, GlobalId("eve", BOB))
    for bound in (CODE.bound, eve, None):
        with pytest.raises(ConflictError, match=f"for a {kind.value}"):
            require_peer_code(replace(CODE, kind=kind, bound=bound), BOB)


def test_a_stranger_is_taken_up_as_it_came_while_there_is_room() -> None:
    for state in (ACTIVE, WAITING):
        assert taken_up(None, peer(state), limits.PEERS_MAX - 1, replaces=False) == peer(state)
    for known in (None, peer(REMOVED)):
        with pytest.raises(ConflictError, match=f"{limits.PEERS_MAX} already"):
            taken_up(known, peer(), limits.PEERS_MAX, replaces=True)


def test_one_that_is_a_peer_already_needs_no_room() -> None:
    assert taken_up(peer(), peer(sequence=6), limits.PEERS_MAX, replaces=False).sequence == 6
    other = peer(digest=OTHER_CA)
    assert taken_up(peer(), other, limits.PEERS_MAX, replaces=True) == other


@pytest.mark.parametrize("known", [ACTIVE, WAITING])
def test_another_ca_of_a_known_domain_gives_way_only_where_its_owner_says_so(
    known: PeerState,
) -> None:
    other = peer(digest=OTHER_CA, sequence=99)
    with pytest.raises(ConflictError, match="with another CA"):
        taken_up(peer(known), other, 0, replaces=False)
    assert taken_up(peer(known), other, 0, replaces=True) == other


def test_a_tombstone_gives_way_to_any_ca_that_was_invited_anew() -> None:
    for digest in (CA, OTHER_CA):
        wanted = peer(WAITING, sequence=1, digest=digest)
        assert taken_up(peer(REMOVED), wanted, 0, replaces=False) == wanted


@pytest.mark.parametrize(
    ("known", "wanted", "state"),
    [
        (WAITING, WAITING, WAITING),
        (WAITING, ACTIVE, ACTIVE),
        (ACTIVE, WAITING, ACTIVE),
        (ACTIVE, ACTIVE, ACTIVE),
    ],
)
def test_a_second_code_never_takes_back_that_a_peer_counts(
    known: PeerState, wanted: PeerState, state: PeerState
) -> None:
    assert taken_up(peer(known), peer(wanted), 0, replaces=False).state is state


def test_of_two_bundles_of_one_ca_the_newer_is_kept_and_since_when_stays() -> None:
    known = replace(peer(sequence=5), since_ms=3, came_by="c1")
    older = replace(peer(sequence=4, body=b"older"), since_ms=9)
    same = peer(sequence=5, body=b"other")
    newer = replace(peer(sequence=6, body=b"newer"), since_ms=9, came_by="c2")
    assert taken_up(known, older, 0, replaces=False) == known
    assert taken_up(known, same, 0, replaces=True) == known
    taken = taken_up(known, newer, 0, replaces=False)
    assert (taken.sequence, taken.body) == (6, b"newer")
    assert (taken.since_ms, taken.came_by) == (3, "c2")


def test_a_newer_bundle_changes_what_a_bundle_says_and_nothing_else() -> None:
    known = replace(peer(WAITING), came_by="c1", is_seen=False)
    newer = Peer(
        BOB, MemberId("bobby"), ACTIVE, OTHER_CA, 6, b"newer", b"s", 99, "c2", is_seen=True
    )
    assert renewed(known, newer) == Peer(
        BOB, MemberId("bobby"), WAITING, OTHER_CA, 6, b"newer", b"s", 10, "c1", is_seen=False
    )


def test_a_bundle_of_the_past_or_of_a_second_coordinator_changes_nothing() -> None:
    with pytest.raises(RejectedError, match="older"):
        renewed(peer(), peer(sequence=4))
    with pytest.raises(ConflictError, match="Two coordinators"):
        renewed(peer(), peer(body=b"other"))
    assert renewed(peer(), peer()) is None


@pytest.mark.parametrize("known", [None, peer(REMOVED)])
def test_who_is_no_peer_is_neither_renewed_nor_confirmed_nor_removed(known: Peer | None) -> None:
    with pytest.raises(NotFoundError):
        renewed(known, peer(sequence=99))
    with pytest.raises(NotFoundError):
        confirmed(known, BOB, 1)
    with pytest.raises(NotFoundError):
        removed(known, BOB, 1, by_them=False)


def test_one_that_waits_counts_from_its_confirmation_on() -> None:
    waiting = replace(peer(WAITING), is_seen=False)
    assert confirmed(waiting, BOB, 77) == replace(peer(), since_ms=77)
    with pytest.raises(ConflictError, match="already"):
        confirmed(peer(), BOB, 77)


@pytest.mark.parametrize("state", [ACTIVE, WAITING])
def test_a_removed_peer_leaves_its_ca_and_the_time(state: PeerState) -> None:
    known = replace(peer(state), is_seen=False)
    assert removed(known, BOB, 77, by_them=False) == replace(peer(REMOVED), since_ms=77)


@pytest.mark.parametrize(
    ("stored", "is_same", "echoed", "number"),
    [
        (0, False, 0, 10),
        (0, True, 0, 10),
        (3, True, 0, 3),
        (3, False, 0, 13),
        (3, True, 3, 3),
        (3, False, 3, 13),
        (3, True, 2, 3),
        (3, True, 7, 17),
        (3, False, 7, 17),
    ],
)
def test_the_number_of_the_own_bundle_rises_with_its_content_and_above_what_was_shown(
    stored: int, is_same: bool, echoed: int, number: int
) -> None:
    assert next_sequence(stored, is_same=is_same, echoed=echoed, step=10) == number


def test_the_number_of_the_own_bundle_rises_by_at_least_one_and_by_what_was_drawn() -> None:
    assert step_of(bytes(STEP_BYTES)) == 1
    assert step_of(b"\xff" * STEP_BYTES) == 1 << 24
    assert len({step_of(bytes((n, 7, n))) for n in range(256)}) == 256


def test_the_oldest_tombstones_go_first_and_only_what_is_too_many() -> None:
    most = limits.PEER_TOMBSTONES_MAX
    dead = [
        replace(peer(REMOVED), domain=Domain(f"m{number}.x"), since_ms=(number * 7) % (most + 2))
        for number in range(most + 2)
    ]
    assert surplus(dead[:most]) == []
    oldest = sorted(dead, key=lambda one: one.since_ms)[:2]
    assert surplus(dead) == [one.domain for one in oldest]
