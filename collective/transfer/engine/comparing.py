"""Whether two files have the same pieces: told by their plans, without a byte of either.

Chunks are named by what they hold, so files of the same chunks in the same places have the same content,
whichever members have them.  Files that were cut in different places differ here though they may be alike.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from collective.core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RejectedError,
    UsageError,
)
from collective.core.ids import LeaseId
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.routes import RouteMode
from collective.model.transfers import OpenedRead
from collective.transfer.engine.control import ReadControl


@dataclass(slots=True)
class LeasedPieces:
    """The pieces of one file, under a lease; use :meth:`all` once."""

    control: ReadControl
    """Of the member that has it."""
    call: Call
    lease: Callable[[RouteMode], Awaitable[OpenedRead]]
    """Leases the version that is compared; only this knows its name."""
    give_back: Callable[[LeaseId], Awaitable[None]]
    """Takes the lease in the end."""
    entry: Entry | None = field(default=None, init=False)
    """The version, once the first piece was asked for."""

    async def all(self) -> AsyncGenerator[Extent | Hole]:
        """Yield them in order."""
        opened = await self.lease(RouteMode.DIRECT)
        self.entry, size_bytes = opened.entry, opened.entry.size_bytes
        plan, position = opened.plan, 0
        try:
            while position < size_bytes and plan.pieces:
                for piece in plan.pieces:
                    at = piece if isinstance(piece, Hole) else piece.extent
                    if at.offset != position:
                        raise RejectedError("The plan of the file has a gap.")
                    yield at
                    position += at.length
                if position < size_bytes:
                    plan = await self.control.plan_read(
                        self.call,
                        opened.lease,
                        offset=position,
                        length=size_bytes - position,
                        mode=RouteMode.DIRECT,
                    )
        finally:
            await self.give_back(opened.lease)


async def same_pieces(ours: LeasedPieces, theirs: LeasedPieces) -> Entry | None:
    """Return the entry of ``theirs`` if it is a file of the same pieces as ``ours``, else None.

    None as well where there is no such file, or the caller may not read it.  Raises as leasing ``ours`` does.
    """
    async with aclosing(ours.all()) as one, aclosing(theirs.all()) as other:
        first = await anext(one, None)
        try:
            second = await anext(other, None)
        except (NotFoundError, PermissionDeniedError, UsageError, ConflictError):
            return None
        if (
            ours.entry is None
            or theirs.entry is None
            or ours.entry.size_bytes != theirs.entry.size_bytes
        ):
            return None
        while first is not None or second is not None:
            if first is None or second is None or not _is_same(first, second):
                return None
            first, second = await anext(one, None), await anext(other, None)
    return theirs.entry


def _is_same(one: Extent | Hole, other: Extent | Hole) -> bool:
    if isinstance(one, Hole) or isinstance(other, Hole):
        return one == other
    return (one.offset, one.length, one.chunk) == (other.offset, other.length, other.chunk)
