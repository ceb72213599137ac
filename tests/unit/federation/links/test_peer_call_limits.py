"""What a peer may ask at once and in a while, each for itself."""

from __future__ import annotations

from typing import cast

import pytest

from collective.core.clock import ManualClock
from collective.core.errors import BusyError, PermissionDeniedError
from collective.core.ids import Domain
from collective.federation.links.peer_call_limits import (
    BURST,
    CALLS_MAX,
    RATE_PER_S,
    PeerCallLimits,
)
from collective.federation.links.tallies import PeerTallies
from collective.federation.peers.peer_book import PeerBook
from tests.unit.pki.bundles import CAROL
from tests.unit.pki.forge import BOB


class Book:
    """Peers that come and go as a test likes."""

    def __init__(self) -> None:
        self.peers = {BOB, CAROL}

    def watch(self, _: object) -> None:
        """Change unseen."""

    def is_peer(self, domain: Domain) -> bool:
        return domain in self.peers


class Door:
    def __init__(self) -> None:
        self.clock, self.book = ManualClock(), Book()
        book = cast("PeerBook", self.book)
        self.tallies = PeerTallies(book)
        self.call_limits = PeerCallLimits(book, self.tallies, self.clock)

    def call(self, domain: Domain = BOB) -> None:
        self.call_limits.enter(domain)
        self.call_limits.leave(domain, "ok")


def test_calls_under_way_are_bounded_for_each_peer_by_itself() -> None:
    door = Door()
    for _ in range(CALLS_MAX):
        door.call_limits.enter(BOB)
    with pytest.raises(BusyError, match="under way"):
        door.call_limits.enter(BOB)
    door.call(CAROL)
    door.call_limits.leave(BOB, "ok")
    door.call_limits.enter(BOB)
    with pytest.raises(BusyError):
        door.call_limits.enter(BOB)


def test_a_peer_that_calls_too_often_is_told_so_until_time_has_passed() -> None:
    door = Door()
    for _ in range(int(BURST)):
        door.call()
    with pytest.raises(BusyError, match="too often"):
        door.call()
    door.call(CAROL)
    door.clock.advance(1.0)
    for _ in range(int(RATE_PER_S)):
        door.call()
    with pytest.raises(BusyError):
        door.call()


def test_a_pause_gives_back_no_more_than_a_burst() -> None:
    door = Door()
    door.call()
    door.clock.advance(1e6)
    for _ in range(int(BURST)):
        door.call()
    with pytest.raises(BusyError):
        door.call()


def test_a_refused_call_takes_no_place() -> None:
    door = Door()
    for _ in range(CALLS_MAX):
        door.call_limits.enter(BOB)
    for _ in range(3):
        with pytest.raises(BusyError):
            door.call_limits.enter(BOB)
    for _ in range(CALLS_MAX):
        door.call_limits.leave(BOB, "ok")
    for _ in range(CALLS_MAX):
        door.call_limits.enter(BOB)


def test_an_exchange_gets_through_beside_as_many_calls_as_there_may_be() -> None:
    """Else a peer that is used to the full would be taken for one that is away, and cut off."""
    door = Door()
    for _ in range(CALLS_MAX):
        door.call_limits.enter(BOB)
    for _ in range(3):
        door.call_limits.exchange(BOB)
    for _ in range(int(BURST)):
        try:
            door.call_limits.exchange(BOB)
        except BusyError:
            break
    with pytest.raises(BusyError, match="too often"):
        door.call_limits.exchange(BOB)


def test_a_stranger_and_a_removed_peer_are_refused() -> None:
    door = Door()
    stranger = Domain("lab.mallory")
    for begin in (door.call_limits.enter, door.call_limits.exchange):
        with pytest.raises(PermissionDeniedError, match="no peer here"):
            begin(stranger)
    door.call_limits.enter(BOB)
    door.book.peers.clear()
    for begin in (door.call_limits.enter, door.call_limits.exchange):
        with pytest.raises(PermissionDeniedError):
            begin(BOB)
    door.call_limits.leave(BOB, "ok")
