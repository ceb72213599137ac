"""Where a file is cut into chunks, by default every 4 MiB, and what each chunk is called.

A hole cuts, too, and changes no boundary behind it: chunks end where the file's offset is a multiple of
4 MiB, whatever came before.  Everything else handles extents of any length.  The boundaries are frozen
by golden vectors, since deduplication depends on equal content giving equal chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.codec import PLAIN, Codec
from collective.core import limits
from collective.model.extents import Extent


class Cut(NamedTuple):
    """A piece of a file as a chunk."""

    extent: Extent
    parts: Sequence[bytes | memoryview]
    """The stored bytes, in order; views of what was cut."""


@dataclass(frozen=True, slots=True)
class Splitter:
    """Cuts files."""

    codec: Codec = PLAIN
    chunk_size_bytes: int = field(default_factory=lambda: limits.CHUNK_SIZE_BYTES)

    def room_at(self, offset: int) -> int:
        """Return how many bytes a chunk that begins at ``offset`` may have: up to the next boundary."""
        return self.chunk_size_bytes - offset % self.chunk_size_bytes

    def cut(self, plain: memoryview, offset: int) -> Cut:
        """Wrap and name ``plain``, the bytes of a file from ``offset`` up to a boundary or its end."""
        parts = self.codec.wrap(plain)
        extent = Extent(
            offset=offset,
            length=len(plain),
            chunk=chunk_id(parts),
            stored_length=sum(map(len, parts)),
            format=self.codec.number,
        )
        return Cut(extent, parts)
