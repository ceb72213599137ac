"""Whether one member can still believe what another's bundles say, by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collective.core.errors import RejectedError
from collective.federation.peers.newer_bundle import OlderBundleError, newer_bundle
from collective.model.peers import PeerState

if TYPE_CHECKING:
    from tests.simulation.houses.household import Household


def is_estranged(one: Household, other: Household) -> bool:
    """Tell whether one of two peers can never believe the other's CA again, by itself."""
    return cannot_follow(one, other) or cannot_follow(other, one)


def cannot_follow(house: Household, other: Household) -> bool:
    """Tell whether ``house`` has ``other`` for a peer with a CA that nobody who is trusted has spoken for since."""
    here, there = house.wired(), other.wired()
    if here is None or there is None:
        return False
    known = here.ground.federation.book.all.get(other.domain)
    signed = there.ground.federation.bundle._signed
    if known is None or known.peer.state is not PeerState.ACTIVE or signed is None:
        return False
    try:
        newer_bundle(known, signed, house.member.machines[house.member.coordinator].clock.wall_s())
    except OlderBundleError:
        return False
    except RejectedError:
        return True
    return False
