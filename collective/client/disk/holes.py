"""Holes of local files: where they are, and whether a range reads as zeros.

A hole is what the file system says it stores nothing for (``lseek``, SEEK_DATA and SEEK_HOLE).  File
systems that cannot say so have none.  Holes shorter than HOLE_LEAST_BYTES are taken for data: each one
would cut a chunk in two.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from collective.core import limits

LOOK_BYTES: Final = 64 * limits.MIB
"""How much data one look goes over."""
_BLOCK_BYTES: Final = limits.MIB
_ZEROS: Final = bytes(_BLOCK_BYTES)


def data_from(fd: int, position: int, size_bytes: int) -> int:
    """Return where the first data at or after ``position`` begins; ``size_bytes`` where none is."""
    if position >= size_bytes:
        return size_bytes
    try:
        return min(os.lseek(fd, position, os.SEEK_DATA), size_bytes)
    except OSError as error:  # ENXIO: a hole up to the end; else it cannot say
        return size_bytes if error.errno == errno.ENXIO else position


def _hole_from(fd: int, position: int, size_bytes: int) -> int:
    try:
        return min(os.lseek(fd, position, os.SEEK_HOLE), size_bytes)
    except OSError:
        return size_bytes


def run_from(fd: int, position: int, size_bytes: int) -> tuple[int, int]:
    """Return begin and end of the next run of data; between ``position`` and its begin is a hole.

    Both are ``size_bytes`` where a hole goes up to the end.  A run may be given in parts.
    """
    begin = data_from(fd, position, size_bytes)
    if begin - position < limits.HOLE_LEAST_BYTES:
        begin = position
    end = begin
    while end < size_bytes and end - begin < LOOK_BYTES:
        end = max(end, _hole_from(fd, end, size_bytes))
        after = data_from(fd, end, size_bytes)
        if after - end >= limits.HOLE_LEAST_BYTES:
            break
        end = after
    return begin, end


def zeros_from(fd: int, begin: int, end: int, *, reads_data: bool) -> int | None:
    """Return up to where the file is known to be zero from ``begin`` on; None where it is not.

    Holes are not read; after LOOK_BYTES of other zeros it stops before ``end``.  Without ``reads_data``
    all of it has to be a hole.
    """
    if end > os.fstat(fd).st_size:
        return None
    position, left = begin, LOOK_BYTES
    while left and (position := data_from(fd, position, end)) < end:
        if not reads_data:
            return None
        block = os.pread(fd, min(_BLOCK_BYTES, end - position), position)
        if not block or block != _ZEROS[: len(block)]:
            return None
        position += len(block)
        left = max(0, left - len(block))
    return position


class DataRuns:
    """Reads the data of a plain file in order; holes are passed by asking for them.

    A file that is cut meanwhile ends early; the reader looks at its state afterwards.
    """

    def __init__(self, fd: int, status: os.stat_result) -> None:
        """Read ``fd``, by offset, up to the size in ``status``."""
        self._fd = fd
        self._size_bytes = status.st_size
        self._position = 0
        self._begin = 0
        self._end = status.st_size if status.st_size < limits.HOLE_LEAST_BYTES else 0
        """From here to there is data; before it, from the position on, a hole."""

    @property
    def is_in_data(self) -> bool:
        """Whether the next byte is known to be data."""
        return self._begin <= self._position < self._end

    @property
    def left_bytes(self) -> int:
        """How far it is to the end."""
        return self._size_bytes - self._position

    def _look(self) -> None:
        """Find the next run where the last one is read."""
        if self._position >= self._end:
            self._begin, self._end = run_from(self._fd, self._position, self._size_bytes)

    def skip(self) -> int:
        """Pass a hole at the position, if one is there; return its length."""
        self._look()
        length = max(0, self._begin - self._position)
        self._position += length
        return length

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` with data that comes without a hole; return the bytes read, 0 at its end."""
        self._look()
        wanted = min(len(buffer), self._end - self._position)
        if wanted <= 0 or self._begin > self._position:
            return 0
        count = os.preadv(self._fd, [buffer[:wanted]], self._position)
        self._position += count
        return count
