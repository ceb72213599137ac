"""Which copies a catalogue can have given out, by their generation: pure.

Generations are unique over a catalogue, and rise.  A new catalogue begins at a random high number, so
two catalogues of one member never meet; one that is restored from a backup leaves out those that its
lost future may have used.  So a copy that nothing knows of is either an orphan of this catalogue's own,
or it is from another life, and then nobody here can tell that it is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SKIPPED: Final = 1 << 32
"""More generations than any lost future of a backup can have used."""
_RANDOM_BITS: Final = 39
_SHIFT: Final = 20


@dataclass(frozen=True, slots=True)
class Spans:
    """The generations that one catalogue gave out."""

    first: int
    past: int
    """The first one that was not given out yet."""
    foreign: Sequence[tuple[int, int]] = ()
    """Between these, those of lost futures: the first, and the first one after them."""


def belongs_elsewhere(spans: Spans, generation: int) -> bool:
    """Tell whether this catalogue never gave ``generation`` out."""
    if not spans.first <= generation < spans.past:
        return True
    return any(first <= generation < past for first, past in spans.foreign)


def first_of_new(random: bytes) -> int:
    """Return where a new catalogue begins, from at least 5 random bytes.

    Far above the numbers of catalogues that began at 1, far below the largest number that is stored.
    """
    drawn = int.from_bytes(random[:5], "big") % (1 << _RANDOM_BITS)
    return ((1 << _RANDOM_BITS) + drawn) << _SHIFT
