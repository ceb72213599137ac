"""Reading a file: several chunks on their way at once, delivered in order, in bounded memory.

Only the chunks that the range touches are fetched; holes read as zeros and are fetched from nowhere.
The version read is leased when the reader is
entered, so a file that is replaced meanwhile is read to its end as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from collective.client.fetching import ChunkFetch, Fetched
from collective.client.messages import entry_from
from collective.client.model import Progress
from collective.client.session import Session
from collective.core import limits
from collective.core.errors import CollectiveError, RejectedError, UsageError, first_error
from collective.core.paths import FilePath
from collective.model.entries import Entry
from collective.model.extents import Hole
from collective.rpc.gen.collective.v1.reads import ExtentPlan, OpenReadRequest, PlanReadRequest
from collective.rpc.gen.collective.v1.transfer import Extent, RouteMode
from collective.rpc.gen.collective.v1.transfer import Hole as HoleMessage
from collective.rpc.headers import operation

RENEW_AFTER_S: Final = limits.READ_LEASE_S / 3
"""A reader that is not asked for bytes renews its lease so often."""
HOLES_AHEAD: Final = 64
"""Holes that are known and not delivered yet, at most; they need no memory worth a slot."""
ZEROS: Final = bytes(256 * limits.KIB)
"""What a hole is delivered as, block by block."""


@dataclass(slots=True)
class _Piece:
    """An extent that is fetched or on its way; holds one slot of the session."""

    offset: int
    result: asyncio.Future[Fetched]


class FileReader:
    """An open file: an async context manager, and inside it an async iterator of blocks.

    Each block is a memoryview of verified bytes that is valid until the next one is asked for.
    """

    def __init__(
        self,
        session: Session,
        path: FilePath,
        *,
        offset: int = 0,
        length: int | None = None,
        if_version: int = 0,
        progress: Progress | None = None,
    ) -> None:
        """Read ``length`` bytes (None: to the end) from ``offset``; both in plain bytes."""
        if offset < 0 or (length is not None and length < 0):
            raise UsageError("Offset and length cannot be negative.")
        self._session = session
        self._path = path
        self._offset = min(offset, limits.FILE_MAX_BYTES)
        self._length = None if length is None else min(length, limits.FILE_MAX_BYTES)
        self._if_version = if_version
        self._progress = progress
        self._group = asyncio.TaskGroup()
        self._pieces: asyncio.Queue[_Piece | Hole | None] = asyncio.Queue()
        self._holes = asyncio.Semaphore(HOLES_AHEAD)
        self._tasks: set[asyncio.Task[None]] = set()
        self._entry: Entry | None = None
        self._lease_id = ""
        self._end = 0
        self._in_hand: Fetched | None = None

    @property
    def entry(self) -> Entry:
        """The entry whose version is being read."""
        assert self._entry is not None, "enter the reader first"
        return self._entry

    async def __aenter__(self) -> Self:
        """Lease the version and begin to fetch."""
        with operation(self._session.randomness):  # tasks started inside keep the id
            return await self._open()

    async def _open(self) -> Self:
        control, mode = self._session.control, self._session.choice.mode
        opened = await control.persist(
            self._session.reads.open_read,
            OpenReadRequest(
                path=str(self._path),
                offset=self._offset,
                length=self._length or 0,
                mode=mode,
                if_version=self._if_version,
            ),
        )
        self._entry = entry_from(opened.entry)
        self._lease_id = opened.lease_id
        size = self._entry.size_bytes
        end = size if self._length is None else min(size, self._offset + self._length)
        self._end = max(end, self._offset)
        await self._group.__aenter__()
        feeder = self._group.create_task(self._feed(list(opened.plans), mode))
        self._tasks.add(feeder)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop fetching, free the buffers and give the lease back."""
        for task in self._tasks:
            task.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            raise first_error(group) from group
        finally:
            self._let_go()
            while not self._pieces.empty():
                piece = self._pieces.get_nowait()
                if isinstance(piece, _Piece):
                    self._drop(piece)
            self._session.leases.give_back(self._lease_id)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        """Yield the range block by block, in order; holes as zeros."""
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                if isinstance(piece, Hole):
                    for start in range(0, piece.length, len(ZEROS)):
                        yield memoryview(ZEROS)[: piece.length - start]
                else:
                    yield piece

    async def pieces(self) -> AsyncGenerator[memoryview | Hole]:
        """Yield the range in order: blocks as the iterator's, and holes as what they are."""
        position = self._offset
        while position < self._end:
            self._let_go()
            piece = await self._pieces.get()
            if piece is None:
                raise self._broken_plan()
            block: memoryview | Hole
            if isinstance(piece, Hole):
                self._holes.release()
                length = min(piece.offset + piece.length, self._end) - position
                block = Hole(position, length)
            else:
                block = await self._block(piece, position)
                length = len(block)
            position += length
            if self._progress is not None:
                self._progress(length)
            yield block
        self._let_go()

    async def _block(self, piece: _Piece, position: int) -> memoryview:
        """Return what a piece has from ``position`` on, when it has come."""
        try:
            fetched = await asyncio.shield(piece.result)
        except BaseException:
            self._drop(piece)
            raise
        self._in_hand = fetched
        return fetched.plain[position - piece.offset : self._end - piece.offset]

    # --- fetching ahead ------------------------------------------------------------------------

    async def _feed(self, plans: list[ExtentPlan], mode: RouteMode) -> None:
        """Start a fetch for each extent in turn, as slots come free; errors go to the reader."""
        position = self._offset
        try:
            while position < self._end:
                if not plans:
                    plans, mode = await self._plan(position, self._end - position)
                plan = plans.pop(0)
                if plan.hole is not None:
                    hole = self._checked_hole(plan.hole, position)
                    await self._take(self._holes, position)
                    self._pieces.put_nowait(hole)
                    position = hole.offset + hole.length
                    continue
                extent = self._checked(plan.extent, position)
                await self._take(self._session.slots, position)
                piece = _Piece(extent.offset, asyncio.get_running_loop().create_future())
                self._pieces.put_nowait(piece)
                fetch = ChunkFetch(self._session, self._lease_id, plan, mode)
                task = self._group.create_task(self._fetch(fetch, piece))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                position = extent.offset + extent.length
        except CollectiveError as error:
            await self._session.slots.acquire()
            failed = _Piece(position, asyncio.get_running_loop().create_future())
            failed.result.set_exception(error)
            self._pieces.put_nowait(failed)
        else:
            self._pieces.put_nowait(None)

    async def _take(self, slots: asyncio.Semaphore, position: int) -> None:
        """Wait for a slot, renewing the lease while nobody asks for bytes."""
        while True:
            try:
                async with asyncio.timeout(RENEW_AFTER_S):
                    await slots.acquire()
            except TimeoutError:
                await self._plan(position, 1)
            else:
                return

    async def _plan(self, offset: int, length: int) -> tuple[list[ExtentPlan], RouteMode]:
        control, mode = self._session.control, self._session.choice.mode
        answer = await control.persist(
            self._session.reads.plan_read,
            PlanReadRequest(lease_id=self._lease_id, offset=offset, length=length, mode=mode),
        )
        if not answer.plans:
            raise self._broken_plan()
        return list(answer.plans), mode

    def _checked(self, extent: Extent | None, position: int) -> Extent:
        """Return ``extent`` if it is the one at ``position``."""
        if extent is None or not 0 < extent.length <= limits.CHUNK_STORED_MAX_BYTES:
            raise self._broken_plan()
        begins_right = position in {extent.offset, self._offset}
        if not begins_right or not extent.offset <= position < extent.offset + extent.length:
            raise self._broken_plan()
        return extent

    def _checked_hole(self, hole: HoleMessage, position: int) -> Hole:
        """Return ``hole`` if it is the one at ``position``."""
        end = hole.offset + hole.length
        if not hole.offset <= position < end <= limits.FILE_MAX_BYTES:
            raise self._broken_plan()
        if position not in {hole.offset, self._offset}:
            raise self._broken_plan()
        return Hole(hole.offset, hole.length)

    async def _fetch(self, fetch: ChunkFetch, piece: _Piece) -> None:
        """Fetch one extent into its piece; a typed error waits there for the reader."""
        try:
            fetched = await fetch.run()
        except CollectiveError as error:
            if not piece.result.cancelled():
                piece.result.set_exception(error)
        else:
            if piece.result.cancelled():  # the reader gave up waiting for it
                fetched.release()
            else:
                piece.result.set_result(fetched)

    # --- letting go ----------------------------------------------------------------------------

    def _let_go(self) -> None:
        """Free the block that the reader had in hand."""
        if self._in_hand is not None:
            self._in_hand.release()
            self._in_hand = None
            self._session.slots.release()

    def _drop(self, piece: _Piece) -> None:
        """Free a piece that nobody will read."""
        result = piece.result
        if not result.done():
            result.cancel()
        elif not result.cancelled() and result.exception() is None:
            result.result().release()
        self._session.slots.release()

    def _broken_plan(self) -> RejectedError:
        return RejectedError("The coordinator's plan does not fit the file; update this client.")
