"""Whole files through the coordinator: it is then the holder of the tickets.

Memory is bounded by the window of chunks in flight for each stream and by the buffer pool for all.
What arrives is split, enveloped and stored exactly as our own client does it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from collective.catalog.interface import Reads
from collective.catalog.interface.values import Allocation, LocatedExtent, ReadView
from collective.chunking.envelope import open_plain
from collective.core import limits
from collective.core.errors import (
    CollectiveError,
    CorruptionError,
    NotEnoughCopiesError,
    NotFoundError,
    first_error,
)
from collective.core.ids import NodeId, SpiffeId, UploadKey
from collective.core.paths import FilePath
from collective.member.files.complaints import TakesComplaints
from collective.member.files.routes import RouteMaker
from collective.member.files.splitter import IncomingChunk, Splitter
from collective.member.files.uploads import UploadDesk
from collective.model.calls import Call
from collective.model.changes import Attributes, Precondition
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.rpc.gen.collective.v1 import transfer as pb
from collective.transfer.buffers import BufferPool, PooledBuffer
from collective.transfer.stream.chunk_client import ChunkClient
from collective.transfer.tickets.reading import read_ticket

WINDOW_CHUNKS: Final = 4
PIECE_BYTES: Final = 256 * limits.KIB
"""Bytes of one message to a reader."""
_ATTEMPTS: Final = 4
_RESULT_S: Final = 5.0
"""How long a hop may give no sign before the stream goes round it."""
_GET_S: Final = 5.0
_READ_BATCH: Final = 16
CHECK_S: Final = 0.5
"""How often a running stream asks whether its caller still has the right to it."""


@dataclass(slots=True)
class _Sent:
    """What became of one sending along the routes of a plan."""

    receipts: list[pb.SignedReceipt] = field(default_factory=list)
    silent: set[NodeId] = field(default_factory=set)


class StreamDesk:
    """Stores and fetches chunks on behalf of clients that speak gRPC only."""

    def __init__(
        self,
        *,
        own: SpiffeId,
        uploads: UploadDesk,
        reads: Reads,
        routes: RouteMaker,
        chunks: ChunkClient,
        pool: BufferPool,
        complaints: TakesComplaints,
    ) -> None:
        """Hold tickets as ``own``."""
        self._own = own
        self._uploads = uploads
        self._reads = reads
        self._routes = routes
        self._chunks = chunks
        self._pool = pool
        self._complaints = complaints

    async def write(
        self,
        caller: Call,
        path: FilePath,
        attributes: Attributes,
        condition: Precondition,
        data: AsyncIterator[bytes],
    ) -> Entry:
        """Store ``data`` as the new content of ``path``; nothing is visible if it fails."""
        splitter = Splitter(data, self._pool)
        first = await splitter.next_chunk(0)
        intents = [first.intent] if first else []
        try:
            upload = await self._uploads.open(caller, path, attributes, condition, intents)
        except BaseException:
            if first:
                first.release()
            raise
        window = asyncio.Semaphore(WINDOW_CHUNKS)
        size_bytes = 0
        chunk, allocation = first, next(iter(upload.allocations), None)
        try:
            async with self._while_allowed(caller, upload.id), asyncio.TaskGroup() as group:
                while chunk is not None:
                    await window.acquire()
                    size_bytes += chunk.intent.length
                    task = group.create_task(
                        self._store(caller, upload.id, chunk, allocation, window)
                    )
                    # Not by the task itself: one cancelled before its first step runs no clean-up.
                    task.add_done_callback(chunk.release)
                    chunk = None
                    chunk, allocation = await splitter.next_chunk(size_bytes), None
            return await self._uploads.commit(caller, upload.id, [], [], size_bytes)
        except BaseException as error:
            if chunk is not None:
                chunk.release()
            with contextlib.suppress(CollectiveError):
                await self._uploads.abort(caller, upload.id)
            if isinstance(error, BaseExceptionGroup):
                raise first_error(error) from error
            raise

    @contextlib.asynccontextmanager
    async def _while_allowed(self, caller: Call, upload: UploadKey) -> AsyncIterator[None]:
        """End what runs inside soon after the caller lost the right to it, or the upload ended."""

        async def watch() -> None:
            while True:
                await asyncio.sleep(CHECK_S)
                await self._uploads.check(caller, upload)

        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()

    async def _store(
        self,
        caller: Call,
        upload: UploadKey,
        chunk: IncomingChunk,
        allocation: Allocation | None,
        window: asyncio.Semaphore,
    ) -> None:
        """Store one chunk in a quorum of copies at least, going round silent nodes.

        The chunk's buffer stays the caller's.
        """
        intent = chunk.intent
        quorum = 1
        avoid: set[NodeId] = set()
        held = 0
        try:
            for _ in range(_ATTEMPTS):
                if allocation is None:
                    (allocation,) = await self._uploads.allocate(
                        caller, upload, [intent], frozenset(avoid)
                    )
                (plan,) = self._uploads.plans(
                    [allocation], upload=upload, holder=self._own, relay=False
                )
                quorum = allocation.quorum
                allocation = None
                held = max(held, plan.copies_held)
                if plan.stored:
                    break
                sent = await self._send(plan.routes, chunk.buffer.view)
                held += len(sent.receipts)
                avoid |= sent.silent
                await self._uploads.record(caller, upload, [], sent.receipts)
                if held >= quorum:
                    break
            else:
                raise NotEnoughCopiesError(
                    f"Only {held} of the {quorum} copies that a write needs could be "
                    "stored; see collective node list, and try again."
                )
            extent = Extent(
                offset=intent.offset,
                length=intent.length,
                chunk=intent.chunk,
                stored_length=intent.stored_length,
            )
            await self._uploads.record(caller, upload, [extent], [])
        finally:
            window.release()

    async def _send(self, routes: Sequence[pb.Route], stored: memoryview) -> _Sent:
        """Send ``stored`` along each route in turn; return receipts and who was silent."""
        sent = _Sent()
        for route in routes:
            hops = [SpiffeId.parse(read_ticket(hop).node).node_id for hop in route.hops]
            answered: set[str] = set()
            transfer = self._chunks.put(route, [stored])
            try:
                while True:
                    async with asyncio.timeout(_RESULT_S):
                        result = await anext(transfer)
                    if result.receipt is not None:
                        sent.receipts.append(result.receipt)
                        answered.add(SpiffeId.parse(result.node).name)
            except StopAsyncIteration:
                pass
            except (CollectiveError, TimeoutError):
                pass  # whoever is missing is found below
            finally:
                await transfer.aclose()
            missing = [hop for hop in hops if hop not in answered]
            # Those after the first that failed may be well: they were never reached.
            sent.silent.update(missing[:1])
        return sent

    async def open(self, caller: Call, path: FilePath, *, offset: int, length: int) -> ReadView:
        """Lease the current version for :meth:`pieces`."""
        return await self._reads.open_read(
            caller, path, offset=offset, length=length, if_version=0, batch=_READ_BATCH
        )

    async def pieces(
        self, caller: Call, view: ReadView, *, offset: int, length: int
    ) -> AsyncIterator[bytes]:
        """Yield the bytes of the range in order, each piece at most PIECE_BYTES.

        Left early, the lease runs out by itself.  No piece goes out longer than CHECK_S after the
        caller lost the right to it, however slowly he takes them.
        """
        now_s = asyncio.get_running_loop().time
        checked_s = now_s()
        size = view.entry.size_bytes
        end = min(offset + length, size) if length else size
        position = offset
        while position < end:
            if not view.extents:
                raise CorruptionError(f"{view.entry.path} has a gap at byte {position}.")
            for located in view.extents:
                plain = self._plain(caller, view, located, position, end)
                async with contextlib.aclosing(plain) as pieces:
                    async for piece in pieces:
                        if now_s() - checked_s >= CHECK_S:
                            checked_s = now_s()
                            await self._reads.plan_read(
                                caller, view.lease, offset=position, length=1, batch=1
                            )
                        position += len(piece)
                        yield piece
            if position < end:
                view = await self._reads.plan_read(
                    caller, view.lease, offset=position, length=end - position, batch=_READ_BATCH
                )
        await self._reads.close_read(caller, view.lease)

    async def _plain(
        self,
        caller: Call,
        view: ReadView,
        located: LocatedExtent | Hole,
        position: int,
        end: int,
    ) -> AsyncGenerator[bytes]:
        """Yield what one piece of the file has from ``position`` up to ``end``."""
        extent = located if isinstance(located, Hole) else located.extent
        until = min(end, extent.offset + extent.length)
        if until <= position:
            return
        if isinstance(located, Hole):
            for start in range(position, until, PIECE_BYTES):
                yield bytes(min(PIECE_BYTES, until - start))
            return
        with await self._fetch(caller, view, located) as buffer:
            plain = open_plain(buffer.view)
            while position < until:
                start = position - extent.offset
                piece = plain[start : min(start + PIECE_BYTES, until - extent.offset)]
                if not piece:
                    raise CorruptionError(f"{view.entry.path} ends early at {position}.")
                position += len(piece)
                yield bytes(piece)

    async def _fetch(self, caller: Call, view: ReadView, located: LocatedExtent) -> PooledBuffer:
        """Fetch and verify one chunk from whichever copy is good."""
        for _ in range(2):
            extent = located.extent
            for route in self._routes.get(
                extent.chunk,
                extent.stored_length,
                located.copies,
                holder=self._own,
                transfer_id=view.lease,
                relay=False,
            ):
                try:
                    async with asyncio.timeout(_GET_S):
                        return await self._chunks.get(route)
                except (CorruptionError, NotFoundError):
                    node = SpiffeId.parse(route.first_node).node_id
                    self._complaints.complain(node, extent.chunk, self._own)
                except (CollectiveError, TimeoutError):
                    continue
            again = await self._reads.plan_read(
                caller, view.lease, offset=extent.offset, length=extent.length, batch=1
            )
            first = next(iter(again.extents), None)
            located = first if isinstance(first, LocatedExtent) else located
        raise NotEnoughCopiesError(
            f"No healthy copy of a part of {view.entry.path} can be reached; start the nodes that "
            "are down (collective node list shows them) and try again."
        )
