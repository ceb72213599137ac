"""What peers may ask of this member: how many calls at once, and how often.

Each peer has its own bounds, whoever its people are that it calls for, so that no member can take from
this one's own people what serves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from collective.core.clock import Clock
from collective.core.errors import BusyError, PermissionDeniedError
from collective.core.ids import Domain
from collective.federation.peers.peer_book import PeerBook

CALLS_MAX: Final = 32
"""Calls of one peer that are under way."""
RATE_PER_S: Final = 200.0
"""Calls of one peer that begin in a second, in the long run."""
BURST: Final = 1000.0
"""Calls of one peer that may begin at once after a pause."""


@dataclass(slots=True)
class _Bucket:
    """The bounds of one peer."""

    under_way: int = 0
    tokens: float = BURST
    filled_s: float = 0.0


class Inbound:
    """Lets the calls of peers in."""

    def __init__(self, book: PeerBook, clock: Clock) -> None:
        """Let in the peers of ``book``."""
        self._book = book
        self._clock = clock
        self._buckets: dict[Domain, _Bucket] = {}

    def require_peer(self, domain: Domain) -> None:
        """Raise PermissionDeniedError unless ``domain`` is a peer."""
        if not self._book.is_peer(domain):
            raise PermissionDeniedError(
                f"{domain} is no peer here; ask the operator to peer with it."
            )

    def enter(self, domain: Domain) -> None:
        """Count a call that begins; :meth:`leave` follows if this returns.

        Raises:
            PermissionDeniedError: ``domain`` is no peer.
            BusyError: it has too many calls under way, or begins too many.
        """
        self.require_peer(domain)
        now_s = self._clock.monotonic_s()
        bucket = self._buckets.setdefault(domain, _Bucket(filled_s=now_s))
        bucket.tokens = min(BURST, bucket.tokens + (now_s - bucket.filled_s) * RATE_PER_S)
        bucket.filled_s = now_s
        if bucket.under_way >= CALLS_MAX:
            raise BusyError(f"{CALLS_MAX} calls of {domain} are under way; wait for their answers.")
        if bucket.tokens < 1.0:
            raise BusyError(f"{domain} calls too often; call less often.")
        bucket.tokens -= 1.0
        bucket.under_way += 1

    def leave(self, domain: Domain) -> None:
        """Count the end of a call."""
        self._buckets[domain].under_way -= 1
