"""Capacity: set aside before bytes are accepted, so that a full store refuses early."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from collective.core.disk_errors import DiskFullError
from collective.core.errors import NoSpaceError


class Capacity:
    """Counts used and reserved bytes against the capacity and the disk's free space."""

    def __init__(
        self, capacity_bytes: int, margin_bytes: int, free_bytes: Callable[[], int]
    ) -> None:
        """``free_bytes`` asks the file system; ``margin_bytes`` of it are never used."""
        self.capacity_bytes = capacity_bytes
        """May be set anew at any time: less than what is used refuses, and deletes nothing."""
        self._margin_bytes = margin_bytes
        self._free_bytes = free_bytes
        self._lock = threading.Lock()
        self._used = 0
        self._reserved = 0

    @property
    def used_bytes(self) -> int:
        """Bytes on disk."""
        return self._used

    @property
    def reserved_bytes(self) -> int:
        """Bytes set aside and not yet written."""
        return self._reserved

    def reserve(self, length: int) -> Reservation:
        """Set ``length`` bytes aside, or raise :class:`NoSpaceError`."""
        free = self._free_bytes() - self._margin_bytes
        with self._lock:
            if self._used + self._reserved + length > self.capacity_bytes:
                raise NoSpaceError(
                    "The node's storage capacity is used up; raise COLLECTIVE_STORAGE_CAPACITY or"
                    " remove files."
                )
            if self._reserved + length > free:
                raise DiskFullError("The node's disk is almost full; free some space on it.")
            self._reserved += length
        return Reservation(self, length)

    def change_used(self, difference: int) -> None:
        """Add ``difference`` (may be negative) to the bytes on disk."""
        with self._lock:
            self._used += difference

    def give_back(self, length: int) -> None:
        """Return ``length`` reserved bytes."""
        with self._lock:
            self._reserved -= length
            assert self._reserved >= 0


class Reservation:
    """Bytes set aside; a context manager that gives back what was not consumed."""

    __slots__ = ("_capacity", "_length")

    def __init__(self, capacity: Capacity, length: int) -> None:
        """Hold ``length`` bytes of ``capacity``; use :meth:`Capacity.reserve`."""
        self._capacity = capacity
        self._length = length

    @property
    def length(self) -> int:
        """Bytes still set aside."""
        return self._length

    def consume(self, length: int) -> None:
        """Give ``length`` bytes back because they are on disk and counted as used now."""
        length = min(length, self._length)
        self._length -= length
        self._capacity.give_back(length)

    def release(self) -> None:
        """Give everything left back; idempotent."""
        length, self._length = self._length, 0
        self._capacity.give_back(length)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
