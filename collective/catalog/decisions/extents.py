"""Whether the pieces of a file fit together: pure.

Invariant: the extents and holes of a version never overlap, so that the sum of their lengths and the
end of the last one tell whether they cover it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from collective.core.errors import ConflictError, UsageError
from collective.model.extents import Extent, Hole


@dataclass(frozen=True, slots=True)
class Around:
    """What a version has recorded where an extent is to go."""

    before_offset: int | None = None
    before_length: int = 0
    """The last extent that begins at or before it."""
    after_offset: int | None = None
    """Where the next one begins."""
    hole_end: int | None = None
    """The end of the last hole that begins before its end."""


class Fit(Enum):
    """What a piece is to those that are recorded."""

    NEW = auto()
    THERE = auto()
    """One of this offset and length is there: the same, or one whose chunk this one takes the place of."""


def place_extent(extent: Extent, around: Around) -> Fit:
    """Tell whether ``extent`` is new; ConflictError where it overlaps others, UsageError for no range."""
    if extent.offset < 0 or extent.length <= 0:
        raise UsageError("An extent needs an offset of at least 0 and a length above 0.")
    end = extent.offset + extent.length
    if around.before_offset is not None:
        if (around.before_offset, around.before_length) == (extent.offset, extent.length):
            return Fit.THERE
        if around.before_offset + around.before_length > extent.offset:
            raise _overlap(extent.offset)
    if around.after_offset is not None and around.after_offset < end:
        raise _overlap(extent.offset)
    if around.hole_end is not None and around.hole_end > extent.offset:
        raise _overlap(extent.offset)
    return Fit.NEW


def place_hole(hole: Hole, same_length: int | None, last_end: int) -> Fit:
    """Tell whether ``hole`` is new.

    Args:
        hole: it.
        same_length: of the hole that is recorded at its offset.
        last_end: the greatest end of the extents and holes that begin before its end.

    Raises:
        ConflictError: it overlaps others.
        UsageError: it is no range.
    """
    if hole.offset < 0 or hole.length <= 0:
        raise UsageError("A hole needs an offset of at least 0 and a length above 0.")
    if same_length == hole.length:
        return Fit.THERE
    if last_end > hole.offset:
        raise _overlap(hole.offset)
    return Fit.NEW


def require_complete(size_bytes: int, *, recorded_bytes: int, end: int) -> None:
    """Raise ConflictError unless pieces of ``recorded_bytes`` up to ``end`` are a file of ``size_bytes``."""
    if recorded_bytes != size_bytes or end != size_bytes:
        raise ConflictError(
            f"The upload is not complete: {recorded_bytes} of {size_bytes} bytes are recorded; send"
            " the rest and commit again."
        )


def _overlap(offset: int) -> ConflictError:
    return ConflictError(
        f"The extent or hole at offset {offset} overlaps one recorded before; begin a new upload."
    )
