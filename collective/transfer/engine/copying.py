"""Copying a file from one place to another, of one member or two, chunk by chunk as they are stored.

Chunks keep their ids, so one that the target's member has already, and that the caller may read there, is
referred to and not moved.  Any other is fetched, verified and sent on: bounded memory, whatever the size.
The version that is read is leased meanwhile.  Nothing is visible before the commit, and what was recorded
of an interrupted copy is not sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from collective.core import limits
from collective.core.errors import CollectiveError, ConflictError, RejectedError, first_error
from collective.core.ids import LeaseId
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.routes import RouteMode, SignedReceipt
from collective.model.transfers import ChunkPlan, ExtentPlan, OpenedRead
from collective.rpc.headers import operation
from collective.transfer.engine.chunk_storing import ChunkStoring
from collective.transfer.engine.control import ReadControl, UploadControl
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.read_failover import ChunkFetch
from collective.transfer.engine.upload_session import (
    RECORD_BATCH,
    ChunksUnderWay,
    Opening,
    UploadSession,
)

OpenSource = Callable[[RouteMode], Awaitable[OpenedRead]]
"""Leases the version that is copied; only this knows its name."""
REPEATS_MAX: Final = 1024
"""Pieces that wait for an earlier one with the same chunk."""
_BATCH: Final = 16
"""Pieces planned at the target in one call."""

_Piece = ExtentPlan | Hole


@dataclass(frozen=True, slots=True)
class CopySource:
    """The file that is copied."""

    engine: Engine
    """Fetches its bytes: that of the way to the member that has it."""
    control: ReadControl
    """Of that member."""
    lease: OpenSource
    give_back: Callable[[LeaseId], Awaitable[None]]
    """Takes the lease in the end."""


class FileCopy:
    """One file on its way from one place to another; use :meth:`run` once."""

    def __init__(
        self,
        engine: Engine,
        call: Call,
        source: CopySource,
        target: UploadControl,
        opening: Opening,
        *,
        window: int,
    ) -> None:
        """Copy what ``source`` leases.

        Args:
            engine: stores the bytes: that of the way to the target's member.
            call: who is judged at both ends, and who holds the tickets.
            source: the file.
            target: of the member that it goes to.
            opening: how the upload there begins.
            window: chunks in memory, at most.
        """
        self._engine = engine
        self._call = call
        self._file = source
        self._source = source.control
        self._target = target
        self._session = UploadSession(engine, target, call, opening)
        self._slots = asyncio.Semaphore(window)
        self._repeats = asyncio.Semaphore(REPEATS_MAX)
        self._under_way = ChunksUnderWay()
        self._unrecorded: list[tuple[Extent, Sequence[SignedReceipt]]] = []
        self._recording = asyncio.Lock()

    async def run(self) -> Entry:
        """Copy everything, commit, and return the new entry; raises whatever typed error stopped it."""
        with operation(self._engine.randomness):
            opened = await self._file.lease(self._file.engine.choice.mode)
            try:
                return await self._run(opened)
            finally:
                await self._file.give_back(opened.lease)

    async def _run(self, opened: OpenedRead) -> Entry:
        try:
            async with asyncio.TaskGroup() as senders:
                await self._plan_all(opened, senders)
            extents, receipts = self._take_unrecorded()
            return await self._session.commit(extents, receipts, opened.entry.size_bytes)
        except BaseExceptionGroup as group:
            await self._session.abort()
            raise first_error(group) from group
        except (CollectiveError, asyncio.CancelledError):
            await self._session.abort()
            raise

    async def _plan_all(self, opened: OpenedRead, senders: asyncio.TaskGroup) -> None:
        """Plan every piece at the target, batch by batch, and start what moves those that are not there."""
        recorded = self._session.recorded()
        async with aclosing(recorded), aclosing(self._batches(opened)) as batches:
            known = await anext(recorded, None)
            async for batch in batches:
                fresh: list[_Piece] = []
                for piece in batch:
                    if known is None or isinstance(piece, Hole):
                        fresh.append(piece)
                    elif known == piece.extent:
                        self._session.tell(known.length)
                        known = await anext(recorded, None)
                    elif known.offset < piece.extent.offset + piece.extent.length:
                        raise ConflictError(
                            "The file has changed since the copy began; begin anew."
                        )
                    else:
                        fresh.append(piece)
                await self._begin(opened.lease, fresh, senders)
        if not self._session.is_open:
            await self._session.plan([], [])

    async def _begin(
        self, lease: LeaseId, batch: Sequence[_Piece], senders: asyncio.TaskGroup
    ) -> None:
        holes = [piece for piece in batch if isinstance(piece, Hole)]
        fresh: list[ExtentPlan] = []
        for piece in batch:
            if isinstance(piece, Hole):
                self._session.tell(piece.length)
                continue
            earlier = self._under_way.earlier(piece.extent.chunk)
            if earlier is not None:
                await self._repeats.acquire()
                senders.create_task(self._repeat(piece.extent, earlier))
            else:
                self._under_way.begin(piece.extent.chunk)
                fresh.append(piece)
        if not fresh and not holes:
            return
        plans = await self._session.plan([piece.extent for piece in fresh], holes)
        for piece, plan in zip(fresh, plans, strict=True):
            if plan.is_stored:
                await self._finish(piece.extent, ())
                continue
            await self._slots.acquire()
            senders.create_task(self._move(lease, piece, plan))

    # --- what the source has ---------------------------------------------------------------------

    async def _batches(self, opened: OpenedRead) -> AsyncGenerator[Sequence[_Piece]]:
        """Yield the pieces of the source in order, in batches."""
        position, end = 0, opened.entry.size_bytes
        plan = opened.plan.pieces
        while position < end:
            if position:
                answer = await self._source.plan_read(
                    self._call,
                    opened.lease,
                    offset=position,
                    length=end - position,
                    mode=self._file.engine.choice.mode,
                )
                plan = answer.pieces
            if not plan:
                raise RejectedError("The plan of the file ends before the file.")
            for first in range(0, len(plan), _BATCH):
                batch = plan[first : first + _BATCH]
                for piece in batch:
                    at = piece if isinstance(piece, Hole) else piece.extent
                    if at.offset != position:
                        raise RejectedError("The plan of the file has a gap.")
                    position += at.length
                yield batch

    # --- moving ----------------------------------------------------------------------------------

    async def _move(self, lease: LeaseId, piece: ExtentPlan, plan: ChunkPlan) -> None:
        """Fetch one chunk, send it on, and free its slot."""
        try:
            engine = self._file.engine
            fetch = ChunkFetch(engine, self._source, self._call, lease, piece, engine.choice.mode)
            fetched = await fetch.run()
            try:
                storing = ChunkStoring(
                    self._engine,
                    self._target,
                    self._call,
                    self._session.id,
                    piece.extent,
                    [fetched.buffer.view],
                )
                receipts = await storing.run(plan)
            finally:
                fetched.release()
        finally:
            self._slots.release()
        await self._finish(piece.extent, receipts)

    async def _repeat(self, extent: Extent, earlier: asyncio.Future[None]) -> None:
        """Record a chunk that this copy has moved already, after its first occurrence."""
        try:
            await earlier
        finally:
            self._repeats.release()
        await self._record(extent, ())

    async def _finish(self, extent: Extent, receipts: Sequence[SignedReceipt]) -> None:
        await self._record(extent, receipts)
        self._under_way.done(extent.chunk)

    async def _record(self, extent: Extent, receipts: Sequence[SignedReceipt]) -> None:
        self._unrecorded.append((extent, receipts))
        self._session.tell(extent.length)
        async with self._recording:
            if len(self._unrecorded) >= RECORD_BATCH:
                await self._session.record(*self._take_unrecorded())

    def _take_unrecorded(self) -> tuple[list[Extent], list[SignedReceipt]]:
        batch = self._unrecorded[: limits.BATCH_MAX_CHUNKS]
        del self._unrecorded[: len(batch)]
        return [extent for extent, _ in batch], [one for _, some in batch for one in some]
