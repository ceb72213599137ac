"""What a file is made of."""

from __future__ import annotations

from dataclasses import dataclass

from collective.core.ids import ChunkId


@dataclass(frozen=True, slots=True)
class Hole:
    """A piece of a file that reads as zeros and is stored nowhere."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Extent:
    """A piece of a file and the chunk that holds it, or is to hold it."""

    offset: int
    length: int
    chunk: ChunkId
    stored_length: int
    format: int = 0
    """Of the chunk's envelope."""
    plain_id: bytes = b""
    """The id of the plain bytes; empty where they are stored as they are."""
