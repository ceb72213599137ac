"""What is repaired first, and how fast.

Order: chunks that can be read and have the fewest copies first; among equals the one that waits
longest.  A chunk without any source cannot be copied and is not in the order at all: it is an
alarm, not work.  The budget is a token bucket over bytes, so that repair does not starve users.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from collective.core.ids import ChunkId, NodeId


@dataclass(frozen=True, slots=True)
class Shortage:
    """A chunk with fewer copies than wanted."""

    chunk: ChunkId
    copies_wanted: int
    sources: frozenset[NodeId]
    """Nodes that are up and have a good copy."""
    counted: int
    """Copies that count: the sources and those on nodes that are silent but not given up."""
    waiting_s: float = 0.0


def repair_order(shortages: Iterable[Shortage]) -> list[Shortage]:
    """Return what can be repaired now, most urgent first; deterministic for a set of shortages."""
    possible = [
        shortage
        for shortage in shortages
        if shortage.sources and shortage.counted < shortage.copies_wanted
    ]
    return sorted(
        possible,
        key=lambda shortage: (
            shortage.counted,
            len(shortage.sources),
            -shortage.waiting_s,
            shortage.chunk,
        ),
    )


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
