"""What admins see and do about the peers that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from collective.catalog.decisions.peers import no_such_peer
from collective.catalog.interface import Identities, Peers
from collective.core.errors import CollectiveError
from collective.core.ids import Domain
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import Known, PeerBook
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.peers import PeerFacts, PeerGrants, PeerState
from collective.pki.certificates import certificate_der


class LivePeers(Protocol):
    """What is known of peers beside what is stored: whether they answer, and what passes between us."""

    def describe(self, known: Known, granted: Mapping[Domain, int]) -> PeerFacts:
        """Return what an admin is told of a peer; ``granted``: the grants here, by domain."""
        ...

    async def grants_there(self, domain: Domain) -> Sequence[Grant]:
        """Ask a peer which grants there are to this member and its people.

        Raises:
            UnreachableError, BusyError, RejectedError: it does not say.
        """
        ...


class Managing:
    """Lists, confirms and removes peers, for admins; and says what their CAs are."""

    def __init__(
        self,
        identities: Identities,
        peers: Peers,
        book: PeerBook,
        own: OwnBundle,
        live: LivePeers,
    ) -> None:
        """Manage the peers of ``book``."""
        self._identities = identities
        self._peers = peers
        self._book = book
        self._own = own
        self._live = live
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
        listed = [
            known
            for known in self._book.all.values()
            if with_removed or known.peer.state is not PeerState.REMOVED
        ]
        found = await self._described(listed, granted)
        fresh = [one.domain for one in found if not one.is_seen]
        if shown and fresh:
            await self._peers.note_seen(call, fresh)
            await self._book.load()
        return found

    async def one(self, domain: Domain) -> PeerFacts:
        """Return a peer that was just taken up or changed."""
        [found] = await self._described([self._book.all[domain]], await self._book.granted())
        return found

    async def _described(
        self, listed: Sequence[Known], granted: Mapping[Domain, int]
    ) -> list[PeerFacts]:
        names = await self._book.names_given_out(
            [one.bundle.domain for one in listed if one.peer.state is not PeerState.REMOVED]
        )
        return [
            replace(
                self._live.describe(one, granted),
                names_here=tuple(names.get(one.bundle.domain, ())),
            )
            for one in listed
        ]

    async def show(self, call: Call, domain: Domain) -> tuple[PeerFacts, PeerGrants]:
        """Return a peer, or a tombstone, and what is granted in both directions.

        NotFoundError where there is neither.
        """
        await self._identities.require_admin(call, "see peers")
        if domain not in self._book.all:
            raise no_such_peer(domain)
        here = tuple(await self._book.grants_to(domain))
        there: tuple[Grant, ...] = ()
        why_not = ""
        try:
            if self._book.is_peer(domain):
                there = tuple(await self._live.grants_there(domain))
        except CollectiveError as error:
            why_not = error.message
        return await self.one(domain), PeerGrants(here, there, why_not)

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
