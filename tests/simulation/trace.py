"""The trace of a run: a hash over every event, so that a replay can be compared, and the last events."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

TAIL_EVENTS: Final = 400


class Trace:
    """What happened, in order.  Two runs of a seed give the same :meth:`digest`."""

    def __init__(self, now_s: Callable[[], float], file: str | None = None) -> None:
        """Stamp events with the virtual time of ``now_s``.

        ``file``: where all of them are written, empty for nowhere; by default ``SIMULATION_TRACE`` says.
        """
        self._now_s = now_s
        self._hash = hashlib.blake2b(digest_size=16)
        self.tail: deque[str] = deque(maxlen=TAIL_EVENTS)
        self.counts: Counter[str] = Counter()
        """Faults and operations by kind, for the report of a run."""
        file = os.environ.get("SIMULATION_TRACE", "") if file is None else file
        self._out = open(file, "w", encoding="utf-8") if file else None  # noqa: SIM115

    def note(self, text: str) -> None:
        """Add one event that tells the story."""
        self.detail(text)
        self.tail.append(f"{self._now_s():.6f} {text}")

    def detail(self, text: str) -> None:
        """Add one event that is part of the hash, and not of the tail."""
        line = f"{self._now_s():.6f} {text}"
        self._hash.update(line.encode())
        if self._out is not None:
            self._out.write(line + "\n")

    def remark(self, text: str) -> None:
        """Add to the tail what a program logged; it is no event."""
        line = f"{self._now_s():.6f}     {text}"
        self.tail.append(line)
        if self._out is not None:
            self._out.write(line + "\n")

    def fault(self, kind: str, text: str = "") -> None:
        """Add a fault, which is counted."""
        self.counts[f"fault: {kind}"] += 1
        self.note(f"FAULT {kind} {text}")

    def count(self, what: str, times: int = 1) -> None:
        """Count something that is no event of its own."""
        self.counts[what] += times

    def digest(self) -> str:
        """Return the hash of all events so far, in hex."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Write out what is kept."""
        if self._out is not None:
            self._out.close()
            self._out = None
