"""What goes over in an exchange between two peers, in both directions: told only where it is new.

Each end says what it has of the other, so that nothing is told twice: the other's bundle by its number,
its record and its list of peers by their digests.  Bundles of third members go along where both are peered
with one and the other end has an older bundle of it (push-pull): so a member that moved is found through a
common peer.  A bundle counts by its own signature, whoever hands it on; a record, because the connection of
its member attests it.  What is not taken stands with whoever told it, and why, until something better
comes.  What a peer changes has a rate: its bundle (see ``peers/peer_book.py``), and the list of those it
revoked, since every node hears of it; of a list that comes too soon the newest counts as soon as it may.  A member that tells an older bundle of itself than is known was restored from a
backup: it is shown the newer one, and goes on above that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from collective.core.buckets import Bucket
from collective.core.clock import Clock
from collective.core.errors import BusyError, CollectiveError, ConflictError, RejectedError
from collective.core.ids import Domain
from collective.core.log_rate import LogRate
from collective.federation.exchange.own_record import OwnRecord, digest_of
from collective.federation.peers.newer_bundle import OlderBundleError, newer_bundle
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import PeerBook
from collective.model.peers import MemberRecord
from collective.pki.bundle import SignedBundle, open_bundle
from collective.rpc.peer_word import NEWS_MAX, PeerWord

OFFERED_S: Final = 60.0
"""A bundle that was told and not taken is told again after so long."""
REVOKED_PER_S: Final = 1 / 30
"""How often a member's list of those it revoked changes in the long run: each change goes to every node."""
REVOKED_BURST: Final = 8.0
REPEATED_S: Final = 2.5 * OFFERED_S
"""What a peer passed on and was not taken is told again within this, or stands there no more."""


@dataclass(slots=True)
class _Known:
    """What one peer has of us, and what we have of it."""

    has_sequence: int = 0
    has_record: bytes = b""
    has_known: bytes = b""
    record: MemberRecord = field(default_factory=MemberRecord)
    record_digest: bytes = b""
    known: dict[Domain, int] = field(default_factory=dict)
    known_digest: bytes = b""
    is_behind: bool = False
    """It told a bundle of itself that is older than the one that is known."""
    granted: int = 0
    offered: dict[Domain, tuple[int, float]] = field(default_factory=dict)
    """Which bundle of each common peer it was told last, and when: one that it refuses is not told each time."""
    revocations: Bucket = field(default_factory=lambda: Bucket(REVOKED_BURST, REVOKED_PER_S))
    not_taken: dict[Domain | None, tuple[str, float]] = field(default_factory=dict)
    """Why a bundle that it told was not taken, by whose it is, and when; None: what cannot be read at all."""

    def may_offer(self, domain: Domain, sequence: int, now_s: float) -> bool:
        """Whether to tell of a common peer's bundle now; note that it is told."""
        before, at_s = self.offered.get(domain, (0, 0.0))
        if sequence == before and now_s - at_s < OFFERED_S:
            return False
        self.offered[domain] = (sequence, now_s)
        return True


class PeerWords:
    """Makes the words of this member, and takes those of its peers."""

    def __init__(self, bundle: OwnBundle, record: OwnRecord, book: PeerBook, clock: Clock) -> None:
        """Tell of ``bundle`` and ``record``; newer bundles go into ``book``."""
        self._bundle = bundle
        self._record = record
        self._book = book
        self._clock = clock
        self._peers: dict[Domain, _Known] = {}
        self._lines = LogRate()
        self._log = structlog.get_logger("coordinator.peers")
        book.watch(self._follow)

    def not_taken(self, domain: Domain) -> Sequence[str]:
        """Return what a peer told that was not taken, and why: a sentence each, with what to do."""
        now_s, told = self._clock.monotonic_s(), []
        for subject, (why, at_s) in self._of(domain).not_taken.items():
            if subject == domain:
                told.append(f"The bundle of {domain} is not taken: {why}")
            elif subject is None:
                told.append(f"What {domain} tells cannot be read: {why}")
            elif now_s - at_s < REPEATED_S:
                told.append(f"{domain} passes on a bundle of {subject} that is not taken: {why}")
        return told

    def about_own(self) -> Sequence[str]:
        """Return what the operator should know of this member's own bundle."""
        return self._bundle.warnings()

    def not_understood(self, domain: Domain, error: CollectiveError) -> None:
        """Note that what a peer tells cannot be read."""
        if self._book.is_peer(domain):
            reason = f"{error.message.rstrip('.')}; ask its operator which version it runs."
            self._refuse(domain, None, reason)

    def _refuse(self, teller: Domain, subject: Domain | None, why: str) -> None:
        """Note that something a peer told was not taken: told again at every exchange, and logged once."""
        not_taken, now_s = self._of(teller).not_taken, self._clock.monotonic_s()
        before, _ = not_taken.get(subject, ("", 0.0))
        not_taken[subject] = (why, now_s)
        if before != why:
            line = self._lines.take(teller, now_s)
            if line is not None:
                self._log.error("not taken", teller=teller, subject=subject, reason=why, **line)

    def granted_there(self, domain: Domain) -> int:
        """Return how many grants there are at a peer to this member and its people, as it says."""
        return self._of(domain).granted

    def record_of(self, domain: Domain) -> MemberRecord:
        """Return what a peer told of itself last; empty before that."""
        return self._of(domain).record

    def records(self) -> Sequence[tuple[Domain, MemberRecord]]:
        """Return what each peer told of itself last, in order of domain."""
        return [
            (known.bundle.domain, self.record_of(known.bundle.domain))
            for known in self._book.active()
        ]

    async def to(self, domain: Domain) -> PeerWord:
        """Return what a peer is told now."""
        there = self._of(domain)
        own, sequence = await self._bundle.current()
        record = self._record.current()
        record_digest = self._record.digest
        known = [
            (one.bundle.domain, one.peer.sequence)
            for one in self._book.active()
            if one.bundle.domain != domain
        ]
        known_digest = digest_of(known)
        is_newest = there.has_sequence == sequence
        return PeerWord(
            newest_of_yours=self._book.require(domain).peer.sequence,
            record_of_yours=there.record_digest,
            known_of_yours=there.known_digest,
            bundle=None if is_newest else own,
            record=None if there.has_record == record_digest else record,
            record_digest=record_digest,
            known=None if there.has_known == known_digest else known,
            known_digest=known_digest,
            news=self._news_for(domain, there),
            granted_to_you=(await self._book.granted()).get(domain, 0),
        )

    def _news_for(self, domain: Domain, there: _Known) -> Sequence[SignedBundle]:
        """Return bundles of which the other end has an older one: of common peers, and its own."""
        newer = [self._book.require(domain)] if there.is_behind else []
        newer += [
            one
            for one in self._book.active()
            if there.known.get(one.bundle.domain, one.peer.sequence) < one.peer.sequence
            and there.may_offer(one.bundle.domain, one.peer.sequence, self._clock.monotonic_s())
        ]
        return [SignedBundle(one.peer.body, one.peer.signature) for one in newer[:NEWS_MAX]]

    async def take(self, domain: Domain, word: PeerWord) -> None:
        """Take up what a peer tells.

        Raises:
            NotFoundError: it is no peer any more.
            RejectedError: its bundle is not to be believed.
        """
        there = self._of(domain)
        if word.bundle is not None:
            there.is_behind = not await self.take_bundle(domain, word.bundle, domain)
        there.not_taken.pop(None, None)
        there.has_sequence = word.newest_of_yours
        there.has_record, there.has_known = word.record_of_yours, word.known_of_yours
        there.granted = word.granted_to_you
        if word.record is not None:
            there.record, there.record_digest = word.record, word.record_digest
        self._settle_revoked(domain, there)
        if word.known is not None:
            there.known, there.known_digest = dict(word.known), word.known_digest
        for signed in word.news[:NEWS_MAX]:
            await self._take_news(domain, signed)

    def _settle_revoked(self, domain: Domain, there: _Known) -> None:
        """Have the newest list of those a peer revoked count, unless others came just before."""
        revoked = there.record.revoked
        if self._book.revoked_of(domain) == revoked:
            return
        if there.revocations.take(self._clock.monotonic_s()):
            self._book.revoked_changed(domain, revoked)

    async def _take_news(self, teller: Domain, signed: SignedBundle) -> None:
        """Take up what a peer says of a common peer, if that is newer and bears its signature."""
        try:
            subject = open_bundle(signed).domain
        except CollectiveError as error:
            self.not_understood(teller, error)
            return
        try:
            if subject == self._bundle.domain:
                await self._bundle.shown(signed)
            elif subject != teller and self._book.is_peer(subject):
                await self.take_bundle(subject, signed, teller)
        except CollectiveError as error:
            self._refuse(teller, subject, error.message)

    async def take_bundle(self, domain: Domain, signed: SignedBundle, teller: Domain) -> bool:
        """Take up what bears a peer's signature, handed over by ``teller``; tell whether it is not older.

        An older one is let be: the member it is of was restored, and hears which number is known.
        Raises NotFoundError where it is no peer, RejectedError where the bundle is not to be believed.
        """
        known = self._book.require(domain)
        try:
            bundle = newer_bundle(known, signed, self._clock.wall_s())
            if bundle is not None:
                await self._book.renew(signed, bundle, self._clock.monotonic_s())
        except OlderBundleError:
            return False
        except (ConflictError, BusyError) as error:
            self._refuse(teller, domain, error.message)
        except RejectedError as error:
            self._refuse(teller, domain, error.message)
            raise
        else:
            self._of(teller).not_taken.pop(domain, None)
            if bundle is not None:  # whoever told of the former one
                for there in self._peers.values():
                    there.not_taken.pop(domain, None)
        return True

    def _of(self, domain: Domain) -> _Known:
        return self._peers.setdefault(domain, _Known())

    def _follow(self) -> None:
        """Forget what is known of members that are no peers any more."""
        for domain in [one for one in self._peers if not self._book.is_peer(one)]:
            del self._peers[domain]
