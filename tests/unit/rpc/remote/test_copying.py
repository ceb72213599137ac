"""A copy that a coordinator makes, told as it goes, and gone on with after an interruption."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, cast

import pytest

from collective.core.errors import (
    AwayError,
    BusyError,
    CollectiveError,
    ConflictError,
    RejectedError,
    UnreachableError,
)
from collective.core.paths import FilePath
from collective.model.writing import Precondition
from collective.rpc.gen.collective.v1 import Entry, EntryKind
from collective.rpc.gen.collective.v1.streams import CopyRequest, CopyResponse, StreamsStub
from collective.rpc.gen.collective.v1.uploads import (
    AbortUploadRequest,
    AbortUploadResponse,
    UploadsStub,
)
from collective.rpc.remote.connection import RETRY_S
from collective.rpc.remote.copying import IDLE_S, RemoteCopying
from tests.virtual_time import LoopClock

pytestmark = pytest.mark.virtual_time
ONE, OTHER = FilePath.parse("/a/x"), FilePath.parse("/@garage.bob/x")
UPLOAD: Final = f"{'ab' * 16}@garage.bob"
DONE: Final = CopyResponse(
    copied_bytes=30, entry=Entry(path=str(OTHER), kind=EntryKind.FILE, size_bytes=30)
)


class Streams:
    """A coordinator whose answers, call by call, are written down; an error ends a call."""

    def __init__(self, *calls: Sequence[CopyResponse | Exception]) -> None:
        self.calls = list(calls)
        self.asked: list[str] = []
        self.requests: list[CopyRequest] = []
        self.ended: list[str] = []

    async def copy(self, request: CopyRequest) -> AsyncIterator[CopyResponse]:
        self.asked.append(request.resume_upload_id)
        self.requests.append(request)
        for answer in self.calls.pop(0) if len(self.calls) > 1 else self.calls[0]:
            if isinstance(answer, Exception):
                raise answer
            yield answer

    async def abort_upload(self, request: AbortUploadRequest, **_: Any) -> AbortUploadResponse:
        await asyncio.sleep(0)
        self.ended.append(request.upload_id)
        return AbortUploadResponse()

    async def run(self, **how: Any) -> tuple[Any, list[int]]:
        told: list[int] = []
        copying = RemoteCopying(cast("StreamsStub", self), cast("UploadsStub", self), LoopClock())
        done = await copying.copy(ONE, OTHER, Precondition(), progress=told.append, **how)
        return done, told


def at(copied_bytes: int) -> CopyResponse:
    return CopyResponse(copied_bytes=copied_bytes)


async def test_a_copy_is_told_of_as_it_goes_and_ends_with_the_entry() -> None:
    streams = Streams([CopyResponse(upload_id=UPLOAD), at(10), at(10), at(25), DONE])
    (entry, is_same), told = await streams.run(unless_same=True)
    assert (str(entry.path), entry.size_bytes, is_same) == (str(OTHER), 30, False)
    assert told == [10, 15, 5]
    request = streams.requests[0]
    assert (request.source, request.target, request.unless_same) == (str(ONE), str(OTHER), True)


async def test_an_interrupted_copy_goes_on_with_its_upload_and_tells_no_byte_twice() -> None:
    lost = UnreachableError("gone")
    streams = Streams(
        [CopyResponse(upload_id=UPLOAD), at(20), lost], [BusyError("later")], [at(5), at(22), DONE]
    )
    _, told = await streams.run()
    assert streams.asked == ["", UPLOAD, UPLOAD]
    assert told == [20, 2, 8]


async def test_a_coordinator_that_stays_away_is_given_up_in_the_end() -> None:
    streams = Streams([UnreachableError("gone")])
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(UnreachableError):
        await streams.run()
    assert len(streams.asked) > 5
    assert asyncio.get_running_loop().time() - began_s <= RETRY_S


async def test_a_copy_that_is_given_up_is_ended_at_the_coordinator() -> None:
    opened = CopyResponse(upload_id=UPLOAD)
    streams = Streams([opened, UnreachableError("gone")])
    with pytest.raises(UnreachableError):
        await streams.run()
    assert streams.ended == [UPLOAD]

    class Slow(Streams):
        async def copy(self, request: CopyRequest) -> AsyncIterator[CopyResponse]:
            del request
            yield opened
            yield at(1)
            await asyncio.Event().wait()

    streams = Slow()
    copying = asyncio.create_task(streams.run())
    for _ in range(10):
        await asyncio.sleep(0)
    copying.cancel()
    await asyncio.wait([copying])
    assert copying.cancelled()
    assert streams.ended == [UPLOAD]


async def test_what_was_refused_or_never_opened_is_ended_by_nobody_here() -> None:
    """The coordinator has ended what it refused."""
    refused: list[list[CopyResponse | Exception]] = [
        [CopyResponse(upload_id=UPLOAD), ConflictError("no")],
        [BusyError("full")],
    ]
    for calls in refused:
        streams = Streams(calls)
        with pytest.raises(CollectiveError):
            await streams.run()
        assert streams.ended == []


async def test_a_peer_that_goes_away_is_waited_for_once_the_copy_has_begun() -> None:
    away = AwayError("garage.bob is away since noon.")
    streams = Streams([CopyResponse(upload_id=UPLOAD), away], [away], [DONE])
    await streams.run()
    assert streams.asked == ["", UPLOAD, UPLOAD]
    streams = Streams([away], [DONE])
    with pytest.raises(AwayError):
        await streams.run()


async def test_one_that_gets_on_between_interruptions_is_given_all_the_time_it_takes() -> None:
    class Slow(Streams):
        async def copy(self, request: CopyRequest) -> AsyncIterator[CopyResponse]:
            self.asked.append(request.resume_upload_id)
            await asyncio.sleep(IDLE_S / 2)
            yield at(len(self.asked))
            if len(self.asked) < 9:
                raise UnreachableError("gone again")
            yield DONE

    _, told = await Slow().run()
    assert sum(told) == 30


async def test_one_that_is_silent_is_given_up_and_gone_on_with() -> None:
    class Silent(Streams):
        async def copy(self, request: CopyRequest) -> AsyncIterator[CopyResponse]:
            self.asked.append(request.resume_upload_id)
            yield CopyResponse(upload_id=UPLOAD)
            if len(self.asked) == 1:
                await asyncio.sleep(10 * IDLE_S)
            yield DONE

    streams = Silent()
    await streams.run()
    assert streams.asked == ["", UPLOAD]


async def test_what_cannot_succeed_is_not_tried_again() -> None:
    for calls, error in (([ConflictError("no")], ConflictError), ([at(3)], RejectedError)):
        streams = Streams(calls)
        with pytest.raises(error):
            await streams.run()
        assert len(streams.asked) == 1
