"""Time as something passed in.

``wall_s`` is Unix time for people, certificates and tickets; ``monotonic_s`` is for every timer.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def wall_s(self) -> float:
        """Return Unix time in seconds; may jump."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_s(self) -> float:
        """Return Unix time in seconds."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return seconds since boot."""
        return time.monotonic()


class SteadyClock:
    """Wall time as it was at the start, going on by the monotonic clock: it never jumps.

    For moments that this process alone gives out and judges (tickets): when somebody sets the
    machine's clock, none of them ends early or lives on.
    """

    def __init__(self, clock: Clock) -> None:
        """Take the wall time of ``clock`` now, and its seconds from now on."""
        self._clock = clock
        self._offset_s = clock.wall_s() - clock.monotonic_s()

    def wall_s(self) -> float:
        """Return Unix time in seconds, as if the machine's clock had not been set since."""
        return self._offset_s + self._clock.monotonic_s()

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start."""
        return self._clock.monotonic_s()


class ManualClock:
    """A clock that only moves when told to, for tests and the simulator."""

    def __init__(self, wall_s: float = 1_800_000_000.0) -> None:
        """Start at ``wall_s`` (Unix seconds), monotonic zero."""
        self._wall_s = wall_s
        self._monotonic_s = 0.0

    def wall_s(self) -> float:
        """Return the time set."""
        return self._wall_s

    def monotonic_s(self) -> float:
        """Return the sum of all advances."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` (>= 0) pass on both clocks."""
        assert seconds >= 0
        self._wall_s += seconds
        self._monotonic_s += seconds

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back without time passing."""
        self._wall_s += seconds
