"""Copies found corrupt or missing, until the coordinator has heard of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collective.core.ids import ChunkId, Generation

PROBLEMS_MAX: Final = 10_000
REPORT_MAX: Final = 500


class Problems:
    """A bounded set of troubled copies; what does not fit is found again by the next scrub."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[tuple[ChunkId, Generation], bool] = {}
        self.dropped_count = 0

    def __len__(self) -> int:
        return len(self._found)

    def add(self, chunk: ChunkId, generation: Generation, *, corrupt: bool) -> bool:
        """Note a copy (``corrupt``, else missing); return False if it was noted or did not fit."""
        key = (chunk, generation)
        if self._found.get(key) == corrupt:
            return False
        if key not in self._found and len(self._found) >= PROBLEMS_MAX:
            self.dropped_count += 1
            return False
        self._found[key] = corrupt
        return True

    def batch(self) -> Mapping[tuple[ChunkId, Generation], bool]:
        """Return the oldest, at most :data:`REPORT_MAX`."""
        return dict(list(self._found.items())[:REPORT_MAX])

    def told(self, batch: Mapping[tuple[ChunkId, Generation], bool]) -> None:
        """Forget what was reported, unless it changed since."""
        for key, corrupt in batch.items():
            if self._found.get(key) == corrupt:
                del self._found[key]
