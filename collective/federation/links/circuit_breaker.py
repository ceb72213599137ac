"""Whether a peer is there: a circuit breaker over what its calls and exchanges say.  Pure.

Unknown until something was heard; *away* from the first failure of its exchange on, when calls fail at
once; *there* again with the first success.  Only exchanges probe, so nobody else waits for a dead peer.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from collective.core.errors import AwayError
from collective.core.ids import Domain

_SMOOTHING = 0.3
"""Share of the newest latency in the one that is shown."""


@dataclass(slots=True)
class PeerHealth:
    """What is known of one peer."""

    domain: Domain
    last_seen_ms: int = 0
    """Unix milliseconds; 0: never."""
    latency_ms: float = 0.0
    failures: int = 0
    """Failed exchanges in a row."""
    away_since_s: float | None = None
    """Wall clock; None while it is there or nothing is known."""
    why: str = ""
    """Why it is away."""

    @property
    def is_healthy(self) -> bool:
        """Whether it was heard of, and is not away."""
        return self.last_seen_ms > 0 and self.away_since_s is None

    def succeeded(self, now_s: float, latency_s: float) -> None:
        """Take an answer into account, at ``now_s`` (wall clock)."""
        self.failures = 0
        self.away_since_s = None
        self.why = ""
        self.last_seen_ms = int(now_s * 1000)
        latency_ms = latency_s * 1000
        if not self.latency_ms:
            self.latency_ms = latency_ms
        self.latency_ms += _SMOOTHING * (latency_ms - self.latency_ms)

    def heard(self, now_s: float) -> None:
        """Take a call of the peer's own into account: it is there, whether it can be reached or not."""
        self.last_seen_ms = int(now_s * 1000)

    def failed(self, now_s: float, why: str) -> bool:
        """Take a failed exchange into account; return whether the peer went away by it."""
        self.failures += 1
        self.why = why
        if self.away_since_s is not None:
            return False
        self.away_since_s = now_s
        return True

    def require(self) -> None:
        """Raise AwayError while the peer is away, with since when and why."""
        if self.away_since_s is None:
            return
        since = dt.datetime.fromtimestamp(self.away_since_s, dt.UTC)
        reason = self.why.rstrip(".")
        raise AwayError(
            f"{self.domain} is away since {since:%Y-%m-%d %H:%M:%S}Z ({reason}); try again later."
        )
