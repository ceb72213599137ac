"""The Streams service: whole files, for clients that speak nothing but gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final

from collective.core.errors import UsageError
from collective.core.paths import FilePath
from collective.member.files.member_directory import MemberDirectory
from collective.member.files.whole_files import WholeFiles
from collective.model.changes import Precondition
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.entries import attributes_from, entry_message
from collective.rpc.deadlines import each
from collective.rpc.gen.collective import v1 as pb
from collective.rpc.gen.collective.v1 import streams as streams_pb

_IDLE_S: Final = 60.0
"""A writer that sends nothing for so long is given up."""


class StreamsService(streams_pb.StreamsBase):
    """Adapts streams of messages to files."""

    def __init__(self, owners: MemberDirectory, files: WholeFiles, admission: Admission) -> None:
        """Serve ``files`` of this member; others' are not carried."""
        self._owners = owners
        self._files = files
        self._admission = admission

    async def read(
        self, message: streams_pb.ReadRequest
    ) -> AsyncGenerator[streams_pb.ReadResponse]:
        """Answer with the entry, then with the bytes of the range."""
        async with AsyncExitStack() as stack:
            async with self._admission.call("read", message.path) as call:
                reading = self._files.read(
                    call, self._own(message.path), offset=message.offset, length=message.length
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
                self._own(header.path),
                attributes_from(header.attributes),
                Precondition(if_version=header.if_version, if_absent=header.if_absent),
                self._data(first.data, timed),
            )
            return entry_message(entry)

    def _own(self, text: str) -> FilePath:
        path = FilePath.parse(text)
        self._owners.of_path(path)
        return path

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
