"""What a file or folder counts for in a quota: its bytes, and its rows in the catalogue.

The rows are what the coordinator's own disk has to hold, so that a small quota does not fill it.
Measured in SQLite with three copies of each chunk, indices included: an extent of a chunk of its own
takes 300 bytes (600 while its upload is open, 26 where the chunk is shared), a file with one extent 320
with a short name and 820 with the longest, a folder 90 to 600.  Each constant is above these, so that
offsets, ids and counts may grow.
"""

from __future__ import annotations

from typing import Final

from collective.core import limits

NAME_BYTES: Final = 1024
"""A file or folder, whatever its name, but for a file's extents and attributes."""
EXTENT_BYTES: Final = 512


def catalog_bytes(*, extents: int, attribute_bytes: int) -> int:
    """Return what a file counts for beyond its size.

    Args:
        extents: of the file.
        attribute_bytes: of its metadata and content type, as they are kept.
    """
    return NAME_BYTES + EXTENT_BYTES * extents + attribute_bytes


def extents_most(size_bytes: int) -> int:
    """Return how many extents a file of ``size_bytes`` may have, with and without a quota."""
    return limits.EXTENTS_FREE + size_bytes // limits.EXTENT_MEAN_LEAST_BYTES
