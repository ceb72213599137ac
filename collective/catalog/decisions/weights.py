"""What a file or folder counts for in a quota: its bytes, and its rows in the catalogue.

The rows are what the coordinator's own disk has to hold, so that a small quota does not fill it.
Measured in SQLite with three copies of each chunk, indices included: an extent of a chunk of its own
takes 300 bytes (600 while its upload is open, 26 where the chunk is shared), a file with one extent 320
with a short name and 820 with the longest, a folder 90 to 600, a hole 30.  Each constant is above these,
so that offsets, ids and counts may grow.  The bytes of a hole count for nothing: they are stored nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from collective.core import limits

NAME_BYTES: Final = 1024
"""A file, link or folder, whatever its name, but for a file's pieces and attributes."""
EXTENT_BYTES: Final = 512
HOLE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Weight:
    """What names count for: the current version of a file or link, a folder, or all that lies below one."""

    names: int = 0
    files: int = 0
    """Links are none."""
    size_bytes: int = 0
    """As files read, holes included."""
    data_bytes: int = 0
    """Of these, what is stored."""
    overhead_bytes: int = 0
    """Of all their rows in the catalogue."""

    @property
    def charge_bytes(self) -> int:
        """What a quota counts."""
        return self.data_bytes + self.overhead_bytes

    def __add__(self, other: Weight) -> Weight:
        """Return what both count for."""
        return Weight(
            self.names + other.names,
            self.files + other.files,
            self.size_bytes + other.size_bytes,
            self.data_bytes + other.data_bytes,
            self.overhead_bytes + other.overhead_bytes,
        )

    def __neg__(self) -> Weight:
        """Return what to add where this goes."""
        return Weight(
            -self.names, -self.files, -self.size_bytes, -self.data_bytes, -self.overhead_bytes
        )


FOLDER: Final = Weight(names=1, overhead_bytes=NAME_BYTES)
"""A folder, but for what lies below it."""


def catalog_bytes(*, extents: int, attribute_bytes: int, holes: int = 0) -> int:
    """Return what a file or link counts for beyond the bytes that it stores.

    Args:
        extents: of the file.
        attribute_bytes: of its metadata and content type, or of its target, as they are kept.
        holes: of the file.
    """
    return NAME_BYTES + EXTENT_BYTES * extents + HOLE_BYTES * holes + attribute_bytes


def extents_most(size_bytes: int) -> int:
    """Return how many extents ``size_bytes`` of data may have, with and without a quota.

    As many holes may be in ``size_bytes`` of holes.
    """
    return limits.EXTENTS_FREE + size_bytes // limits.EXTENT_MEAN_LEAST_BYTES
