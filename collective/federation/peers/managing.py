"""What admins see and do about the peers that there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from collective.catalog.interface import Identities, Peers
from collective.core.ids import Domain
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import Known, PeerBook
from collective.model.calls import Call
from collective.model.peers import PeerFacts, PeerState
from collective.pki.certificates import certificate_der


class Condition(Protocol):
    """How a peer is now."""

    def describe(self, known: Known, granted: int) -> PeerFacts:
        """Return what is known of a peer, to whose people there are ``granted`` grants here."""
        ...


class Managing:
    """Lists, confirms and removes peers, for admins; and says what their CAs are."""

    def __init__(
        self,
        identities: Identities,
        peers: Peers,
        book: PeerBook,
        own: OwnBundle,
        condition: Condition,
    ) -> None:
        """Manage the peers of ``book``."""
        self._identities = identities
        self._peers = peers
        self._book = book
        self._own = own
        self._condition = condition
        self._log = structlog.get_logger("coordinator.peers")

    @property
    def own_fingerprint(self) -> str:
        """What the other side compares."""
        return self._own.fingerprint

    async def all(
        self, call: Call, *, with_removed: bool = True, shown: bool = False
    ) -> Sequence[PeerFacts]:
        """Return every peer, in order of domain; also the tombstones of those removed, where asked.

        ``shown``: to an admin, so those returned count as seen.
        """
        await self._identities.require_admin(call, "see peers")
        granted = await self._book.granted()
        found = [
            self._condition.describe(known, granted.get(domain, 0))
            for domain, known in self._book.all.items()
            if with_removed or known.peer.state is not PeerState.REMOVED
        ]
        fresh = [one.domain for one in found if not one.is_seen]
        if shown and fresh:
            await self._peers.note_seen(call, fresh)
            await self._book.load()
        return found

    async def one(self, domain: Domain) -> PeerFacts:
        """Return a peer that was just taken up or changed."""
        granted = (await self._book.granted()).get(domain, 0)
        return self._condition.describe(self._book.all[domain], granted)

    def authorities(self, domain: Domain) -> Sequence[bytes]:
        """Return the CAs (DER) of a peer that counts; for everybody.  NotFoundError where it is none."""
        return [certificate_der(one) for one in self._book.require(domain).bundle.authorities]

    async def confirm(self, call: Call, domain: Domain) -> PeerFacts:
        """Let a peer count that waits."""
        await self._book.confirm(call, domain)
        return await self.one(domain)

    async def remove(self, call: Call, domain: Domain) -> PeerFacts:
        """End a peering, and with it all grants to its people."""
        await self._book.remove(call, domain)
        self._log.warning("peer removed", domain=domain)
        return await self.one(domain)
