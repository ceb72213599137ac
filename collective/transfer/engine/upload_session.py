"""An upload at its member, from its opening to its commit or its end: what writing and copying share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from collective.core.errors import CollectiveError, UnreachableError
from collective.core.ids import ChunkId, UploadId
from collective.core.tasks import TaskScope
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.progress import Progress
from collective.model.routes import RouteMode, SignedReceipt
from collective.model.transfers import ChunkPlan, OpenedUpload
from collective.transfer.engine.allocation import allocate, check_plans
from collective.transfer.engine.control import UploadControl
from collective.transfer.engine.engine import Engine

RECORD_BATCH: Final = 6
"""Extents reported in one call, at most limits.BATCH_MAX_CHUNKS: what is not reported is sent again
by an upload that is resumed."""
KNOWN_MAX: Final = 16384
"""Chunk ids remembered to send repetitions once."""
ABORT_TIMEOUT_S: Final = 2.0


OpenUpload = Callable[[Sequence[Extent], Sequence[Hole], RouteMode], Awaitable[OpenedUpload]]


@dataclass(frozen=True, slots=True)
class Opening:
    """How an upload begins, and what its caller wants to hear of it."""

    begin: OpenUpload
    """Begins an upload with its first pieces; only this knows the name."""
    resume: UploadId | None = None
    """An upload of the caller to go on with."""
    is_resumable: bool = False
    """An upload that fails stays: the caller goes on with it, or ends it by :func:`end_upload`."""
    on_opened: Callable[[UploadId], Awaitable[None]] | None = None
    """Awaited with the id of an upload that was begun."""
    on_resumed: Callable[[], None] | None = None
    """Called once the member of an upload that is resumed has answered for it: the caller may go on with it."""
    before_commit: Callable[[], None] | None = None
    """Called when everything is stored; raises to refuse the commit."""
    progress: Progress | None = None


class UploadSession:
    """One upload."""

    def __init__(
        self, engine: Engine, control: UploadControl, call: Call, opening: Opening
    ) -> None:
        """Begin, or go on, as ``opening`` says, at the member of ``control``; ``call`` is judged there."""
        self._engine = engine
        self._control = control
        self._call = call
        self._opening = opening
        self._id = opening.resume

    @property
    def is_open(self) -> bool:
        """Whether there is an upload yet."""
        return self._id is not None

    @property
    def id(self) -> UploadId:
        """The upload, once it is open."""
        assert self._id is not None, (
            "an upload is opened by its first plan, whatever the source has"
        )
        return self._id

    async def recorded(self) -> AsyncGenerator[Extent]:
        """Yield what an upload that is resumed has recorded, in order of offset; nothing of a new one."""
        upload = self._opening.resume
        offset, is_more = 0, upload is not None
        while is_more and upload is not None:
            page = await self._control.recorded(self._call, upload, from_offset=offset)
            if offset == 0 and self._opening.on_resumed is not None:
                self._opening.on_resumed()
            for extent in page.extents:
                yield extent
                offset = extent.offset + extent.length
            is_more = page.is_more and bool(page.extents)

    async def plan(self, extents: Sequence[Extent], holes: Sequence[Hole]) -> Sequence[ChunkPlan]:
        """Tell of ``holes``, and return where each of ``extents`` goes; the first call opens the upload."""
        engine = self._engine
        if self._id is not None:
            return await allocate(engine, self._control, self._call, self._id, extents, holes)
        opened = await self._opening.begin(extents, holes, engine.choice.mode)
        self._id = opened.id
        if self._opening.on_opened is not None:
            await self._opening.on_opened(opened.id)
        return check_plans(extents, opened.plans)

    async def record(self, extents: Sequence[Extent], receipts: Sequence[SignedReceipt]) -> None:
        """Report extents that are stored."""
        await self._control.record_extents(self._call, self.id, extents, receipts)

    async def commit(
        self,
        extents: Sequence[Extent],
        receipts: Sequence[SignedReceipt],
        size_bytes: int,
        holes: Sequence[Hole] = (),
    ) -> Entry:
        """Report the last of it, and make the file current."""
        return await self._control.commit_upload(
            self._call, self.id, extents, receipts, size_bytes, holes
        )

    async def abort(self) -> None:
        """Have the upload forgotten unless it is resumable, as :func:`end_upload`."""
        if self._id is not None and not self._opening.is_resumable:
            await end_upload(self._control, self._call, self._id)

    def tell(self, size_bytes: int) -> None:
        """Tell the caller of plain bytes that are safe."""
        if self._opening.progress is not None:
            self._opening.progress(size_bytes)


async def end_upload(control: UploadControl, call: Call, upload: UploadId) -> None:
    """Do as :func:`say_end` if that can be said; an upload expires anyway."""
    with suppress(CollectiveError):
        await say_end(control, call, upload)


async def say_end(control: UploadControl, call: Call, upload: UploadId) -> None:
    """Have an upload forgotten, and free what it has reserved.

    Takes ABORT_TIMEOUT_S at most, and goes on to its end also where the wait for it is cancelled.  Raises
    what the member answers; UnreachableError where it does not in time.
    """

    async def end() -> None:
        try:
            async with asyncio.timeout(ABORT_TIMEOUT_S):
                await control.abort_upload(call, upload)
        except TimeoutError as error:
            raise UnreachableError(f"The end of the upload {upload} was not confirmed.") from error

    await TaskScope().see_through(end())


class ChunksUnderWay:
    """The chunks of one upload, so that one that occurs again is sent once; the last KNOWN_MAX of them."""

    def __init__(self) -> None:
        """Know none."""
        self._known: dict[ChunkId, asyncio.Future[None]] = {}

    def earlier(self, chunk: ChunkId) -> asyncio.Future[None] | None:
        """Return what is done when the chunk is stored, where it was begun before."""
        return self._known.get(chunk)

    def begin(self, chunk: ChunkId) -> None:
        """Note a chunk that is sent now."""
        if len(self._known) >= KNOWN_MAX:
            oldest = next(iter(self._known))
            if self._known[oldest].done():
                del self._known[oldest]
        self._known[chunk] = asyncio.get_running_loop().create_future()

    def done(self, chunk: ChunkId) -> None:
        """Note that it is stored."""
        self._known[chunk].set_result(None)
