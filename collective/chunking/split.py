"""Where a file is cut into chunks: by default every 4 MiB, known here alone.

A hole cuts, too, and changes no boundary behind it: chunks end where the file's offset is a multiple of
4 MiB, whatever came before.  Everything else handles extents of any length.  The boundaries are frozen
by golden vectors, since deduplication depends on equal content giving equal chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collective.core import limits
from collective.core.errors import UsageError


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """A half-open byte range ``[offset, offset + length)`` of a file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset just after the piece."""
        return self.offset + self.length


def split(size_bytes: int, chunk_size_bytes: int = limits.CHUNK_SIZE_BYTES) -> Iterator[Piece]:
    """Yield the pieces of a file of ``size_bytes``, in order; an empty file has none.

    Raises:
        UsageError: negative size, or a chunk size of no bytes.
    """
    if size_bytes < 0 or chunk_size_bytes < 1:
        raise UsageError("A file's size cannot be negative and a chunk holds at least one byte.")
    for offset in range(0, size_bytes, chunk_size_bytes):
        yield Piece(offset, min(chunk_size_bytes, size_bytes - offset))


def room_at(offset: int, chunk_size_bytes: int = limits.CHUNK_SIZE_BYTES) -> int:
    """Return how many bytes a chunk that begins at ``offset`` may have: up to the next boundary."""
    return chunk_size_bytes - offset % chunk_size_bytes
