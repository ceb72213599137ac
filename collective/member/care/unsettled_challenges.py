"""Copies whose challenges settle nothing: how often each was asked about in vain, bounded.

Repair waits for the verification of a copy that is in doubt, but not for ever: a node that answers
"not now" each time would keep a chunk from being copied.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from collective.core.clock import Clock
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import CopyName, Verdict

TRIES: Final = 3
"""Nothing waits for a copy that was challenged so often without a result."""
EACH_MAX: Final = 1024
"""Copies of one node that are remembered; nothing waits for any copy of a node that has so many."""
FORGET_S: Final = 6 * 3600.0
"""A copy that was not asked about for so long is forgotten."""


class Unsettled:
    """Counts the challenges in a row that settled nothing, by copy."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing; ``clock`` tells what may be forgotten."""
        self._clock = clock
        self._tries: dict[NodeId, OrderedDict[tuple[ChunkId, Generation], tuple[int, float]]] = {}

    def note(self, chunk: ChunkId, name: CopyName, verdict: Verdict) -> None:
        """Note the result of one more challenge."""
        node, generation = name
        key = (chunk, generation)
        if verdict is not Verdict.OPEN:
            mine = self._tries.get(node)
            if mine is not None:
                mine.pop(key, None)
                if not mine:
                    del self._tries[node]
            return
        now_s = self._clock.monotonic_s()
        mine = self._tries.setdefault(node, OrderedDict())
        tries, _ = mine.pop(key, (0, 0.0))
        while mine and next(iter(mine.values()))[1] < now_s - FORGET_S:
            mine.popitem(last=False)
        if tries or len(mine) < EACH_MAX:
            mine[key] = (tries + 1, now_s)

    def may_settle(self, chunk: ChunkId, name: CopyName) -> bool:
        """Tell whether one more challenge of this copy is worth waiting for."""
        node, generation = name
        mine = self._tries.get(node)
        if mine is None:
            return True
        tries, _ = mine.get((chunk, generation), (0, 0.0))
        return len(mine) < EACH_MAX and tries < TRIES
