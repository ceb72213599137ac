"""What an upload reserves of a quota, whether there is room, and who gives way where there is none: pure.

A quota bounds what the files that lie in a datastore now, and the uploads that are open there, count
for (``weights.py``).  Each upload *reserves* what it is going to add, batch by batch, before a byte is
accepted; its reservation lives as long as it does.  An upload that has stood still for IDLE_MS is ended
where its room is needed; one that goes on never is.  The commit checks the exact size, and its word is
final.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from collective.catalog.decisions.weights import catalog_bytes, extents_most
from collective.core import limits
from collective.core.errors import BusyError, NoSpaceError, UsageError
from collective.core.ids import UploadKey
from collective.core.units import format_size
from collective.model.extents import Extent

IDLE_MS: Final = 600_000
"""An upload without progress for so long gives way where its room or its place is needed.

So does one whose last use lies further than that ahead: the clock was set back since.
"""
UPLOADS_PER_CALLER_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the file of an upload consists of so far."""

    data_bytes: int
    extents: int
    holes: int
    hole_bytes: int
    attribute_bytes: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an upload has asked for."""

    reach: int = 0
    """The bytes of data that its file has at least."""
    pinned_bytes: int = 0
    """Of the chunks that it named,"""
    pins: int = 0
    """and how many they are."""
    reserved_bytes: int = 0
    """What all that counts for in the quota."""


def grown(
    before: Reservation, recorded: Recorded, *, end: int, new: Sequence[Extent]
) -> Reservation:
    """Return what is reserved with the next batch.

    Args:
        before: what was.
        recorded: the file, with what this batch recorded.
        end: the highest end that the batch names; holes before it count for nothing.
        new: those of its extents whose chunks are new to the upload, whatever offsets they name.

    Raises:
        UsageError: the file would have more extents or holes than one of its size may have.
    """
    pinned = before.pinned_bytes + sum(map(_weight, new))
    pins = before.pins + len(new)
    reach = max(before.reach, end - recorded.hole_bytes, pinned, recorded.data_bytes)
    require_few(recorded.extents, recorded.data_bytes)
    require_few(pins, pinned)
    require_few(recorded.holes, recorded.hole_bytes, "holes")
    counted = reach + catalog_bytes(
        extents=max(pins, recorded.extents),
        attribute_bytes=recorded.attribute_bytes,
        holes=recorded.holes,
    )
    return Reservation(reach, pinned, pins, max(before.reserved_bytes, counted))


def _weight(intent: Extent) -> int:
    """Return the bytes that a chunk counts for where the extent that it is for is not believed."""
    return max(intent.length, intent.stored_length - limits.ENVELOPE_OVERHEAD_MAX_BYTES)


def require_few(extents: int, size_bytes: int, what: str = "extents") -> None:
    """Raise UsageError if ``size_bytes`` of a file may not have so many extents (or holes)."""
    if extents > extents_most(size_bytes):
        raise UsageError(
            f"A file may have {limits.EXTENTS_FREE} {what}, and one more for each"
            f" {format_size(limits.EXTENT_MEAN_LEAST_BYTES)} of them; cut it into larger pieces."
        )


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """A datastore that has a quota, and what counts towards it now."""

    name: str
    quota_bytes: int
    used_bytes: int


def require_room(
    use: QuotaUse,
    more_bytes: int,
    *,
    reserved_by_others: Callable[[], int] | None,
    idle: Iterable[tuple[UploadKey, int]],
) -> Sequence[UploadKey]:
    """Return the uploads that are to be ended so that ``more_bytes`` have room; NoSpaceError if that is too few.

    Args:
        use: of the datastore where they go.
        more_bytes: that count there then; 0 and less need no room.
        reserved_by_others: what the other open uploads have reserved, asked only where it matters; None: they
            are passed over, since these bytes have their room already.
        idle: those of them that stand still, the longest first, with the bytes that each would free; read
            only as far as they are needed.
    """
    if more_bytes <= 0:
        return ()
    lacking = use.used_bytes + more_bytes - use.quota_bytes
    chosen: Sequence[UploadKey] = ()
    if lacking <= 0 and reserved_by_others is not None:
        lacking += reserved_by_others()
        if lacking > 0:
            chosen = _giving_way(idle, lacking)
    if lacking > 0 and not chosen:
        raise NoSpaceError(
            f"The quota of /{use.name} is {format_size(use.quota_bytes)}, and this needs"
            f" {format_size(lacking)} more than it leaves; remove files there or ask the operator"
            " for more."
        )
    return chosen


def _giving_way(idle: Iterable[tuple[UploadKey, int]], needed_bytes: int) -> Sequence[UploadKey]:
    """Return the first of ``idle`` that free ``needed_bytes``; none where all together do not."""
    chosen, freed = [], 0
    for upload, bytes_of_it in idle:
        chosen.append(upload)
        freed += bytes_of_it
        if freed >= needed_bytes:
            return chosen
    return ()


def outgrows(more_bytes: int, *, reserved_bytes: int, credit_bytes: int) -> bool:
    """Tell whether a file counts for more at its commit than its upload had reserved.

    What was reserved has its room; what is beyond competes with what other open uploads have.

    Args:
        more_bytes: that the datastore counts by the commit.
        reserved_bytes: by the upload.
        credit_bytes: of that, what the file counted for that it replaces.
    """
    return more_bytes > max(0, reserved_bytes - credit_bytes)


def beyond(newest_first: Iterable[tuple[int, int]], quota_bytes: int) -> Iterator[int]:
    """Yield the replaced versions that are not kept even for readers: in all as much as the quota is.

    Args:
        newest_first: replaced or removed versions with their bytes, the last that were first.
        quota_bytes: of their datastore.
    """
    left = quota_bytes
    for version, size_bytes in newest_first:
        left -= size_bytes
        if left < 0:
            yield version


def require_place(
    open_uploads: int, idle: Callable[[int], Sequence[UploadKey]]
) -> Sequence[UploadKey]:
    """Return a caller's uploads that are to be ended before they may begin one more.

    Args:
        open_uploads: of the caller.
        idle: those that stand still, the longest first, at most as many as it is given; asked only where some
            have to go.

    Raises:
        BusyError: too few of them are idle.
    """
    excess = max(0, open_uploads + 1 - UPLOADS_PER_CALLER_MAX)
    if not excess:
        return ()
    found = idle(excess)
    if len(found) < excess:
        raise BusyError(
            f"You have {UPLOADS_PER_CALLER_MAX} files open for writing, which is the most at a time;"
            " finish some, or wait 10 minutes after you left them."
        )
    return found
