"""Token buckets: so many at once after a pause, and so many in the long run.  Pure.

:class:`Bucket` counts calls and refuses; :class:`Budget` counts bytes and says how long to wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Bucket:
    """Holds at most ``most`` tokens and gains ``rate_per_s``; full at first."""

    most: float
    rate_per_s: float
    _tokens: float = field(init=False)
    _filled_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Begin full."""
        self._tokens = self.most

    def take(self, now_s: float) -> bool:
        """Take one token at ``now_s`` (monotonic, seconds) and return whether there was one."""
        passed_s = max(0.0, now_s - self._filled_s)
        self._tokens = min(self.most, self._tokens + passed_s * self.rate_per_s)
        self._filled_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


@dataclass(frozen=True, slots=True)
class Budget:
    """A token bucket in bytes; a value, moved on by :meth:`at` and :meth:`spend`."""

    rate_bytes_s: float
    burst_bytes: float
    tokens_bytes: float
    updated_s: float

    @classmethod
    def full(cls, rate_bytes_s: float, burst_bytes: float, now_s: float) -> Budget:
        """Return a bucket that holds its whole burst at ``now_s`` (monotonic seconds)."""
        return cls(rate_bytes_s, burst_bytes, burst_bytes, now_s)

    def at(self, now_s: float) -> Budget:
        """Return the bucket refilled up to ``now_s``; a clock that went back refills nothing."""
        gained = max(0.0, now_s - self.updated_s) * self.rate_bytes_s
        tokens = min(self.burst_bytes, self.tokens_bytes + gained)
        return Budget(self.rate_bytes_s, self.burst_bytes, tokens, max(now_s, self.updated_s))

    def spend(self, size_bytes: int) -> Budget:
        """Return the bucket after ``size_bytes`` moved; it may go into debt by one transfer."""
        return Budget(
            self.rate_bytes_s, self.burst_bytes, self.tokens_bytes - size_bytes, self.updated_s
        )

    def wait_s(self) -> float:
        """Return seconds until the bucket is out of debt (0: something may start now)."""
        return max(0.0, -self.tokens_bytes / self.rate_bytes_s)
