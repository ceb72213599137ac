"""How many log lines somebody from outside may cause: so many at once, so many in the long run, each for itself.

What is left out is counted, and the next line that is written says how much it was.  Pure, and bounded in
memory: of sources that were quiet for longest nothing is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from collective.core.buckets import Bucket

LINES_BURST: Final = 50.0
"""Lines of one source after a pause."""
LINES_PER_S: Final = 0.2
"""Lines of one source in the long run: about 7 MB a day at 400 bytes each."""
SOURCES_MAX: Final = 512


@dataclass(slots=True)
class _Lines:
    """Of one source."""

    bucket: Bucket = field(default_factory=lambda: Bucket(LINES_BURST, LINES_PER_S))
    left_out: int = 0


class LogRate:
    """Says which lines are written."""

    def __init__(self) -> None:
        """Know of no source."""
        self._lines: dict[str, _Lines] = {}

    def take(self, source: str, now_s: float) -> dict[str, int] | None:
        """Return None where a line that ``source`` causes is left out; else what the line says of that.

        Args:
            source: whose lines are counted together: a member, or a person of the own.
            now_s: monotonic, seconds.
        """
        lines = self._lines.pop(source, None) or _Lines()
        self._lines[source] = lines
        while len(self._lines) > SOURCES_MAX:
            del self._lines[next(iter(self._lines))]
        if not lines.bucket.take(now_s):
            lines.left_out += 1
            return None
        left_out, lines.left_out = lines.left_out, 0
        return {"left_out": left_out} if left_out else {}
