"""A token bucket: so many at once after a pause, and so many in the long run.  Pure."""

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
