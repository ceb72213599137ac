"""A file on its way from another member into a real catalogue, chunk by chunk, and everything that stops it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import pytest

from collective.chunking import envelope
from collective.chunking.chunk_ids import chunk_id
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    NotEnoughCopiesError,
    NotFoundError,
    RejectedError,
    UnreachableError,
)
from collective.core.ids import ChunkId, Domain, LeaseId, LeaseKey, NodeId, SpiffeId, UploadId
from collective.core.paths import FilePath
from collective.core.world.threads import InlinePool
from collective.model.entries import Entry, EntryKind
from collective.model.extents import Extent, Hole
from collective.model.routes import Route, RouteMode, SignedTicket
from collective.model.transfers import ExtentPlan, OpenedRead, OpenedUpload, ReadPlan
from collective.model.writing import Attributes, Precondition
from collective.transfer.buffers import PooledBuffer
from collective.transfer.engine.control import ReadControl
from collective.transfer.engine.copying import CopySource, FileCopy
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.options import TransferOptions
from collective.transfer.engine.upload_session import RECORD_BATCH, Opening
from tests.unit.member.farm import OPERATOR, Put, Scene, scene
from tests.virtual_time import LoopClock
from tests.worlds import world_of

TARGET: Final = FilePath.parse("/d/copy")
THEIRS: Final = Domain("garage.bob")
THEIR_NODE: Final = SpiffeId.node(THEIRS, NodeId("n1"))
LEASE: Final = LeaseId(LeaseKey("a" * 32), THEIRS)
OPTIONS: Final = TransferOptions(stall_s=0.5, give_up_s=0.0, patience_s=0.0, may_relay=False)
WINDOW: Final = 3
DATA: Final = 100
"""Bytes of each chunk."""


def stored_of(data: bytes) -> bytes:
    return envelope.encode_header(len(data)) + data


def plain(number: int) -> bytes:
    return random.Random(number).randbytes(DATA)


@dataclass
class Source:
    """A file of another member: numbers are chunks, None is a hole of as many bytes."""

    pieces: Sequence[int | None]
    page: int = 5
    lost: set[int] = field(default_factory=set)
    """Chunks that cannot be read."""
    said_bytes: int | None = None
    leased: int = 0
    given_back: int = 0

    @property
    def content(self) -> bytes:
        return b"".join(bytes(DATA) if one is None else plain(one) for one in self.pieces)

    def _piece(self, index: int) -> ExtentPlan | Hole:
        one = self.pieces[index]
        if one is None:
            return Hole(index * DATA, DATA)
        stored = stored_of(plain(one))
        chunk = chunk_id([stored])
        route = Route(
            chunk, len(stored), (SignedTicket(b"", 1, b""),), THEIR_NODE, (), (THEIR_NODE,)
        )
        return ExtentPlan(Extent(index * DATA, DATA, chunk, len(stored)), [route])

    def _plan(self, first: int) -> ReadPlan:
        found = [
            self._piece(index) for index in range(first, min(first + self.page, len(self.pieces)))
        ]
        return ReadPlan(found, first + self.page < len(self.pieces))

    async def lease(self, mode: RouteMode) -> OpenedRead:
        await asyncio.sleep(0)
        self.leased += 1
        size = len(self.pieces) * DATA if self.said_bytes is None else self.said_bytes
        entry = Entry(FilePath.parse("/x"), EntryKind.FILE, size)
        return OpenedRead(entry, LEASE, self._plan(0))

    async def plan_read(self, *_: Any, offset: int, **__: Any) -> ReadPlan:
        await asyncio.sleep(0)
        return self._plan(offset // DATA)

    async def report_copy(self, *_: Any) -> None:
        pass

    async def give_back(self, lease: LeaseId) -> None:
        assert lease == LEASE
        self.given_back += 1

    def bytes_of(self, chunk: ChunkId) -> bytes:
        for one in set(self.pieces) - self.lost:
            if one is not None and chunk_id([stored := stored_of(plain(one))]) == chunk:
                return stored
        raise UnreachableError("lost")


@dataclass
class Bridge:
    """Reads from the source, stores at the target's nodes."""

    here: Scene
    source: Source
    fetched: list[ChunkId] = field(default_factory=list)
    most: int = 0
    """Buffers that were out at once."""

    async def get(self, route: Route, **_: Any) -> PooledBuffer:
        pool = self.here.farm.pool
        data = self.source.bytes_of(route.chunk)
        buffer = await pool.acquire(len(data))
        try:
            self.most = max(self.most, pool.outstanding)
            await asyncio.sleep(0)
            buffer.view[:] = data
        except BaseException:
            buffer.release()
            raise
        self.fetched.append(route.chunk)
        return buffer

    def put(self, route: Route, parts: Sequence[memoryview | bytes]) -> Put:
        return self.here.farm.put(route, parts)


class Work:
    """Copies of one source into one member."""

    def __init__(self, here: Scene, source: Source) -> None:
        self.here, self.source = here, source
        self.bridge = Bridge(here, source)
        self.opened: list[UploadId] = []
        self.told_bytes = 0
        randomness = here.world.randomness
        self.engine = Engine.of(
            cast("Any", self.bridge),
            here.farm.pool,
            InlinePool(),
            world_of(LoopClock(), randomness),
            OPTIONS,
        )

    async def _begin(
        self, extents: Sequence[Extent], holes: Sequence[Hole], mode: RouteMode
    ) -> OpenedUpload:
        return await self.here.files.uploads.open_upload(
            OPERATOR, TARGET, Attributes(), Precondition(), extents, holes, mode=mode
        )

    async def _opened(self, upload: UploadId) -> None:
        self.opened.append(upload)

    def _tell(self, size_bytes: int) -> None:
        self.told_bytes += size_bytes

    async def run(self, *, resume: UploadId | None = None, keeps: bool = False) -> Entry:
        source = self.source
        copying = FileCopy(
            self.engine,
            OPERATOR,
            CopySource(self.engine, cast("ReadControl", source), source.lease, source.give_back),
            self.here.files.uploads,
            Opening(
                self._begin,
                resume=resume,
                is_resumable=keeps,
                on_opened=self._opened,
                progress=self._tell,
            ),
            window=WINDOW,
        )
        try:
            return await copying.run()
        finally:
            assert self.here.farm.pool.outstanding == 0, "a buffer was left"
            assert source.given_back == source.leased, "a lease was left"
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not [one for one in others if "FileCopy" in repr(one)], "a task was left"

    async def recorded(self, upload: UploadId) -> Sequence[int]:
        page = await self.here.files.uploads.recorded(OPERATOR, upload, from_offset=0)
        return [extent.offset // DATA for extent in page.extents]

    async def content(self) -> bytes:
        async with self.here.whole.read(OPERATOR, TARGET, offset=0, length=0) as (_, pieces):
            return b"".join([bytes(piece) async for piece in pieces])

    async def is_forgotten(self, upload: UploadId) -> bool:
        try:
            await self.recorded(upload)
        except NotFoundError:
            return True
        return False


@asynccontextmanager
async def working(folder: Path, *pieces: int | None) -> AsyncIterator[Work]:
    async with scene(folder) as here:
        await here.catalog.names.make_directory(OPERATOR, TARGET.parent, parents=False)
        yield Work(here, Source(pieces))


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (1,),
        (None,),
        tuple(range(40)),
        (None, 1, None, None, 2, None),
        (1, 1, 1, 2, 1),
        (*range(20), *range(20), None, 3),
        (None,) * 17,
    ],
)
async def test_a_copy_is_the_file_and_each_chunk_of_it_moves_once(
    tmp_path: Path, pieces: tuple[int | None, ...]
) -> None:
    async with working(tmp_path, *pieces) as work:
        entry = await work.run()
        assert entry.size_bytes == len(pieces) * DATA == work.told_bytes
        assert await work.content() == work.source.content
        chunks = {one for one in pieces if one is not None}
        assert len(work.bridge.fetched) == len(chunks)
        assert work.bridge.most <= WINDOW
        assert len(work.opened) == 1


async def test_chunks_that_are_there_already_are_not_moved(tmp_path: Path) -> None:
    async with working(tmp_path, *range(20)) as work:
        await work.run()
        work.source.pieces = (*range(5, 15), None, 99)
        await work.run()
        assert len(work.bridge.fetched) == 21
        assert await work.content() == work.source.content


async def test_a_copy_that_was_interrupted_sends_what_was_recorded_not_again(
    tmp_path: Path,
) -> None:
    pieces = (None, *range(30), None, None, 30, 31)
    async with working(tmp_path, *pieces) as work:
        work.source.lost = {29}
        with pytest.raises(NotEnoughCopiesError):
            await work.run(keeps=True)
        [upload] = work.opened
        before = set(work.bridge.fetched)
        recorded = await work.recorded(upload)
        assert len(recorded) >= RECORD_BATCH
        work.source.lost = set()
        work.bridge.fetched.clear()
        work.told_bytes = 0
        await work.run(resume=upload, keeps=True)
        again = before & set(work.bridge.fetched)
        assert len(again) <= len(before) - len(recorded)
        assert await work.content() == work.source.content
        assert work.told_bytes == len(pieces) * DATA
        assert work.opened == [upload], "no other one was opened"


@pytest.mark.parametrize(
    "other",
    [
        (0, 1, 99, *range(3, 30)),
        (0, None, *range(2, 30)),
        (None, *range(1, 30)),
        tuple(range(1, 31)),
        (0, 1),
        (),
        (0, 1, None),
    ],
)
async def test_a_copy_of_a_file_that_changed_meanwhile_is_not_gone_on_with(
    tmp_path: Path, other: tuple[int | None, ...]
) -> None:
    async with working(tmp_path, *range(30)) as work:
        work.source.lost = {29}
        with pytest.raises(NotEnoughCopiesError):
            await work.run(keeps=True)
        work.source.pieces, work.source.lost = other, set()
        with pytest.raises(CollectiveError) as refused:
            await work.run(resume=work.opened[0], keeps=True)
        assert isinstance(refused.value, ConflictError | RejectedError), refused.value
        with pytest.raises(NotFoundError):
            await work.here.catalog.names.stat(OPERATOR, TARGET)


async def test_a_copy_that_fails_is_forgotten_unless_somebody_goes_on_with_it(
    tmp_path: Path,
) -> None:
    async with working(tmp_path, *range(10)) as work:
        work.source.lost = {9}
        for keeps in (False, True):
            with pytest.raises(NotEnoughCopiesError):
                await work.run(keeps=keeps)
            assert await work.is_forgotten(work.opened[-1]) is not keeps
        with pytest.raises(NotFoundError):
            await work.here.catalog.names.stat(OPERATOR, TARGET)


async def test_a_target_without_enough_nodes_refuses_and_keeps_nothing_in_memory(
    tmp_path: Path,
) -> None:
    async with working(tmp_path, *range(30)) as work:
        work.here.farm.down.update({NodeId("a"), NodeId("b")})
        with pytest.raises(NotEnoughCopiesError):
            await work.run()
        assert await work.is_forgotten(work.opened[0])


async def test_a_target_that_cannot_be_written_is_refused_before_a_byte_moves(
    tmp_path: Path,
) -> None:
    async with working(tmp_path, 1, 2) as work:
        await work.here.catalog.names.make_directory(OPERATOR, TARGET, parents=False)
        with pytest.raises(CollectiveError):
            await work.run()
        assert work.bridge.fetched == []


def gap(plan: ReadPlan) -> ReadPlan:
    return ReadPlan(plan.pieces[1:], plan.is_more)


def nothing(plan: ReadPlan) -> ReadPlan:
    return ReadPlan([], plan.is_more)


def back(plan: ReadPlan) -> ReadPlan:
    return ReadPlan([*plan.pieces, plan.pieces[0]], plan.is_more)


@pytest.mark.parametrize("wrong", [gap, nothing, back])
@pytest.mark.parametrize("at", [0, 5])
async def test_a_plan_that_is_no_files_is_refused(
    tmp_path: Path, wrong: Callable[[ReadPlan], ReadPlan], at: int
) -> None:
    async with working(tmp_path, *range(12)) as work:
        right = work.source._plan
        work.source._plan = (  # type: ignore[method-assign]
            lambda first: wrong(right(first)) if first == at else right(first)
        )
        with pytest.raises(RejectedError, match="plan of the file"):
            await work.run()
        with pytest.raises(NotFoundError):
            await work.here.catalog.names.stat(OPERATOR, TARGET)


async def test_a_file_that_is_longer_than_its_pieces_is_refused(tmp_path: Path) -> None:
    async with working(tmp_path, *range(3)) as work:
        work.source.said_bytes = 4 * DATA
        with pytest.raises(RejectedError):
            await work.run()


@pytest.mark.parametrize("keeps", [False, True])
async def test_a_copy_that_is_cancelled_anywhere_gives_everything_back_and_can_be_made_again(
    tmp_path: Path, keeps: bool
) -> None:
    """`Work.run` looks for buffers, leases and tasks that are left."""
    async with working(tmp_path, None, *range(8), 3, None) as work:
        turns, is_done = 0, False
        while not is_done:
            task = asyncio.create_task(
                work.run(resume=work.opened[-1] if keeps and work.opened else None, keeps=keeps)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            is_done = task.done()
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            except NotFoundError:  # it was cancelled with the answer to its commit on the way
                assert keeps
                is_done = await work.content() == work.source.content
                assert is_done
            turns += 1 + turns // 8
        assert turns > 20
        assert await work.content() == work.source.content
