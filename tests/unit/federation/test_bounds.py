"""What one peer may ask, whomever it names, and what it may tell of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from collective.core.clock import ManualClock
from collective.core.errors import BusyError, PermissionDeniedError, RejectedError
from collective.core.ids import Domain, MemberId, SpiffeId
from collective.core.units import Address
from collective.federation.links.peer_call_limits import (
    BURST,
    CALLS_MAX,
    EXCHANGES_BURST,
    PeerCallLimits,
)
from collective.federation.links.peer_link import ASKED_EARLY_S, PeerLink
from collective.federation.links.tallies import PeerTallies
from collective.federation.peers.newer_bundle import newer_bundle
from collective.federation.peers.peer_book import Known, PeerBook, peer_of
from collective.model.peers import PeerState
from collective.pki.bundle import Bundle, SignedBundle, sign_bundle
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import Certified
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.headers import PRINCIPAL_KEY
from collective.rpc.server import context
from tests.worlds import world_of

BOB = Domain("home.bob")
HERE = (Address("127.0.0.1", 1),)


class AllPeers:
    """A book in which everybody is a peer."""

    all: Mapping[Domain, object] = {}

    def watch(self, _: object) -> None:
        """Nothing changes."""

    def is_peer(self, domain: Domain) -> bool:
        return bool(domain)


class NoMetrics:
    def operation(self, *_: object) -> None:
        """Count nothing."""


def call_limits(clock: ManualClock) -> PeerCallLimits:
    book = cast("PeerBook", AllPeers())
    return PeerCallLimits(book, PeerTallies(book), clock)


def test_calls_under_way_and_in_a_row_are_bounded_for_each_peer() -> None:
    clock = ManualClock()
    here = call_limits(clock)
    for _ in range(CALLS_MAX):
        here.enter(BOB)
    with pytest.raises(BusyError, match="under way"):
        here.enter(BOB)
    here.enter(Domain("home.carol"))
    for _ in range(CALLS_MAX):
        here.leave(BOB, "ok")
    for _ in range(int(BURST) - CALLS_MAX):
        here.enter(BOB)
        here.leave(BOB, "ok")
    with pytest.raises(BusyError, match="too often"):
        here.enter(BOB)
    clock.advance(1)
    here.enter(BOB)


def test_exchanges_are_bounded_by_themselves() -> None:
    clock = ManualClock()
    here = call_limits(clock)
    for _ in range(int(EXCHANGES_BURST)):
        here.exchange(BOB)
    with pytest.raises(BusyError, match="exchanges too often"):
        here.exchange(BOB)
    here.enter(BOB)
    clock.advance(1)
    here.exchange(BOB)


async def test_calls_that_are_refused_count_like_others() -> None:
    """Else to name somebody wrong would be a way around the bounds."""
    clock = ManualClock()
    metrics: Any = NoMetrics()
    admission = Admission(Domain("home.alice"), metrics, clock, call_limits(clock))
    peer = Certified(SpiffeId.coordinator(BOB), "01", 0.0, 4e9, ())
    told: dict[str, str | bytes] = {PRINCIPAL_KEY: "spiffe://home.alice/user/home.alice/una"}
    context.enter(context.CallContext(peer, "r1", "/collective.v1.files.Files/Stat", told))

    async def call() -> None:
        async with admission.call("stat", "/x"):
            raise AssertionError("not reached")

    for _ in range(int(BURST)):
        with pytest.raises(PermissionDeniedError):
            await call()
    with pytest.raises(BusyError):
        await call()


def test_a_peer_that_is_away_and_calls_is_looked_for_early_once_in_a_while() -> None:
    """What it says of where it is may be a third party's."""
    nothing: Any = object()
    link = PeerLink(BOB, HERE, nothing, nothing, ManualClock(), nothing)
    assert not link.may_be_asked_early(1000.0)
    link.health.failed(0.0, "gone")
    asked = [link.may_be_asked_early(1000.0 + second) for second in range(int(ASKED_EARLY_S) + 1)]
    assert asked == [True] + [False] * (int(ASKED_EARLY_S) - 1) + [True]
    link.answered(0.0)
    link.health.failed(0.0, "gone")
    assert link.may_be_asked_early(1032.0)


# --- bundles --------------------------------------------------------------------------------------


def known_as(signed: SignedBundle, bundle: Bundle) -> Known:
    return Known(peer_of(signed, bundle, PeerState.ACTIVE), bundle)


def test_a_thief_of_an_old_cas_key_has_no_newer_one_forgotten() -> None:
    clock = ManualClock()
    old = CertificateAuthority.create(MemberId("bob"), BOB, world_of(clock))
    clock.advance(3600)
    new = CertificateAuthority.create(MemberId("bob"), BOB, world_of(clock))
    told = Bundle(MemberId("bob"), BOB, (old.certificate, new.certificate), HERE, sequence=5)
    known = known_as(sign_bundle(told, old), told)
    thiefs = replace(told, authorities=(old.certificate,), sequence=6)
    with pytest.raises(RejectedError, match="leaves out"):
        newer_bundle(known, sign_bundle(thiefs, old), clock.wall_s())
    done = replace(told, authorities=(new.certificate,), sequence=6)
    assert newer_bundle(known, sign_bundle(done, new), clock.wall_s()) == done


def test_a_member_does_not_take_another_ones_name() -> None:
    clock = ManualClock()
    ca = CertificateAuthority.create(MemberId("bob"), BOB, world_of(clock))
    told = Bundle(MemberId("bob"), BOB, (ca.certificate,), HERE, sequence=5)
    known = known_as(sign_bundle(told, ca), told)
    other = replace(told, member=MemberId("alice"), sequence=6)
    with pytest.raises(RejectedError, match="another member"):
        newer_bundle(known, sign_bundle(other, ca), clock.wall_s())
