"""Which nodes hang or cannot be reached, as this process has learnt.

Pure bookkeeping over an injected clock; no I/O.  It is kept for the life of an engine, so a hung node is
paid for once and not once a file.  The coordinator finds dead nodes by itself within seconds; hence
opinions expire.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

from collective.core.clock import Clock
from collective.core.ids import SpiffeId
from collective.model.routes import Route

AVOID_FOR_S: Final = 30.0
"""How long a node that did not answer is avoided."""


class NodeHealth:
    """Signs of life of each node, and which ones to avoid."""

    def __init__(self, clock: Clock) -> None:
        """Know nothing yet."""
        self._clock = clock
        self._seen: dict[SpiffeId, float] = {}
        self._avoid: dict[SpiffeId, float] = {}

    def now_s(self) -> float:
        """Return the time, monotonic."""
        return self._clock.monotonic_s()

    def are_all_out_of_reach(self, unreached: Container[SpiffeId]) -> bool:
        """Whether nodes gave signs of life once, and every one of them is among ``unreached``."""
        return bool(self._seen) and all(node in unreached for node in self._seen)

    def alive(self, node: SpiffeId) -> None:
        """Note that ``node`` moved bytes or answered just now."""
        self._seen[node] = self._clock.monotonic_s()
        self._avoid.pop(node, None)

    def avoid(self, node: SpiffeId) -> None:
        """Avoid ``node`` for a while: it hangs or cannot be reached."""
        self._avoid[node] = self._clock.monotonic_s() + AVOID_FOR_S

    def forgive(self, node: SpiffeId) -> None:
        """Hold nothing against ``node`` any more; it may be reached another way."""
        self._avoid.pop(node, None)

    def is_avoided(self, node: SpiffeId) -> bool:
        """Whether ``node`` should be avoided now."""
        until = self._avoid.get(node)
        if until is None:
            return False
        if until <= self._clock.monotonic_s():
            del self._avoid[node]
            return False
        return True

    def avoided(self) -> tuple[SpiffeId, ...]:
        """Return every node to avoid now, sorted."""
        return tuple(sorted(node for node in tuple(self._avoid) if self.is_avoided(node)))

    def silent_s(self, node: SpiffeId, since_s: float) -> float:
        """Return seconds without a sign of life from ``node``, counted from ``since_s`` at most."""
        return self._clock.monotonic_s() - max(since_s, self._seen.get(node, since_s))

    def best_first(self, routes: Sequence[Route]) -> list[Route]:
        """Return ``routes`` with those over avoided nodes last, else in the order given."""
        if not self._avoid:
            return list(routes)
        return sorted(
            routes, key=lambda route: any(self.is_avoided(node) for node in route.storing)
        )
