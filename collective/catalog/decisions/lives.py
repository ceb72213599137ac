"""Whether a position that a node has seen is in this catalogue's own past: pure.

A *life* is one start of the process on a catalogue, under a random id.  A catalogue that is put back
from a backup begins another life, and its numbers soon reach those that its lost future had reached; but the
lives of that future are none of its own, or ended earlier here.  Invariant: every position that was ever
told is of the life that told it, at a sequence that this life had made durable.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Past:
    """What a catalogue knows of its past, as far as one life is concerned."""

    life: str
    """The present one."""
    epoch: int
    sequence: int
    """Where the catalogue is now."""
    ended: int | None
    """The last sequence of the life in question; None: it is not known as a former one."""
    oldest_ended: int
    """The same of the oldest life that is known."""
    is_lost: bool
    """Whether the life in question is known as one of a lost future."""


def is_ahead(past: Past, epoch: int, sequence: int) -> bool:
    """Tell whether a position is higher than where the catalogue is."""
    return (epoch, sequence) > (past.epoch, past.sequence)


def shows_a_lost_future(past: Past, life: str, sequence: int) -> bool:
    """Tell whether ``sequence`` of ``life`` was reached in a future of this catalogue that is not known yet.

    A position without a life, one of the present life, and one of a life so old that it was
    forgotten prove nothing by it; what their numbers say counts.
    """
    if life in {"", past.life} or past.is_lost:
        return False
    return sequence > (past.oldest_ended if past.ended is None else past.ended)
