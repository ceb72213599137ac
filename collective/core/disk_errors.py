"""What a failed call of a disk means: one typed error, and a word for the disk's state.

Everything that writes in the background turns an ``OSError`` of its disk into one of these, so that
a full, failing or read-only disk is told to people and never ends a process.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from enum import Enum
from typing import ClassVar, Final

from collective.core.errors import CollectiveError, DataDirError, NoSpaceError, OperatorError


class DiskState(Enum):
    """What a disk can do; the value is the word of the wire, of metrics and of ``status``."""

    OK = "ok"
    FULL = "full"
    READ_ONLY = "read-only"
    FAILING = "failing"


class DiskFullError(NoSpaceError):
    """The file system under a data dir has no room left, or not what must stay free."""

    disk_state: ClassVar[DiskState] = DiskState.FULL


class DiskReadOnlyError(DataDirError):
    """The file system cannot be written: it is mounted read-only, or belongs to somebody else."""

    disk_state: ClassVar[DiskState] = DiskState.READ_ONLY


class DiskFailedError(OperatorError):
    """The disk reported an error."""

    code = "disk_failed"
    disk_state: ClassVar[DiskState] = DiskState.FAILING


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_WRITABLE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})


def disk_error(error: OSError, whose: str = "The node's") -> CollectiveError:
    """Return what a failed call of a disk means to the operator.

    Args:
        error: What the call raised.
        whose: Begins the sentence, such as ``The node's``.
    """
    if error.errno in _FULL:
        return DiskFullError(f"{whose} disk is full; free some space on it.")
    if error.errno in _NOT_WRITABLE:
        return DiskReadOnlyError(
            f"{whose} data dir cannot be written ({error.strerror}); check its owner and mount."
        )
    return DiskFailedError(
        f"{whose} disk failed ({error.strerror or error}); check the disk and the kernel's log."
    )


@contextlib.contextmanager
def disk_errors(whose: str = "The node's") -> Iterator[None]:
    """Turn every ``OSError`` inside into what it means; see :func:`disk_error`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, whose) from error


def state_behind(error: BaseException) -> DiskState | None:
    """Return what ``error`` says of the disk; None if it is about something else."""
    if isinstance(error, DiskFullError | DiskReadOnlyError | DiskFailedError):
        return error.disk_state
    return None


_SAYING: Final = {
    DiskState.OK: "",
    DiskState.FULL: "{whose} disk is full; free some space on it.",
    DiskState.READ_ONLY: "{whose} disk is read-only; check its mount, its owner and the kernel's log.",
    DiskState.FAILING: "{whose} disk reports errors; check the disk and the kernel's log.",
}


def disk_sentence(state: DiskState, whose: str) -> str:
    """Return a sentence on a disk that takes no writes; nothing on one that does."""
    return _SAYING[state].format(whose=whose)
