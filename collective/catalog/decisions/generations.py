"""Which copies a catalogue can have given out, by their generation: pure.

Generations are unique over a catalogue, and rise.  A new catalogue begins at a random high number, so
two catalogues of one member never meet; one that is restored from a backup leaves out those that its
lost future may have used.  How many it leaves out is random: a lost future may have been restored itself,
from the same backup, and two that leave out as many would go on at the same number.  So a copy that nothing
knows of is either an orphan of this catalogue's own, or it is from another life, and then nobody here can
tell that it is not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from collective.model.copies import CopyKey

SKIPPED: Final = 1 << 32
"""More generations than a catalogue can have given out between two restores."""
VERSIONS_SKIPPED: Final = 1 << 28
"""The same of versions, which are shown as JSON numbers: they stay below 2^53."""
_DRAWN_BITS: Final = 18
"""Of how many times :data:`SKIPPED` is left out: room for thousands of restores."""
_VERSIONS_DRAWN_BITS: Final = 12
_RANDOM_BITS: Final = 39
_SHIFT: Final = 20


class Leap(NamedTuple):
    """How many numbers a restored catalogue leaves out."""

    generations: int
    versions: int


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


def by_origin(
    spans: Spans, copies: Iterable[CopyKey]
) -> tuple[Sequence[CopyKey], Sequence[CopyKey]]:
    """Return those of the copies that this catalogue may have given out, and those from another life."""
    own: list[CopyKey] = []
    foreign: list[CopyKey] = []
    for copy in copies:
        (foreign if belongs_elsewhere(spans, copy.generation) else own).append(copy)
    return own, foreign


def leap(random: bytes) -> Leap:
    """Return what a restored catalogue leaves out, from at least 8 random bytes."""
    generations = int.from_bytes(random[:4], "big") % (1 << _DRAWN_BITS)
    versions = int.from_bytes(random[4:8], "big") % (1 << _VERSIONS_DRAWN_BITS)
    return Leap(SKIPPED * (1 + generations), VERSIONS_SKIPPED * (1 + versions))


def first_of_new(random: bytes) -> int:
    """Return where a new catalogue begins, from at least 5 random bytes.

    Far above the numbers of catalogues that began at 1, far below the largest number that is stored.
    """
    drawn = int.from_bytes(random[:5], "big") % (1 << _RANDOM_BITS)
    return ((1 << _RANDOM_BITS) + drawn) << _SHIFT
