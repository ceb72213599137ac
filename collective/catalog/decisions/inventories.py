"""What a node's inventory says of its own copies, and of no other node's: pure.

Nothing that a node tells makes a copy count: what it lacks is missing, what is back or of another length
has to be challenged, and what nobody gave it is a stranger.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from collective.core.ids import ChunkId, Generation
from collective.model.copies import CopyKey, CopyState

KnownChunk = tuple[ChunkId, int, Generation | None, CopyState | None, int]
"""Chunk, its row, generation and state of the node's copy (None: it was never given one), length."""
Spare = AbstractSet[tuple[ChunkId, Generation]]
"""What was stored while the node made its list, and may be absent from it."""
MAY_GO_MISSING: Final = (CopyState.STORED, CopyState.DOUBTED)
"""What becomes missing where its node does not tell of it,"""
MAY_BE_DOUBTED: Final = (CopyState.STORED, CopyState.MISSING)
"""and what becomes doubted where it is back, or of another length."""


@dataclass(slots=True)
class Differences:
    """What a comparison found: rows of chunks, with the generation."""

    missing: list[tuple[int, Generation]] = field(default_factory=list)
    """Counted or doubted, and not there."""
    doubtful: list[tuple[int, Generation]] = field(default_factory=list)
    """Back after it was missing, or of another length: not counted until it is challenged."""
    strangers: list[CopyKey] = field(default_factory=list)
    """Not known."""


def differences(known: Iterable[KnownChunk], told: Iterable[CopyKey], spare: Spare) -> Differences:
    """Compare the chunks of a range with the copies that a node told in it."""
    there = {(copy.chunk, copy.generation): copy for copy in told}
    found = Differences()
    for chunk, row, generation, state, length in known:
        if generation is None:
            continue
        copy = there.pop((chunk, generation), None)
        if state == CopyState.INTENT:
            continue  # only its upload's receipt makes it a copy
        if copy is None:
            if state in MAY_GO_MISSING and (chunk, generation) not in spare:
                found.missing.append((row, generation))
        elif copy.stored_length != length:
            if state == CopyState.STORED:
                found.doubtful.append((row, generation))
        elif state == CopyState.MISSING:
            found.doubtful.append((row, generation))
    found.strangers = list(there.values())
    return found
