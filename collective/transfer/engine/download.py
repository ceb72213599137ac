"""Reading a file: several chunks on their way at once, delivered in order, in bounded memory.

Only the chunks that the range touches are fetched; holes read as zeros and are fetched from nowhere.
The version read is leased when the download is entered, so a file that is replaced meanwhile is read to
its end as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self

from collective.core import limits
from collective.core.errors import CollectiveError, RejectedError, UsageError, first_error
from collective.core.ids import LeaseId
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.progress import Progress
from collective.model.routes import RouteMode
from collective.model.transfers import ExtentPlan, OpenedRead
from collective.rpc.headers import operation
from collective.transfer.engine.control import ReadControl
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.read_failover import ChunkFetch, Fetched
from collective.transfer.engine.window import Window

RENEW_AFTER_S: Final = limits.READ_LEASE_S / 3
"""A reader that is not asked for bytes renews its lease so often."""
HOLES_AHEAD: Final = 64
"""Holes that are known and not delivered yet, at most; they need no memory worth a slot."""
HEAD_START_S: Final = 0.05
"""For the first chunk, before others share the way with it: what a reader waits for is its first byte.  On a
fast network it is here by then; on a slow one the others lose no more than this."""
ZEROS: Final = bytes(256 * limits.KIB)
"""What a hole is delivered as, block by block."""


OpenRead = Callable[[int, int, RouteMode], Awaitable[OpenedRead]]
"""Leases a version and plans a range: offset, length (0: to the end), mode; only this knows the name."""


@dataclass(slots=True)
class _Piece:
    """An extent that is fetched or on its way."""

    offset: int
    shares: int
    """What it has of the window."""
    result: asyncio.Future[Fetched]


class Download:
    """An open file: an async context manager, and inside it an async iterator of blocks.

    Each block is a memoryview of verified bytes that is valid until the next one is asked for.
    """

    def __init__(
        self,
        engine: Engine,
        control: ReadControl,
        call: Call,
        open_read: OpenRead,
        *,
        window: Window,
        give_back: Callable[[LeaseId], Awaitable[None]],
        offset: int = 0,
        length: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Read a range of a file.

        Args:
            engine: moves the bytes.
            control: of the member that has the file.
            call: who is judged, and who holds the tickets.
            open_read: how it begins.
            window: what is in memory, perhaps shared with other transfers.
            give_back: takes the lease in the end.
            offset: the first plain byte wanted.
            length: how many; None: to the end.
            progress: told of the bytes of each block delivered.
        """
        if offset < 0 or (length is not None and length < 0):
            raise UsageError("Offset and length cannot be negative.")
        self._engine = engine
        self._control = control
        self._call = call
        self._open_read = open_read
        self._window = window
        self._give_back = give_back
        self._offset = min(offset, limits.FILE_MAX_BYTES)
        self._length = None if length is None else min(length, limits.FILE_MAX_BYTES)
        self._progress = progress
        self._group = asyncio.TaskGroup()
        self._pieces: asyncio.Queue[_Piece | Hole | None] = asyncio.Queue()
        self._holes = asyncio.Semaphore(HOLES_AHEAD)
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened: OpenedRead | None = None
        self._end = 0
        self._in_hand: tuple[Fetched, int] | None = None
        """What the reader has, and its shares of the window."""

    @property
    def opened(self) -> OpenedRead:
        """The version that is read, and its lease."""
        assert self._opened is not None, "enter the download first"
        return self._opened

    @property
    def entry(self) -> Entry:
        """The entry whose version is being read."""
        return self.opened.entry

    async def __aenter__(self) -> Self:
        """Lease the version and begin to fetch."""
        with operation(self._engine.randomness):  # tasks started inside keep the id
            return await self._open()

    async def _open(self) -> Self:
        mode = self._engine.choice.mode
        opened = await self._open_read(self._offset, self._length or 0, mode)
        self._opened = opened
        size = opened.entry.size_bytes
        end = size if self._length is None else min(size, self._offset + self._length)
        self._end = max(end, self._offset)
        await self._group.__aenter__()
        feeder = self._group.create_task(self._feed(opened.plan.pieces, mode))
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
            await self._give_back(self.opened.lease)

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
        self._in_hand = fetched, piece.shares
        return fetched.plain[position - piece.offset : self._end - piece.offset]

    # --- fetching ahead ------------------------------------------------------------------------

    async def _feed(self, plan: Sequence[ExtentPlan | Hole], mode: RouteMode) -> None:
        """Start a fetch for each extent in turn, as there is room; errors go to the reader."""
        position = self._offset
        coming = iter(plan)
        try:
            while position < self._end:
                planned = next(coming, None)
                if planned is None:
                    plan, mode = await self._plan(position, self._end - position)
                    coming = iter(plan)
                    continue
                if isinstance(planned, Hole):
                    self._check(planned, position)
                    await self._take(self._holes.acquire, position)
                    self._pieces.put_nowait(planned)
                    position = planned.offset + planned.length
                    continue
                extent = planned.extent
                self._check(extent, position)
                acquire = partial(self._window.acquire, extent.stored_length)
                shares = await self._take(acquire, position)
                piece = _Piece(extent.offset, shares, asyncio.get_running_loop().create_future())
                self._pieces.put_nowait(piece)
                fetch = ChunkFetch(
                    self._engine, self._control, self._call, self.opened.lease, planned, mode
                )
                task = self._group.create_task(self._fetch(fetch, piece))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                if position == self._offset:
                    await asyncio.wait([piece.result], timeout=HEAD_START_S)
                position = extent.offset + extent.length
        except CollectiveError as error:
            failed = _Piece(position, 0, asyncio.get_running_loop().create_future())
            failed.result.set_exception(error)
            self._pieces.put_nowait(failed)
        else:
            self._pieces.put_nowait(None)

    async def _take(self, acquire: Callable[[], Awaitable[int]], position: int) -> int:
        """Wait for what is acquired, renewing the lease while nobody asks for bytes."""
        while True:
            try:
                async with asyncio.timeout(RENEW_AFTER_S):
                    return await acquire()
            except TimeoutError:
                await self._plan(position, 1)

    async def _plan(
        self, offset: int, length: int
    ) -> tuple[Sequence[ExtentPlan | Hole], RouteMode]:
        mode = self._engine.choice.mode
        plan = await self._control.plan_read(
            self._call, self.opened.lease, offset=offset, length=length, mode=mode
        )
        if not plan.pieces:
            raise self._broken_plan()
        return plan.pieces, mode

    def _check(self, piece: Extent | Hole, position: int) -> None:
        """Raise RejectedError unless ``piece`` is the one at ``position``."""
        begins_right = position in {piece.offset, self._offset}
        if not begins_right or not piece.offset <= position < piece.offset + piece.length:
            raise self._broken_plan()

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
            fetched, shares = self._in_hand
            self._in_hand = None
            fetched.release()
            self._window.release(shares)

    def _drop(self, piece: _Piece) -> None:
        """Free a piece that nobody will read."""
        result = piece.result
        if not result.done():
            result.cancel()
        elif not result.cancelled() and result.exception() is None:
            result.result().release()
        self._window.release(piece.shares)

    def _broken_plan(self) -> RejectedError:
        return RejectedError("The coordinator's plan does not fit the file; update this client.")
