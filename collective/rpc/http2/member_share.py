"""What the calls of one other member may hold of this process's memory, over all of its connections.

The same bounds, counted apart, are those of its answers to calls that go to it.

A message is in memory from its first byte on, before anybody can look at it, and an answer until the caller has
taken it; so a member that begins many and goes on with none, or reads none, would hold as much as it likes.
Whatever would go beyond the bounds is refused.  With the windows of its connections (FOREIGN_WINDOW_BYTES), the
writes that wait on them, and the pool of its chunks, all stays below MEMBER_MAX_BYTES.
"""

from __future__ import annotations

import weakref
from typing import Final

from collective.core.errors import BusyError
from collective.core.limits import KIB, MIB

MEMBER_MAX_BYTES: Final = 64 * MIB
"""What one other member may hold of a process, by all that it does."""
CALLS_MAX: Final = 192
"""Calls that were begun and have not ended: the 64 that are admitted, 64 that wait, and as many to spare."""
MESSAGES_MAX_BYTES: Final = 5 * MIB
"""Of their messages, in both directions: one of the largest, and others beside it."""
FOREIGN_WINDOW_BYTES: Final = 64 * KIB
"""What one connection may have sent that nobody has read yet."""
FOREIGN_WRITE_BYTES: Final = 64 * KIB
"""What one connection may have before it that it has not taken, when more is to be sent,"""
FOREIGN_UNREAD_MAX_BYTES: Final = 192 * KIB
"""and at most: one that lets more pile up is cut off."""
WIDE_STREAMS_MAX: Final = 8
"""Chunk streams of one member that may have more before them, so that payload goes out in pieces as large as
those of the own people's: pieces of FOREIGN_WRITE_BYTES cost a tenth of the rate."""
WIDE_UNREAD_MAX_BYTES: Final = 384 * KIB
"""What each of these may have before it at most."""


class MemberShare:
    """The calls of one member, and the bytes of their messages."""

    def __init__(self, member: str) -> None:
        """Hold nothing for ``member``."""
        self.member: Final = member
        self.calls = 0
        self.held_bytes = 0

    def enter(self) -> None:
        """Count a call that begins; BusyError where there are too many."""
        if self.calls >= CALLS_MAX:
            raise BusyError(
                f"{CALLS_MAX} calls of {self.member} are under way; wait for their end."
            )
        self.calls += 1

    def leave(self) -> None:
        """Count the end of a call."""
        self.calls -= 1

    def take(self, size_bytes: int) -> None:
        """Count bytes of a message; BusyError where that would be too many."""
        if self.held_bytes + size_bytes > MESSAGES_MAX_BYTES:
            raise BusyError(
                f"Messages of {self.member} hold {self.held_bytes} bytes already; wait for their end."
            )
        self.held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Count bytes no longer."""
        self.held_bytes -= size_bytes


class MemberShares:
    """One share for each member that is connected."""

    def __init__(self) -> None:
        """Know nobody."""
        self._shares: weakref.WeakValueDictionary[str, MemberShare] = weakref.WeakValueDictionary()

    def of(self, member: str) -> MemberShare:
        """Return the share of ``member``; it lasts as long as one of its connections holds it."""
        share = self._shares.get(member)
        if share is None:
            share = self._shares[member] = MemberShare(member)
        return share
