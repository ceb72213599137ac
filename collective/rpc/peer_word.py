"""What coordinators of peers tell each other in an exchange, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from collective.core.ids import Domain
from collective.core.limits import KIB
from collective.model.peers import MemberRecord, Reach
from collective.pki.bundle import SignedBundle

NEWS_MAX: Final = 8
"""Bundles of third members in one exchange; the others follow with the next."""
NODES_MAX: Final = 64
"""Nodes that a record tells of."""
RECORD_PART_MAX_BYTES: Final = 32 * KIB
"""Of its nodes, and of what is revoked: everybody's status shows the nodes of all peers, and each of our
own nodes hears what all of them have revoked, in one message."""
REVOKED_MAX: Final = 2000
"""What a record tells of as revoked: what a peer's nodes do not hear of ends with its tickets."""


@dataclass(frozen=True, slots=True)
class PeerWord:
    """What one end tells the other."""

    newest_of_yours: int
    """The number of the newest bundle of the other end that it has."""
    record_of_yours: bytes
    """The digest of the record of the other end that it has; empty for none."""
    known_of_yours: bytes
    """The digest of the list of known members of the other end that it has."""
    bundle: SignedBundle | None = None
    """Its own; None where the other end has it, as in all that follows."""
    record: MemberRecord | None = None
    record_digest: bytes = b""
    known: Sequence[tuple[Domain, int]] | None = None
    """Its peers, each with the number of the newest bundle that it has of it."""
    known_digest: bytes = b""
    news: Sequence[SignedBundle] = ()
    """Of third members."""
    granted_to_you: int = 0
    """Grants at the teller to the other end and its people."""
    reach: Reach | None = None
    """How the teller reaches the other end; None where it has not tried yet."""
