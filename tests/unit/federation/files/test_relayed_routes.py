"""Routes of a peer as this member's people are to take them, and those that no honest peer gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import pytest

from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.errors import RejectedError
from collective.core.ids import ChunkId, Domain, SpiffeId
from collective.core.units import Address
from collective.federation.files.relayed_routes import RelayedRoutes
from collective.federation.links.peer_link import PeerLink
from collective.model.calls import Call
from collective.model.routes import Operation, Route, SignedTicket
from collective.transfer.tickets.key_ring import KeyRing
from collective.transfer.tickets.reading import read_ticket
from tests.roots import Roots
from tests.unit.pki.forge import ALICE, BOB

OURS, THEIRS = SpiffeId.coordinator(ALICE), SpiffeId.coordinator(BOB)
ANNA: Final = SpiffeId.parse("spiffe://home.alice/user/home.alice/anna")
CALL: Final = Call(ANNA, is_operator=False)
CHUNK: Final = ChunkId(b"c" * 32)
NODES: Final = tuple(SpiffeId.parse(f"spiffe://garage.bob/node/n{n}") for n in range(3))
OUR_NODE: Final = SpiffeId.parse("spiffe://home.alice/node/nas")
HOME, THERE, THIRD = Address("10.0.0.1", 1), Address("10.0.0.2", 2), Address("6.6.6.6", 6)


@dataclass
class Link:
    domain: Domain = BOB
    identity: SpiffeId = THEIRS
    addresses: Sequence[Address] = (THERE,)


def hops(count: int) -> tuple[SignedTicket, ...]:
    return tuple(SignedTicket(bytes([n]), n, b"m") for n in range(count))


RELAYED: Final = Route(CHUNK, 1000, hops(4), THEIRS, (THIRD,), NODES)
DIRECT: Final = Route(CHUNK, 1000, hops(3), NODES[0], (THERE,), NODES)
RING: Final = KeyRing(OURS, Roots(b"r" * 32), ManualClock())
ROUTES: Final = RelayedRoutes(OURS, (HOME,), RING, cast("PeerLink", Link()))


def usable(route: Route, call: Call = CALL) -> Route:
    [found] = ROUTES.of(call, [route], Operation.PUT, CHUNK, "ab" * 16)
    return found


def test_a_route_straight_to_a_peers_node_is_taken_as_it_is() -> None:
    assert usable(DIRECT) == DIRECT


def test_a_route_by_the_peers_coordinator_passes_ours_first() -> None:
    route = usable(RELAYED)
    assert (route.first, route.addresses) == (OURS, (HOME,))
    assert route.hops[1:] == RELAYED.hops
    ticket = read_ticket(route.hops[0])
    assert (ticket.holder, ticket.next_node) == (str(ANNA), str(THEIRS))
    assert [one.host for one in ticket.next_addresses] == [THERE.host], "as its bundle says"
    assert len(route.hops) <= limits.ROUTE_MAX_HOPS


def test_what_our_coordinator_carries_itself_goes_to_the_peers_where_its_bundle_says() -> None:
    route = usable(RELAYED, CALL._replace(carrier=OURS))
    assert route == RELAYED._replace(addresses=(THERE,))


@pytest.mark.parametrize(
    "other",
    [
        {"chunk": ChunkId(b"d" * 32)},
        {"first": OUR_NODE},
        {"first": OURS},
        {"first": SpiffeId.parse("spiffe://home.carol/node/n0")},
        {"first": SpiffeId.parse("spiffe://home.carol/coordinator")},
        {"first": SpiffeId.parse("spiffe://garage.bob/bootstrap/edge")},
        {"first": SpiffeId.parse("spiffe://garage.bob/user/garage.bob/eve")},
        {"storing": (OUR_NODE,)},
        {"storing": (*NODES, OUR_NODE)},
        {"storing": (OURS,)},
        {"storing": (THEIRS,)},
        {"stored_length": 0},
        {"stored_length": -1},
        {"stored_length": limits.CHUNK_STORED_MAX_BYTES + 1},
        {"hops": hops(limits.ROUTE_MAX_HOPS)},
    ],
)
@pytest.mark.parametrize("route", [RELAYED, DIRECT])
def test_a_route_of_anothers_is_refused_and_none_beside_it_is_used(
    route: Route, other: dict[str, Any]
) -> None:
    """One that named our nodes as those that store would have us avoid them when it fails."""
    for given in ([route._replace(**other)], [DIRECT, route._replace(**other)]):
        with pytest.raises(RejectedError, match=r"garage\.bob answers"):
            ROUTES.of(CALL, given, Operation.GET, CHUNK, "ab" * 16)
