"""What goes on between this member and each peer, counted since the coordinator started.

Of members that are no peers any more nothing is kept, so there are never more counts than peers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from collective.core.ids import Domain, SpiffeId
from collective.federation.peers.peer_book import PeerBook

DURATIONS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the parts that durations of calls fall in; longer ones are in one more."""


class Way(Enum):
    """Who called whom."""

    IN = "in"
    """The peer, for its people."""
    OUT = "out"


@dataclass(slots=True)
class PeerTally:
    """Of one peer."""

    calls: Counter[tuple[Way, str]] = field(default_factory=Counter)
    """Forwarded calls that ended, by their result: ``ok``, or the error's code."""
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATIONS_S) + 1))
    """Calls to it by how long they took: as many as fell in each part of DURATIONS_S."""
    waited_s: float = 0.0
    """What these calls took together."""
    sent_bytes: int = 0
    """Of chunks, to its coordinator and nodes."""
    received_bytes: int = 0
    refused: int = 0
    """Calls, tickets and connections of it and its people that were refused here."""


class PeerTallies:
    """Counts, by peer."""

    def __init__(self, book: PeerBook) -> None:
        """Count for the peers of ``book``."""
        self._book = book
        self._of: dict[Domain, PeerTally] = {}
        book.watch(self._follow)

    def of(self, domain: Domain) -> PeerTally:
        """Return what was counted of a peer; of any other nothing is kept."""
        if not self._book.is_peer(domain):
            return PeerTally()
        return self._of.setdefault(domain, PeerTally())

    def called(self, domain: Domain, result: str) -> None:
        """Count a call of a peer that ended."""
        self.of(domain).calls[Way.IN, result] += 1

    def calls(self, domain: Domain, result: str, duration_s: float) -> None:
        """Count a call to a peer that ended."""
        tally = self.of(domain)
        tally.calls[Way.OUT, result] += 1
        part = sum(duration_s > end for end in DURATIONS_S)
        tally.durations[part] += 1
        tally.waited_s += duration_s

    def moved(self, other: SpiffeId, sent_bytes: int, received_bytes: int) -> None:
        """Count payload of chunks that went to ``other`` or came from it."""
        if other.trust_domain in self._book.all:
            tally = self.of(other.trust_domain)
            tally.sent_bytes += sent_bytes
            tally.received_bytes += received_bytes

    def refused(self, domain: Domain) -> None:
        """Count something of a member, or of its people, that was refused here."""
        self.of(domain).refused += 1

    def _follow(self) -> None:
        """Forget members that are no peers any more."""
        for gone in [one for one in self._of if not self._book.is_peer(one)]:
            del self._of[gone]
