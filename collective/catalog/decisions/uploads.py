"""What an upload may name, whether it may go on, and when its pieces are checked again: pure.

Which of its copies count is ``allocation``'s, whether its pieces make a file ``extents``', what it reserves
``quotas``'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum

from collective.access.permissions import Decider
from collective.core import limits
from collective.core.errors import BusyError, NotFoundError, RejectedError, UsageError
from collective.core.ids import CHUNK_ID_BYTES
from collective.core.paths import FilePath
from collective.model.extents import Extent
from collective.model.rights import Right
from collective.model.writing import Attributes


class UploadState(IntEnum):
    """How far an upload has come; the numbers are the catalogue's."""

    ACTIVE = 0
    COMMITTED = 1
    """Its answer is kept for a while."""
    ENDED = 2
    COMMITTED_UNCLEARED = 3
    """The same as committed; some of its rows are still there."""

    @property
    def is_committed(self) -> bool:
        """Whether it made a version: a repeated commit has the same answer."""
        return self in {UploadState.COMMITTED, UploadState.COMMITTED_UNCLEARED}


def require_attributes(attributes: Attributes) -> None:
    """Raise UsageError for more metadata, or a longer content type, than a file may have."""
    size = sum(len(k.encode()) + len(v.encode()) for k, v in attributes.metadata.items())
    if size > limits.METADATA_MAX_BYTES:
        raise UsageError(f"A file's metadata may have at most {limits.METADATA_MAX_BYTES} bytes.")
    if len(attributes.content_type.encode()) > limits.CONTENT_TYPE_MAX_BYTES:
        raise UsageError(f"A content type may have at most {limits.CONTENT_TYPE_MAX_BYTES} bytes.")


def require_batch(items: Sequence[object]) -> None:
    """Raise UsageError for more chunks or holes than one call may name."""
    if len(items) > limits.BATCH_MAX_CHUNKS:
        raise UsageError(f"One call may name at most {limits.BATCH_MAX_CHUNKS} chunks.")


def require_chunk(named: Extent) -> None:
    """Raise UsageError unless what an extent names can be a chunk."""
    if len(named.chunk) != CHUNK_ID_BYTES:
        raise UsageError(f"A chunk id has {CHUNK_ID_BYTES} bytes; this one is malformed.")
    if not 0 < named.stored_length <= limits.CHUNK_STORED_MAX_BYTES:
        raise UsageError(f"A chunk has 1 to {limits.CHUNK_STORED_MAX_BYTES} stored bytes.")


def gone() -> NotFoundError:
    """Return what is said of an upload that is not there, or not any more."""
    return NotFoundError("There is no such upload, or it has ended; write the file again.")


def require_active(state: UploadState, expires_ms: int, now_ms: int) -> None:
    """Raise NotFoundError unless more may be written into an upload."""
    if state is not UploadState.ACTIVE or expires_ms <= now_ms:
        raise gone()


def require_known(state: UploadState, expires_ms: int, now_ms: int) -> None:
    """Raise NotFoundError unless an upload can be looked at: it is active, or was committed lately."""
    if state is UploadState.ENDED or expires_ms <= now_ms:
        raise gone()


def may_use(decider: Decider, places: Iterable[FilePath], has_sent: Callable[[], bool]) -> bool:
    """Tell whether a caller has, or may have, a chunk's content: naming a chunk proves nothing.

    Args:
        decider: of the caller.
        places: where it is held that are looked at, one by one as they are asked for.
        has_sent: tells whether they have sent it themselves, in another upload that is open.
    """
    return any(decider.may(Right.READ, place) for place in places) or has_sent()


def may_use_still(
    *, is_authorised: bool, is_kept: Callable[[], bool], may_use: Callable[[], bool]
) -> bool:
    """Tell whether stored copies of a chunk count for an upload when its extent is recorded.

    What they might read when they asked, they must be allowed to read still, while it is anywhere.

    Args:
        is_authorised: they might use it when it was allocated.
        is_kept: tells whether any file, or old version that is kept, holds it.
        may_use: tells whether they may have its content now.
    """
    return is_authorised and (not is_kept() or may_use())


def never_asked() -> RejectedError:
    """Return the error for an extent whose chunk was never allocated for the upload."""
    return RejectedError("This upload never asked for a chunk that it names; allocate it first.")


def must_check_again(checked_epoch: int, epoch: int, has_extents: Callable[[], bool]) -> bool:
    """Tell whether the extents of an upload are checked again before it commits.

    Args:
        checked_epoch: the trust epoch at which all of them were checked; -1 after a copy went.
        epoch: the present one.
        has_extents: tells whether there are any.
    """
    return checked_epoch != epoch and has_extents()


def goes_on_at(checking_epoch: int, checked_to: int, epoch: int) -> int:
    """Return the offset at which checking goes on: at the beginning where that was for another epoch."""
    return checked_to if checking_epoch == epoch else 0


def never_settles() -> BusyError:
    """Return what is said where nodes or copies stop counting time and again."""
    return BusyError("The nodes are changing all the time; commit again.")
