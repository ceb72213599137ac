"""Room that the catalogue keeps on its disk, so that it opens there when there is no other.

SQLite makes the index of its log anew at the first opening.  On a disk that is full to the last byte
that fails, and with it every read; the reserve is given up then, and made again when there is room.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final, TypeVar

from blake3 import blake3

from collective.core.disk import Disk
from collective.core.errors import DataDirError, NoSpaceError
from collective.core.randomness import Randomness

T = TypeVar("T")

RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 512 * 1024
_TIMES_FREE: Final = 4
"""It is made only where so many times its size is free."""


class EmergencyReserve:
    """The file that holds the room; every method blocks."""

    def __init__(self, data_dir: str, disk: Disk, randomness: Randomness) -> None:
        """Keep it in ``data_dir``."""
        self._data_dir = data_dir
        self._path = os.path.join(data_dir, RESERVE)
        self._disk = disk
        self._randomness = randomness

    def opened(self, opening: Callable[[], T]) -> T:
        """Return what ``opening`` returns; where it fails, try once more with the reserve given up.

        Raises what the last try raised.
        """
        try:
            found = opening()
        except (DataDirError, NoSpaceError):
            try:
                self._disk.unlink(self._path)
            except OSError:
                pass
            else:
                return opening()
            raise
        self.keep()
        return found

    def keep(self) -> None:
        """Make the reserve if it is not there and there is ample room."""
        with contextlib.suppress(OSError):
            if self._disk.exists(self._path):
                return
            if self._disk.space(self._data_dir).free_bytes < _TIMES_FREE * RESERVE_BYTES:
                return
            # No zeros, which take no room where the file system compresses; not flushed, as its
            # loss costs nothing.
            noise = blake3(self._randomness.token(32)).digest(length=RESERVE_BYTES)
            with self._disk.open(self._path, "create") as file:
                file.write(noise, 0)
