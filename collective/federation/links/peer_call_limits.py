"""What peers may ask of this member: how many calls at once, and how often.

Each peer has its own bounds, whoever its people are that it calls for, so that no member can take from
this one's own people what serves them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from collective.core.buckets import Bucket
from collective.core.clock import Clock
from collective.core.errors import BusyError, PermissionDeniedError
from collective.core.ids import Domain
from collective.federation.links.tallies import PeerTallies
from collective.federation.peers.peer_book import PeerBook

CALLS_MAX: Final = 64
"""Calls of one peer that are under way."""
WAITS_MAX: Final = 64
"""Calls of one peer that wait for something to change, beside those."""
RATE_PER_S: Final = 500.0
"""Calls of one peer that begin in a second, in the long run."""
BURST: Final = 1000.0
"""Calls of one peer that may begin at once after a pause."""
EXCHANGES_PER_S: Final = 2.0
"""Exchanges of one peer, four times what it needs in the long run: they cost more than other calls."""
EXCHANGES_BURST: Final = 20.0


@dataclass(slots=True)
class _Bounds:
    """The bounds of one peer."""

    under_way: int = 0
    waiting: int = 0
    calls: Bucket = field(default_factory=lambda: Bucket(BURST, RATE_PER_S))
    exchanges: Bucket = field(default_factory=lambda: Bucket(EXCHANGES_BURST, EXCHANGES_PER_S))


class PeerCallLimits:
    """Lets the calls of peers in."""

    def __init__(self, book: PeerBook, tallies: PeerTallies, clock: Clock) -> None:
        """Let in the peers of ``book``."""
        self._book = book
        self._tallies = tallies
        self._clock = clock
        self._bounds: dict[Domain, _Bounds] = {}

    def require_peer(self, domain: Domain) -> None:
        """Raise PermissionDeniedError unless ``domain`` is a peer."""
        if not self._book.is_peer(domain):
            raise PermissionDeniedError(
                f"{domain} is no peer here; ask the operator to peer with it."
            )

    def enter(self, domain: Domain, *, waits: bool = False) -> None:
        """Count a call that begins; :meth:`leave` follows if this returns.

        ``waits``: it does nothing but wait, most of the time.

        Raises:
            PermissionDeniedError: ``domain`` is no peer.
            BusyError: it has too many calls under way, or begins too many.
        """
        self.require_peer(domain)
        bounds = self._bounds.setdefault(domain, _Bounds())
        if not waits and bounds.under_way >= CALLS_MAX:
            raise BusyError(f"{CALLS_MAX} calls of {domain} are under way; wait for their answers.")
        if waits and bounds.waiting >= WAITS_MAX:
            raise BusyError(f"{WAITS_MAX} watches of {domain} wait already; end one first.")
        if not bounds.calls.take(self._clock.monotonic_s()):
            raise BusyError(f"{domain} calls too often; call less often.")
        if waits:
            bounds.waiting += 1
        else:
            bounds.under_way += 1

    def exchange(self, domain: Domain) -> None:
        """Count an exchange; raises as :meth:`enter`, where it comes too often."""
        self.require_peer(domain)
        bounds = self._bounds.setdefault(domain, _Bounds())
        if not bounds.exchanges.take(self._clock.monotonic_s()):
            raise BusyError(f"{domain} exchanges too often; exchange less often.")

    def leave(self, domain: Domain, result: str, *, waits: bool = False) -> None:
        """Count the end of a call, by ``ok`` or its error's code; ``waits`` as :meth:`enter` had it."""
        bounds = self._bounds[domain]
        if waits:
            bounds.waiting -= 1
        else:
            bounds.under_way -= 1
        self._tallies.called(domain, result)
