"""Writing a file: read, hash, allocate, send and record at the same time, in bounded memory.

A file of one batch costs two control calls: the open carries the first batch, the commit the last
extents and receipts.  A longer one is a pipeline: a reader fills pooled buffers and hashes them, an
allocator asks for places batch by batch while earlier chunks are under way, and a recorder reports
finished chunks, so that the commit only flips the version.  A chunk that occurs again in the same
file is sent once, and a hole not at all: it is told of with the chunks behind it.  Nothing is visible
before the commit; an upload that fails is aborted, unless somebody will resume it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from collective.chunking.splitter import Cut
from collective.core import limits
from collective.core.errors import CollectiveError, first_error
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.routes import SignedReceipt
from collective.model.transfers import ChunkPlan
from collective.rpc.headers import operation
from collective.transfer.engine.chunk_storing import ChunkStoring
from collective.transfer.engine.control import UploadControl
from collective.transfer.engine.engine import Buffer, Engine
from collective.transfer.engine.upload_session import (
    RECORD_BATCH,
    ChunksUnderWay,
    Opening,
    UploadSession,
)
from collective.transfer.engine.window import Window
from collective.transfer.engine.write_sources import BlockSource

RECORD_AFTER_S: Final = 2.0
"""A shorter batch is reported when nothing was added to it for so long."""


@dataclass(slots=True)
class _Block:
    """A chunk in memory."""

    extent: Extent
    parts: Sequence[bytes | memoryview]
    buffer: Buffer
    is_recorded: bool = False


@dataclass(slots=True)
class _Stored:
    """A chunk that is safe."""

    extent: Extent
    receipts: Sequence[SignedReceipt]


class Upload:
    """One file on its way in; use :meth:`run` once."""

    def __init__(
        self,
        engine: Engine,
        control: UploadControl,
        call: Call,
        opening: Opening,
        source: BlockSource,
        *,
        window: Window,
    ) -> None:
        """Write all of ``source``.

        Args:
            engine: moves the bytes.
            control: of the member that the file goes to.
            call: who is judged, and who holds the tickets.
            opening: how it begins.
            source: what is written.
            window: what is in memory, perhaps shared with other transfers.
        """
        self._engine = engine
        self._control = control
        self._call = call
        self._before_commit = opening.before_commit
        self._session = UploadSession(engine, control, call, opening)
        self._source = source
        self._window = window
        self._blocks: asyncio.Queue[_Block | Hole | None] = asyncio.Queue(window.chunks)
        self._stored: asyncio.Queue[_Stored | None] = asyncio.Queue(window.chunks)
        self._under_way = ChunksUnderWay()
        self._unrecorded: list[_Stored] = []
        self._holes: list[Hole] = []
        """That the control was not told of yet."""
        self._size_bytes = 0
        self._live: dict[Buffer, int] = {}
        """Buffers in use, with their shares of the window."""

    async def run(self) -> Entry:
        """Store everything, commit, and return the new entry.

        Raises whatever typed error stopped it; the upload is then aborted unless it is resumable.
        """
        with operation(self._engine.randomness):
            return await self._run()

    async def _run(self) -> Entry:
        try:
            await self._transfer()
            if self._before_commit is not None:
                self._before_commit()
            return await self._commit()
        except BaseExceptionGroup as group:
            self._let_go()
            await self._session.abort()
            raise first_error(group) from group
        except (CollectiveError, asyncio.CancelledError):
            self._let_go()
            await self._session.abort()
            raise

    async def _transfer(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._record())
            async with asyncio.TaskGroup() as senders:
                senders.create_task(self._read())
                await self._allocate(senders)
            await self._stored.put(None)

    # --- reading -------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Pass holes, fill buffers and hash them, each in the window, until the source ends."""
        recorded = self._session.recorded()
        known = await anext(recorded, None)
        offset = 0
        may_go_on = True
        while self._source.at_most(1):
            skipped = await self._source.skip()
            if skipped:
                await self._blocks.put(Hole(offset, skipped))
                offset += skipped
            elif not may_go_on:
                break
            room = self._source.at_most(self._engine.splitter.room_at(offset))
            if not room:
                break
            buffer = await self._acquire_buffer(room)
            length = await self._fill(buffer, room)
            if length == 0:
                self._release(buffer)
                break
            cutting = partial(self._engine.splitter.cut, buffer.view[:length], offset)
            is_small = length <= limits.HASH_INLINE_MAX_BYTES
            cut: Cut = cutting() if is_small else await self._engine.threads.run(cutting)
            block = _Block(cut.extent, cut.parts, buffer)
            while known is not None and known.offset < offset:
                known = await anext(recorded, None)
            block.is_recorded = known is not None and _is_same(known, block.extent)
            await self._blocks.put(block)
            offset += length
            may_go_on = length == room
        self._size_bytes = offset
        await self._blocks.put(None)

    async def _acquire_buffer(self, room: int) -> Buffer:
        shares = await self._window.acquire(room)
        try:
            buffer = await self._engine.buffers.acquire(room)
        except BaseException:
            self._window.release(shares)
            raise
        self._live[buffer] = shares
        return buffer

    async def _fill(self, buffer: Buffer, room: int) -> int:
        try:
            return await self._source.fill(buffer.view[:room])
        except asyncio.CancelledError:
            self._window.release(self._live.pop(buffer))
            self._source.when_idle(buffer.release)
            raise

    def _release(self, buffer: Buffer) -> None:
        shares = self._live.pop(buffer)
        buffer.release()
        self._window.release(shares)

    def _let_go(self) -> None:
        """Free what a failed transfer has left in memory."""
        for buffer in tuple(self._live):
            self._release(buffer)

    # --- allocating ----------------------------------------------------------------------------

    async def _allocate(self, senders: asyncio.TaskGroup) -> None:
        """Ask for places, batch by batch, and start a sender for each chunk."""
        ended = False
        most = self._engine.options.batch_chunks
        while not ended:
            batch: list[_Block] = []
            while not ended and len(batch) < most and not self._is_full_of_holes:
                if batch and self._blocks.empty():
                    break
                block = await self._blocks.get()
                if block is None:
                    ended = True
                elif isinstance(block, Hole):
                    self._holes.append(block)
                    self._session.tell(block.length)
                elif block.is_recorded:
                    self._finish(block)
                elif (earlier := self._under_way.earlier(block.extent.chunk)) is not None:
                    senders.create_task(self._repeat(block, earlier))
                else:
                    self._under_way.begin(block.extent.chunk)
                    batch.append(block)
            if not batch and self._session.is_open and not self._is_full_of_holes:
                continue
            holes, self._holes = self._holes, []
            plans = await self._session.plan([block.extent for block in batch], holes)
            for block, plan in zip(batch, plans, strict=True):
                senders.create_task(self._send(block, plan))

    @property
    def _is_full_of_holes(self) -> bool:
        """Whether one call can tell of no more holes."""
        return len(self._holes) >= limits.BATCH_MAX_CHUNKS

    # --- sending and recording -----------------------------------------------------------------

    async def _send(self, block: _Block, plan: ChunkPlan) -> None:
        receipts: Sequence[SignedReceipt] = ()
        if not plan.is_stored:
            storing = ChunkStoring(
                self._engine, self._control, self._call, self._session.id, block.extent, block.parts
            )
            receipts = await storing.run(plan)
        await self._stored.put(_Stored(block.extent, receipts))
        self._finish(block)
        self._under_way.done(block.extent.chunk)

    async def _repeat(self, block: _Block, earlier: asyncio.Future[None]) -> None:
        """Record a chunk that this upload has sent already, after its first occurrence.

        It stays in the window until then, or a file of zeros would be read far ahead of what is recorded.
        """
        await earlier
        await self._stored.put(_Stored(block.extent, ()))
        self._finish(block)

    def _finish(self, block: _Block) -> None:
        self._release(block.buffer)
        self._session.tell(block.extent.length)

    async def _record(self) -> None:
        """Report what is stored batch by batch; the last batch is left for the commit.

        A writer that pauses does not keep receipts back for long: the keys they are signed under
        may be replaced meanwhile (docs/trust.md), and a stream cannot be sent again.
        """
        while True:
            try:
                async with asyncio.timeout(RECORD_AFTER_S if self._unrecorded else None):
                    stored = await self._stored.get()
            except TimeoutError:
                await self._record_now()
                continue
            if stored is None:
                return
            if len(self._unrecorded) >= RECORD_BATCH:
                await self._record_now()
            self._unrecorded.append(stored)

    async def _record_now(self) -> None:
        await self._session.record(*self._take_unrecorded())

    def _take_unrecorded(self) -> tuple[list[Extent], list[SignedReceipt]]:
        batch, self._unrecorded = self._unrecorded, []
        return [one.extent for one in batch], [one for stored in batch for one in stored.receipts]

    async def _commit(self) -> Entry:
        extents, receipts = self._take_unrecorded()
        return await self._session.commit(extents, receipts, self._size_bytes, self._holes)


def _is_same(recorded: Extent, extent: Extent) -> bool:
    return (recorded.offset, recorded.length, recorded.chunk) == (
        extent.offset,
        extent.length,
        extent.chunk,
    )
