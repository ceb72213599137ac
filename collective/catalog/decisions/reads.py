"""What a reader is given: which version of a file, which part of it, and which copies of its chunks: pure.

A read holds one version from its beginning to its end (a *lease*), whatever is written meanwhile.  Whoever
reads on must be allowed to read where that version lies now, or lay last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from collective.access.permissions import Decider
from collective.catalog.decisions.names import absent
from collective.core import limits
from collective.core.errors import ConflictError, NotFoundError, PermissionDeniedError, UsageError
from collective.core.ids import Generation, NodeId
from collective.core.paths import FilePath
from collective.model.copies import Copy, CopyState
from collective.model.entries import EntryKind
from collective.model.nodes import Standing
from collective.model.rights import Right

_AT_NEED: Final = (CopyState.STORED, CopyState.DOUBTED)


class FoundCopy(NamedTuple):
    """A copy of a chunk on a node that is not removed."""

    node: NodeId
    generation: Generation
    state: CopyState | None
    """None: it is given up, and not deleted yet."""
    is_corrupt: bool
    """It is given up because its bytes are not those of the chunk."""
    standing: Standing
    """Of its node."""


def readable(found: Iterable[FoundCopy]) -> list[Copy]:
    """Return the copies that a reader may try, first those that count; the others are marked.

    The reader checks the chunk's id, so a copy that is in doubt, on a doubted node, or given up and not
    deleted yet, is better than none.  One that is corrupt, missing or not sent yet is not.
    """
    certain, doubtful = [], []
    for one in found:
        if one.state is CopyState.STORED and one.standing is not Standing.DOUBTED:
            certain.append(Copy(one.node, one.generation))
        elif one.state in _AT_NEED or (one.state is None and not one.is_corrupt):
            doubtful.append(Copy(one.node, one.generation, is_doubted=True))
    return certain + doubtful


def require_file(path: FilePath, kind: EntryKind | None) -> None:
    """Raise unless what is at ``path`` can be opened: a file; a link is not followed.

    Raises:
        ConflictError: it is something else.
        NotFoundError: nothing is there (``kind`` None).
    """
    if kind is None:
        raise absent(path)
    if kind is EntryKind.LINK:
        raise ConflictError(
            f"{path} is a symbolic link, which is not followed; 'stat' shows where it points"
            " to: read that by its own path."
        )
    if kind is not EntryKind.FILE:
        raise ConflictError(f"{path} is a directory; name a file in it.")


def require_version(path: FilePath, version: int, wanted: int) -> None:
    """Raise ConflictError where the caller ``wanted`` another version (0: any) than the current one."""
    if wanted and version != wanted:
        raise ConflictError(f"{path} has version {version}, not {wanted}; open it again.")


def require_range(offset: int, length: int) -> None:
    """Raise UsageError unless a read may ask for this range."""
    if offset < 0 or length < 0:
        raise UsageError("Offset and length of a read may not be negative.")


def end_of(offset: int, length: int, size_bytes: int) -> int:
    """Return where a read of ``length`` bytes (0: to the end) ends in a file of ``size_bytes``."""
    return min(size_bytes, offset + length) if length else size_bytes


def pieces_most(batch: int) -> int:
    """Return how many pieces one answer has at most, where the caller asked for ``batch`` (0: any)."""
    return min(batch or limits.BATCH_MAX_CHUNKS, limits.BATCH_MAX_CHUNKS)


def place_of_lease(place: FilePath | None, opened_at: FilePath | None) -> FilePath:
    """Return where one must be allowed to read to go on with a lease.

    Args:
        place: where its version lies now, or lay last; None where that is not known.
        opened_at: where it was opened; None where that was before a restart.

    Raises:
        NotFoundError: neither is known.
    """
    at = place or opened_at
    if at is None:
        raise lease_gone()
    return at


def require_still_readable(decider: Decider, path: FilePath) -> None:
    """Raise PermissionDeniedError unless the holder of a lease may read where its version lies."""
    if not decider.may(Right.READ, path):
        raise PermissionDeniedError(
            "You may no longer read this file, or it was moved to where you may not; ask"
            " its owner for a grant."
        )


def lease_gone() -> NotFoundError:
    """Return what is said of a lease that was never given, has run out, or whose version is no more."""
    return NotFoundError("This read has ended; open the file again.")
