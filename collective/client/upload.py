"""Writing a file: read, hash, allocate, send and record at the same time, in bounded memory.

A file of one batch costs two control calls: the open carries the first batch, the commit the last
extents and receipts.  A longer one is a pipeline: a reader fills pooled buffers and hashes them, an
allocator asks for places batch by batch while earlier chunks are under way, and a recorder reports
finished chunks, so that the commit only flips the version.  A chunk that occurs again in the same
file is sent once, and a hole not at all: it is told of with the chunks behind it.  Nothing is visible before the commit; an upload that fails is aborted, unless it
can be resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.envelope import encode_header, stored_length
from collective.chunking.split import room_at
from collective.client.allocation import allocate, check_plans, hole_messages, intent_message
from collective.client.messages import attributes_message, entry_from
from collective.client.model import NewChunk, Progress
from collective.client.sending import ChunkSending
from collective.client.session import Buffer, Session
from collective.client.source import BlockSource
from collective.core import limits
from collective.core.errors import CollectiveError, first_error
from collective.core.paths import FilePath
from collective.model.changes import Attributes, Precondition
from collective.model.entries import Entry
from collective.model.extents import Hole
from collective.rpc.gen.collective.v1.transfer import Extent, SignedReceipt
from collective.rpc.gen.collective.v1.uploads import (
    AbortUploadRequest,
    ChunkPlan,
    CommitUploadRequest,
    GetUploadRequest,
    OpenUploadRequest,
    RecordExtentsRequest,
)
from collective.rpc.headers import operation

RECORD_BATCH: Final = 6
"""Extents reported in one call, at most limits.BATCH_MAX_CHUNKS: what is not reported is sent again
by an upload that is resumed."""
RECORD_AFTER_S: Final = 2.0
"""A shorter batch is reported when nothing was added to it for so long."""
KNOWN_MAX: Final = 16384
"""Chunk ids remembered to send repetitions once."""
ABORT_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """What to write, and on which conditions."""

    path: FilePath
    attributes: Attributes | None = None
    condition: Precondition = field(default_factory=Precondition)
    progress: Progress | None = None
    resume_id: str = ""
    """An upload of ours to go on with."""
    on_opened: Callable[[str], Awaitable[None]] | None = None
    """Awaited with the upload's id; says that the caller will resume it, so it is not aborted."""
    before_commit: Callable[[], None] | None = None
    """Called when everything is stored; raises to refuse the commit."""


@dataclass(slots=True)
class _Block:
    """A chunk in memory."""

    chunk: NewChunk
    buffer: Buffer
    header: bytes
    is_recorded: bool = False

    def parts(self) -> list[memoryview | bytes]:
        return [self.header, self.buffer.view[: self.chunk.length]]


@dataclass(slots=True)
class _Stored:
    """A chunk that is safe."""

    extent: Extent
    receipts: list[SignedReceipt]


class Upload:
    """One file on its way in; use :meth:`run` once."""

    def __init__(self, session: Session, request: UploadRequest, source: BlockSource) -> None:
        """Write all of ``source`` as ``request`` says."""
        self._session = session
        self._request = request
        self._source = source
        self._upload_id = request.resume_id
        window = session.options.window_chunks
        self._blocks: asyncio.Queue[_Block | Hole | None] = asyncio.Queue(window)
        self._stored: asyncio.Queue[_Stored | None] = asyncio.Queue(window)
        self._known: dict[bytes, asyncio.Future[None]] = {}
        self._unrecorded: list[_Stored] = []
        self._holes: list[Hole] = []
        """That the coordinator was not told of yet."""
        self._size_bytes = 0
        self._live: set[Buffer] = set()

    async def run(self) -> Entry:
        """Store everything, commit, and return the new entry.

        Raises whatever typed error stopped it; the upload is then aborted unless it is resumable.
        """
        with operation(self._session.randomness):
            return await self._run()

    async def _run(self) -> Entry:
        try:
            await self._transfer()
            if self._request.before_commit is not None:
                self._request.before_commit()
            return await self._commit()
        except BaseExceptionGroup as group:
            self._let_go()
            await self._abort()
            raise first_error(group) from group
        except (CollectiveError, asyncio.CancelledError):
            self._let_go()
            await self._abort()
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
        """Pass holes, fill buffers and hash them, one slot each, until the source ends."""
        recorded = self._recorded() if self._upload_id else None
        known = await anext(recorded, None) if recorded is not None else None
        offset = 0
        may_go_on = True
        while True:
            skipped = await self._source.skip()
            if skipped:
                await self._blocks.put(Hole(offset, skipped))
                offset += skipped
            elif not may_go_on:
                break
            room = room_at(offset, limits.CHUNK_SIZE_BYTES)
            await self._session.slots.acquire()
            buffer = await self._acquire_buffer()
            length = await self._fill(buffer, room)
            if length == 0:
                self._release(buffer)
                break
            pack = partial(_pack, buffer, length, offset)
            is_small = length <= limits.HASH_INLINE_MAX_BYTES
            block = pack() if is_small else await self._session.in_thread(pack)
            while recorded is not None and known is not None and known.offset < offset:
                known = await anext(recorded, None)
            block.is_recorded = known is not None and _is_same(known, block.chunk)
            await self._blocks.put(block)
            offset += length
            may_go_on = length == room
        self._size_bytes = offset
        await self._blocks.put(None)

    async def _acquire_buffer(self) -> Buffer:
        try:
            buffer = await self._session.buffers.acquire(limits.CHUNK_SIZE_BYTES)
        except BaseException:
            self._session.slots.release()
            raise
        self._live.add(buffer)
        return buffer

    async def _fill(self, buffer: Buffer, room: int) -> int:
        try:
            return await self._source.fill(buffer.view[:room])
        except asyncio.CancelledError:
            self._live.discard(buffer)
            self._session.slots.release()
            self._source.when_idle(buffer.release)
            raise

    def _release(self, buffer: Buffer) -> None:
        self._live.discard(buffer)
        buffer.release()
        self._session.slots.release()

    def _let_go(self) -> None:
        """Free what a failed transfer has left in memory."""
        for buffer in tuple(self._live):
            self._release(buffer)

    async def _recorded(self) -> AsyncIterator[Extent]:
        """Yield what an upload that is resumed has recorded, in order of offset."""
        offset, more = 0, True
        while more:
            page = await self._session.control.persist(
                self._session.uploads.get_upload,
                GetUploadRequest(upload_id=self._upload_id, from_offset=offset),
            )
            for extent in page.extents:
                yield extent
                offset = extent.offset + extent.length
            more = page.more and bool(page.extents)

    # --- allocating ----------------------------------------------------------------------------

    async def _allocate(self, senders: asyncio.TaskGroup) -> None:
        """Ask for places, batch by batch, and start a sender for each chunk."""
        ended = False
        most = self._session.options.batch_chunks
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
                    self._tell(block.length)
                elif block.is_recorded:
                    self._finish(block)
                elif (earlier := self._known.get(block.chunk.chunk)) is not None:
                    senders.create_task(self._repeat(block, earlier))
                else:
                    self._remember(block.chunk.chunk)
                    batch.append(block)
            if not batch and self._upload_id and not self._is_full_of_holes:
                continue
            plans = await self._plan([block.chunk for block in batch])
            for block, plan in zip(batch, plans, strict=True):
                senders.create_task(self._send(block, plan))

    @property
    def _is_full_of_holes(self) -> bool:
        """Whether one call can tell of no more holes."""
        return len(self._holes) >= limits.BATCH_MAX_CHUNKS

    def _remember(self, chunk: bytes) -> None:
        if len(self._known) >= KNOWN_MAX:
            oldest = next(iter(self._known))
            if self._known[oldest].done():
                del self._known[oldest]
        self._known[chunk] = asyncio.get_running_loop().create_future()

    async def _plan(self, chunks: list[NewChunk]) -> list[ChunkPlan]:
        holes, self._holes = self._holes, []
        if self._upload_id:
            return await allocate(self._session, self._upload_id, chunks, holes=holes)
        request = self._request
        opened = await self._session.control.call(
            self._session.uploads.open_upload,
            OpenUploadRequest(
                path=str(request.path),
                attributes=attributes_message(request.attributes),
                if_version=request.condition.if_version,
                if_absent=request.condition.if_absent,
                chunks=[intent_message(chunk) for chunk in chunks],
                mode=self._session.choice.mode,
                holes=hole_messages(holes),
            ),
        )
        self._upload_id = opened.upload_id
        if request.on_opened is not None:
            await request.on_opened(opened.upload_id)
        return check_plans(chunks, opened.plans)

    # --- sending and recording -----------------------------------------------------------------

    async def _send(self, block: _Block, plan: ChunkPlan) -> None:
        chunk = block.chunk
        receipts: list[SignedReceipt] = []
        if not plan.stored:
            sending = ChunkSending(self._session, self._upload_id, chunk, block.parts())
            receipts = await sending.run(plan)
        await self._stored.put(_Stored(_extent(chunk), receipts))
        self._finish(block)
        self._known[chunk.chunk].set_result(None)

    async def _repeat(self, block: _Block, earlier: asyncio.Future[None]) -> None:
        """Record a chunk that this upload has sent already, after its first occurrence.

        It keeps its slot until then, or a file of zeros would be read far ahead of what is recorded.
        """
        await earlier
        await self._stored.put(_Stored(_extent(block.chunk), []))
        self._finish(block)

    def _finish(self, block: _Block) -> None:
        self._release(block.buffer)
        self._tell(block.chunk.length)

    def _tell(self, size_bytes: int) -> None:
        if self._request.progress is not None:
            self._request.progress(size_bytes)

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
        batch, self._unrecorded = self._unrecorded, []
        await self._session.control.persist(
            self._session.uploads.record_extents,
            RecordExtentsRequest(
                upload_id=self._upload_id,
                extents=[one.extent for one in batch],
                receipts=[receipt for one in batch for receipt in one.receipts],
            ),
        )

    async def _commit(self) -> Entry:
        request = CommitUploadRequest(
            upload_id=self._upload_id,
            extents=[one.extent for one in self._unrecorded],
            receipts=[receipt for one in self._unrecorded for receipt in one.receipts],
            size_bytes=self._size_bytes,
            holes=hole_messages(self._holes),
        )
        uploads = self._session.uploads
        return entry_from(await self._session.control.persist(uploads.commit_upload, request))

    async def _abort(self) -> None:
        """Tell the coordinator to forget the upload, if it can be told; it expires anyway."""
        if not self._upload_id or self._request.on_opened is not None:
            return
        with suppress(CollectiveError, TimeoutError):
            async with asyncio.timeout(ABORT_TIMEOUT_S):
                await self._session.control.call(
                    self._session.uploads.abort_upload,
                    AbortUploadRequest(upload_id=self._upload_id),
                )


def _pack(buffer: Buffer, length: int, offset: int) -> _Block:
    """Wrap ``length`` bytes of ``buffer`` in an envelope and name it."""
    header = encode_header(length)
    chunk = chunk_id([header, buffer.view[:length]])
    return _Block(NewChunk(chunk, offset, length, stored_length(length)), buffer, header)


def _extent(chunk: NewChunk) -> Extent:
    return Extent(
        offset=chunk.offset,
        length=chunk.length,
        chunk_id=chunk.chunk,
        stored_length=chunk.stored_length,
    )


def _is_same(extent: Extent, chunk: NewChunk) -> bool:
    return (extent.offset, extent.length, extent.chunk_id) == (
        chunk.offset,
        chunk.length,
        chunk.chunk,
    )
