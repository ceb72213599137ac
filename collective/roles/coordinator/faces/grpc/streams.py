"""The Streams service: whole files, for clients that speak nothing but gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, Final

from collective.core.errors import UsageError
from collective.core.ids import UploadId
from collective.core.paths import FilePath
from collective.member.files.copying import MemberCopying
from collective.member.files.whole_files import WholeFiles
from collective.model.writing import Precondition
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.entries import attributes_from, entry_message
from collective.rpc.deadlines import each
from collective.rpc.gen.collective import v1 as pb
from collective.rpc.gen.collective.v1 import streams as streams_pb

_IDLE_S: Final = 60.0
"""A writer that sends nothing for so long is given up."""
_TELL_S: Final = 0.5
"""How often a copy tells how far it is."""


@dataclass(slots=True)
class _Copied:
    """How far a copy is."""

    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes


class StreamsService(streams_pb.StreamsBase):
    """Adapts streams of messages to files."""

    def __init__(self, files: WholeFiles, copying: MemberCopying, admission: Admission) -> None:
        """Serve ``files`` and ``copying``, of this member or a peer."""
        self._files = files
        self._copying = copying
        self._admission = admission

    async def read(
        self, message: streams_pb.ReadRequest
    ) -> AsyncGenerator[streams_pb.ReadResponse]:
        """Answer with the entry, then with the bytes of the range."""
        async with AsyncExitStack() as stack:
            async with self._admission.call("read", message.path) as call:
                reading = self._files.read(
                    call,
                    FilePath.parse(message.path),
                    offset=message.offset,
                    length=message.length,
                )
                entry, pieces = await stack.enter_async_context(reading)
            yield streams_pb.ReadResponse(entry=entry_message(entry))
            async for piece in pieces:
                self._admission.moved("out", len(piece))
                yield streams_pb.ReadResponse(data=piece)

    async def _call_rpc_handler_server_stream(
        self, handler: Callable[..., AsyncGenerator[Any]], stream: Any, request: Any
    ) -> None:
        """Give out what ``handler`` yields, and have it end with the call, however that ends.

        The base class leaves a generator that its caller gave up to the garbage collector.
        """
        async with aclosing(handler(request)) as messages:
            async for message in messages:
                await stream.send_message(message)

    async def write(self, messages: AsyncIterator[streams_pb.WriteRequest]) -> pb.Entry:
        """Take a header and then bytes; answer when they are durable."""
        timed = each(aiter(messages), _IDLE_S)
        try:
            first = await anext(timed)
        except StopAsyncIteration as error:
            raise UsageError("A write begins with a header.") from error
        header = first.header
        if header is None:
            raise UsageError("A write begins with a header.")
        async with self._admission.call("write", header.path) as call:
            entry = await self._files.write(
                call,
                FilePath.parse(header.path),
                attributes_from(header.attributes),
                Precondition(if_version=header.if_version, if_absent=header.if_absent),
                self._data(first.data, timed),
            )
            return entry_message(entry)

    async def copy(
        self, message: streams_pb.CopyRequest
    ) -> AsyncGenerator[streams_pb.CopyResponse]:
        """Copy a file, and tell how far it is until it is done."""
        subject = f"{message.source} -> {message.target}"
        async with self._admission.call("copy", subject) as call:
            source, target = FilePath.parse(message.source), FilePath.parse(message.target)
            if message.unless_same:
                same = await self._copying.same(call, source, target)
                if same is not None:
                    yield streams_pb.CopyResponse(entry=entry_message(same), is_same=True)
                    return
            opened: asyncio.Future[UploadId] = asyncio.get_running_loop().create_future()

            async def on_opened(upload: UploadId) -> None:
                opened.set_result(upload)

            copied = _Copied()
            resume = message.resume_upload_id
            copying = asyncio.ensure_future(
                self._copying.copy(
                    call,
                    source,
                    target,
                    Precondition(if_version=message.if_version, if_absent=message.if_absent),
                    resume=UploadId.parse(resume) if resume else None,
                    on_opened=on_opened,
                    progress=copied.add,
                )
            )
            news: set[asyncio.Future[Any]] = {copying, opened}
            try:
                while not copying.done():
                    await asyncio.wait(news, timeout=_TELL_S, return_when=asyncio.FIRST_COMPLETED)
                    upload = ""
                    if opened in news and opened.done():  # told at once: by it a caller gives up
                        news.discard(opened)
                        upload = str(opened.result())
                    yield streams_pb.CopyResponse(upload_id=upload, copied_bytes=copied.size_bytes)
                entry = copying.result()
            finally:
                copying.cancel()
                await asyncio.wait((copying,))
            yield streams_pb.CopyResponse(
                copied_bytes=copied.size_bytes, entry=entry_message(entry)
            )

    async def _data(
        self, first: bytes, messages: AsyncIterator[streams_pb.WriteRequest]
    ) -> AsyncIterator[bytes]:
        if first:
            self._admission.moved("in", len(first))
            yield first
        async for message in messages:
            if message.header is not None:
                raise UsageError("Only the first message of a write has a header.")
            self._admission.moved("in", len(message.data))
            if message.data:
                yield message.data
