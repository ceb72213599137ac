"""How many log lines somebody from outside may cause: so many at once, so many in the long run, each for itself.

What is left out is counted, and the next line that is written says how much it was.  Pure, and bounded in
memory: of sources that were quiet for longest nothing is remembered.  One that comes back begins anew, so
sources of whom nothing is proved, of which anybody may have any number, have a bound together as well.
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
UNPROVEN_BURST: Final = 500.0
"""Lines of all sources together of whom nothing is proved, after a pause."""
UNPROVEN_PER_S: Final = 1.0
"""Lines of all of them in the long run: about 35 MB a day."""


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
        self._unproven = _Lines(Bucket(UNPROVEN_BURST, UNPROVEN_PER_S))

    def take(self, source: str, now_s: float, *, is_proven: bool = True) -> dict[str, int] | None:
        """Return None where a line that ``source`` causes is left out; else what the line says of that.

        Args:
            source: whose lines are counted together: a member, a person of the own, or a host.
            now_s: monotonic, seconds.
            is_proven: False where the source may be invented, as a host's address can be.
        """
        lines = self._lines.pop(source, None) or _Lines()
        self._lines[source] = lines
        while len(self._lines) > SOURCES_MAX:
            del self._lines[next(iter(self._lines))]
        if not lines.bucket.take(now_s):
            lines.left_out += 1
            return None
        told = [lines]
        if not is_proven:
            if not self._unproven.bucket.take(now_s):
                self._unproven.left_out += 1 + lines.left_out
                lines.left_out = 0
                return None
            told.append(self._unproven)
        left_out = sum(one.left_out for one in told)
        for one in told:
            one.left_out = 0
        return {"left_out": left_out} if left_out else {}
