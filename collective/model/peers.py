"""Peers: other members with whom trust was exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from collective.core.ids import Domain, MemberId, SpiffeId
from collective.core.units import Address
from collective.model.grants import Grant
from collective.model.nodes import NodeStatus


class PeerState(Enum):
    """How far a peering is."""

    WAITING = "waiting"
    """It came by an invitation that asks to be confirmed; nothing of it counts yet."""
    ACTIVE = "active"
    REMOVED = "removed"
    """A tombstone: its CA is known, so that it can be told, and nothing of it counts."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer as the catalogue keeps it."""

    domain: Domain
    member: MemberId
    state: PeerState
    authority_digest: bytes
    """SHA-256 of the key of the CA that signs its servers; with the domain, its lineage."""
    sequence: int
    """Of the bundle."""
    body: bytes
    """Of the newest bundle that was taken, as it was signed."""
    signature: bytes
    since_ms: int
    """When it was peered with, or removed."""
    came_by: str = ""
    """The id of the code that it redeemed here; empty where this member accepted, or was introduced."""
    is_seen: bool = True
    """An admin has been told that it came, and which names in its domain were given out here before."""
    taken_ms: int = 0
    """When this bundle was taken."""


@dataclass(frozen=True, slots=True)
class Inviter:
    """Who made a code, as shown to who may accept it: nothing secret was sent yet."""

    member: MemberId
    domain: Domain
    addresses: tuple[Address, ...]
    fingerprint: str
    """For two people to compare: that of the inviter's CA."""
    own_fingerprint: str
    """That of the CA of the member that accepts."""


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """What there is between this member and a peer; all but the grants since this coordinator started."""

    granted: int = 0
    """Grants here to it and its people."""
    granted_there: int = 0
    """Grants there to this member and its people, as it says."""
    sent_bytes: int = 0
    """Of chunks, to its coordinator and nodes: relayed and copied."""
    received_bytes: int = 0
    refused: int = 0
    """Calls, tickets and connections of it and its people that were refused here."""


class Reach(Enum):
    """Whether one coordinator reaches another at the addresses of its bundle, as the other one is told.

    The other one chose these addresses.  So it is told one of a few words, the same for all that an
    address can do but to answer with a certificate: else it could look around in the teller's network.
    """

    REACHED = "reached"
    NOT_REACHED = "not_reached"
    OTHER_AUTHORITY = "other_authority"
    """The certificate there is of another CA."""
    CLOCKS_DIFFER = "clocks_differ"
    """The certificate there has expired, or is not valid yet, by the teller's clock."""

    @property
    def is_reached(self) -> bool:
        """Whether it does."""
        return self is Reach.REACHED

    @property
    def why(self) -> str:
        """Why it does not, as a sentence; empty where it does."""
        return _WHY_NOT.get(self, "")


_WHY_NOT: Final = {
    Reach.NOT_REACHED: "This member does not answer it at the addresses that it advertises.",
    Reach.OTHER_AUTHORITY: "What answers it there has a certificate of another CA.",
    Reach.CLOCKS_DIFFER: (
        "The certificate that it sees there has expired or is not valid yet: the clocks differ."
    ),
}


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """A peer as an admin sees it."""

    member: MemberId
    domain: Domain
    state: PeerState
    addresses: tuple[Address, ...]
    fingerprint: str
    sequence: int
    version: str
    since_ms: int
    is_seen: bool
    is_healthy: bool
    last_seen_ms: int
    """Unix milliseconds; 0: never since this coordinator started."""
    latency_ms: float
    why_away: str
    """Why it cannot be reached; empty where it can."""
    taken_ms: int
    """When its bundle was taken."""
    figures: PeerFigures
    not_taken: tuple[str, ...] = ()
    """What it told that was not taken, and why: a sentence each."""
    names_here: tuple[SpiffeId, ...] = ()
    """People of this member with a name in its domain: given out before it was a peer."""
    reach: Reach | None = None
    """How it reaches this member, as it said last; None where it has said nothing."""


@dataclass(frozen=True, slots=True)
class AcceptedPeer:
    """What came of accepting a code."""

    peer: PeerFacts
    is_waiting: bool
    """The inviter's operator has to confirm first; until then it lets nobody in."""


@dataclass(frozen=True, slots=True)
class PeerGrants:
    """What is granted between this member and a peer."""

    here: tuple[Grant, ...]
    """To it and its people; at most GRANTS_SHOWN_MAX."""
    there: tuple[Grant, ...]
    """To this member and its people, as it says, by the paths and ids by which they are called here."""
    why_not_there: str = ""
    """Why those there are not known; empty where they are."""


@dataclass(frozen=True, slots=True)
class PeeringAttempt:
    """A peering by a code as it came in, nothing checked."""

    code_id: str
    nonce: bytes
    body: bytes
    """Of the bundle of the member that comes."""
    signature: bytes
    proof: bytes
    leaf_digests: tuple[bytes, ...]
    """SHA-256 of the leaf that the connection was served with; several after a renewal."""
    request_id: str = ""
    source: str = ""
    """The host that the connection comes from."""


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """What a member tells its peers of itself beside its bundle."""

    revoked: tuple[str, ...] = ()
    """Identities, keys and serials of its own that count no more, as ``pki.revocation`` writes them."""
    nodes: tuple[NodeStatus, ...] = ()
    """As everybody there sees them."""
