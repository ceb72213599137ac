"""The member as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collective.core.ids import NodeId
from collective.core.paths import FilePath


@dataclass(frozen=True, slots=True)
class ChunkHealth:
    """How many chunks there are, and how many lack copies, in what a caller may read whole."""

    chunks: int
    under_replicated: int
    unavailable: int
    covers: tuple[FilePath, ...]
    """The datastores that were counted, or ``/``; a chunk of two datastores counts in each."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over the files that a caller may read."""

    files: int
    file_bytes: int
    health: ChunkHealth | None
    """None: there is no datastore that the caller may read whole."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to know of the whole, at one moment."""

    totals: Totals
    backlog: int
    """Chunks of files that are short of copies."""
    copies_left: Mapping[NodeId, int]
    """By node, the copies that keep it from being removed."""
    doubted: int
    """Copies."""
    guarded: int
    """Copies that are given up, and kept until others are confirmed."""
