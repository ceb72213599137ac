"""Other members with whom trust was exchanged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from collective.core.ids import Domain, SpiffeId
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.peers import Peer

NAMES_MAX: Final = 100
"""Names in one peer's domain that are told of."""


class Peers(Protocol):
    """Peers, tombstones of removed ones, and the number of this member's own bundle.

    That a bundle is sound, and of whom it is, was checked before; here it is decided what takes the
    place of what.
    """

    async def all(self) -> Sequence[Peer]:
        """Return every peer and tombstone, in order of domain."""
        ...

    async def redeem(self, code_id: str, peer: Peer, *, request_id: str = "") -> Peer:
        """Take ``peer`` up by a code whose secret it proved, and count the use; return it as stored.

        It waits to be confirmed where the code asks for that.  A repeated redemption by the same CA
        changes nothing, unless it was removed meanwhile: then the code is used up.

        Raises:
            ConflictError: the code is for another domain or kind, or cannot be redeemed; or the domain is
                another CA's here.
            NotFoundError: there is no such code.
        """
        ...

    async def accept(self, actor: Call, peer: Peer, *, replaces: bool = False) -> Peer:
        """Take ``peer`` up, whose code the operator accepted; return it as stored.

        It counts as seen, save where names in its domain were given out here before.

        ``replaces``: another CA of the same domain gives way, and with it all grants to the domain.

        Raises:
            PermissionDeniedError: ``actor`` is no admin.
            ConflictError: the domain is another CA's here, or there are too many peers.
        """
        ...

    async def introduce(self, peer: Peer) -> Peer:
        """Take ``peer`` up, which the operator's introductions folder tells of; return it as stored.

        A member that is a peer already stays as it is.

        Raises:
            ConflictError: the domain is another CA's here, was removed, or there are too many peers.
        """
        ...

    async def confirm(self, actor: Call, domain: Domain) -> Peer:
        """Let a peer count that waits for it; raises as :meth:`accept`, and NotFoundError."""
        ...

    async def renew(self, newer: Peer) -> Peer | None:
        """Keep a newer bundle of a peer; None where it is the one that is known.

        Raises:
            NotFoundError: it is no peer any more.
            RejectedError: it is older than what is known.
            ConflictError: it has the number of what is known, and says something else.
        """
        ...

    async def remove(self, actor: Call, domain: Domain, *, by_them: bool = False) -> Peer:
        """End a peering: all grants to and by its people end with it, for good.

        ``by_them``: the peer has ended it.

        Raises:
            PermissionDeniedError: ``actor`` is no admin.
            NotFoundError: it is no peer.
        """
        ...

    async def granted(self) -> Mapping[Domain, int]:
        """Return how many live grants there are to the people of each other domain, and to it as a whole."""
        ...

    async def grants_to(self, domain: Domain, most: int) -> Sequence[Grant]:
        """Return the first ``most`` live grants to another member and its people, in order of path."""
        ...

    async def names_given_out(
        self, own: Domain, domains: Collection[Domain]
    ) -> Mapping[Domain, Sequence[SpiffeId]]:
        """Return people of this member (``own``) by the other member's domain that their name is in.

        They joined, or were given rights, before that member was a peer.  Those who are shut out are left
        out, as is what is beyond NAMES_MAX of a domain.
        """
        ...

    async def note_seen(self, actor: Call, domains: Collection[Domain]) -> None:
        """Note that an admin was told of these peers; what is none is passed over."""
        ...

    async def own_sequence(self, digest: bytes, *, echoed: int = 0) -> int:
        """Return the number of this member's bundle, kept durably before it is given out.

        It rises by random steps, so that no two futures of one backup give one number to two contents.

        Args:
            digest: of what the bundle says; another one has a higher number.
            echoed: the highest number that a peer has shown of it; the own is above it from then on.

        """
        ...
