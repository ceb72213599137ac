"""Readers' complaints about copies, and which copies were looked at lately.

A complaint is a reason to look, never evidence.  All of it is bounded, by who complains and in
all, and one copy is looked at once in a while whatever is said of it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from collective.core.clock import Clock
from collective.core.ids import ChunkId, NodeId, SpiffeId
from collective.member.wakes import Wakes

COMPLAINTS_MAX: Final = 1024
"""Complaints that wait; more are dropped, and come again if they were right."""
COMPLAINTS_EACH_MAX: Final = 32
"""Of these, of one identity."""
COOLDOWN_S: Final = 600.0
"""A copy is looked at once in so long, whoever complains."""
REMEMBERED_MAX: Final = 10_000
"""Copies looked at lately; while so many are remembered, no more are looked at."""


Copy = tuple[NodeId, ChunkId]


class Complaints:
    """Copies that readers complained about, bounded for each of them and in all."""

    def __init__(self, wakes: Wakes, clock: Clock) -> None:
        """Wake the verifier when there is something."""
        self._wakes = wakes
        self._clock = clock
        self._waiting: dict[Copy, SpiffeId] = {}
        self._looked_at_s: OrderedDict[Copy, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def complain(self, node: NodeId, chunk: ChunkId, who: SpiffeId) -> bool:
        """Have the copy of ``chunk`` on ``node`` looked at; return whether it will be for this."""
        self._forget()
        key = (node, chunk)
        if key in self._waiting or key in self._looked_at_s:
            return False
        mine = sum(1 for other in self._waiting.values() if other == who)
        is_full = len(self._waiting) + len(self._looked_at_s) >= REMEMBERED_MAX
        if is_full or len(self._waiting) >= COMPLAINTS_MAX or mine >= COMPLAINTS_EACH_MAX:
            return False
        self._waiting[key] = who
        self._wakes.verify.set()
        return True

    def take(self) -> Copy | None:
        """Return the oldest complaint; its copy is not looked at again for a while."""
        for key in self._waiting:
            del self._waiting[key]
            self._looked_at_s[key] = self._clock.monotonic_s()
            return key
        return None

    def _forget(self) -> None:
        before_s = self._clock.monotonic_s() - COOLDOWN_S
        while self._looked_at_s:
            key, at_s = next(iter(self._looked_at_s.items()))
            if at_s > before_s:
                return
            del self._looked_at_s[key]
