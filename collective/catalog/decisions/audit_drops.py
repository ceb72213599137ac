"""Whose rows of the audit go where there are too many: pure.

The oldest of those with most go, so that nobody pushes out what is known of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SPARE_PARTS: Final = 20
"""One part in so many is dropped beyond what must be, so that it is seldom done."""


def excess_of(count: int, rows_max: int) -> int:
    """Return how many of ``count`` rows of one sort go; 0 where ``rows_max`` may be."""
    return count - rows_max + rows_max // SPARE_PARTS if count > rows_max else 0


def shares(counts: Mapping[str, int], excess: int) -> dict[str, int]:
    """Return how many rows go of each actor, ``excess`` in all: those with most come to one level."""
    tallies = sorted(counts.items(), key=lambda tally: -tally[1])
    above = 0  # what goes if the first ones come down to the next one's count
    for place, (_, count) in enumerate(tallies, start=1):
        lower = tallies[place][1] if place < len(tallies) else 0
        above += place * (count - lower)
        if above >= excess:
            spare, extra = divmod(above - excess, place)
            level = lower + spare
            return {
                actor: had - level - (number < extra)
                for number, (actor, had) in enumerate(tallies[:place])
                if had - level - (number < extra) > 0
            }
    return dict(tallies)
