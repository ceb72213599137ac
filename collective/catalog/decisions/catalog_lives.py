"""Whether a position that a node has seen is in this catalogue's own past: pure.

A *life* is one start of the process on a catalogue, under a random id.  A catalogue that is put back
from a backup begins another life, and its numbers soon reach those that its lost future had reached; but the
lives of that future are none of its own, or ended earlier here.  Invariant: every position that was ever
told is of the life that told it, at a sequence that this life had made durable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from collective.model.nodes import Position


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


def is_told_by_numbers(life: str, present: str) -> bool:
    """Tell whether nothing about former lives bears on a position of ``life``: as of nearly every heartbeat."""
    return life in {"", present}


def has_been_at(past: Past, seen: Position) -> bool:
    """Tell whether ``seen``, of this very catalogue, is in its past, or in a future known as lost."""
    return not (
        is_ahead(past, seen.epoch, seen.sequence)
        or shows_a_lost_future(past, seen.life, seen.sequence)
    )


class Learned(NamedTuple):
    """What a position that a node has seen tells the catalogue of itself."""

    is_newly_lost: bool
    """Its life is to be remembered as one of a lost future."""
    epoch: int | None
    """The catalogue becomes *restored*, and goes on in this epoch; None: it stays what it is."""


def learned(past: Past, seen: Position, was_restored: Callable[[], bool]) -> Learned:
    """Return what follows from a position of this very catalogue.

    A life that is newly known as lost makes the catalogue restored once for all of that start: the
    numbers that any lost future had used were left out then.  A number ahead of its own always does.

    Args:
        past: as far as the life in question is concerned.
        seen: by a node.
        was_restored: the present life became restored already; asked only where it matters.
    """
    is_newly_lost = shows_a_lost_future(past, seen.life, seen.sequence)
    is_higher = is_ahead(past, seen.epoch, seen.sequence)
    if is_higher or (is_newly_lost and not was_restored()):
        return Learned(is_newly_lost, max(past.epoch, seen.epoch) + 1)
    return Learned(is_newly_lost, None)
