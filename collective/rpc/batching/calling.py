"""The client's end: what is called meanwhile goes together over the channel's one exchange of batches.

Owns the exchange of one channel and the calls on it.  Invariants: a call is sent once at most; it ends with
its answer, its deadline, its withdrawal or the exchange; at most UNDER_WAY_MAX have no answer yet, and those
beyond wait here in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from grpclib.const import Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline
from grpclib.stream import StreamIterator

from collective.core.errors import (
    CollectiveError,
    InternalError,
    RejectedError,
    UnreachableError,
    first_error,
)
from collective.rpc.batching.bounds import (
    BATCH_MAX_BYTES,
    BATCH_MAX_CALLS,
    CALL_MAX_BYTES,
    UNDER_WAY_MAX,
)
from collective.rpc.errors import from_detail, from_grpc
from collective.rpc.gen.collective.v1.batches import (
    AnswerBatch,
    BatchedAnswer,
    BatchedCall,
    CallBatch,
)
from collective.rpc.headers import REQUEST_ID_KEY

if TYPE_CHECKING:
    from collective.rpc.client.channel import RpcStream

_CLOSED: Final = "The channel has been closed."
IDLE_S: Final = 5.0
"""An exchange without calls ends after that: a connection that only stands is in nobody's use."""


class NotServedError(RejectedError):
    """The server knows no batches: what was given to it here was not done, and goes by itself."""


class _Waiting:
    """One call and the future of its answer."""

    def __init__(self, call: BatchedCall, deadline: Deadline, exchange: _Exchange) -> None:
        self.call: Final = call
        self.deadline: Final = deadline
        self._exchange = exchange
        loop = asyncio.get_running_loop()
        self.answer: Final[asyncio.Future[bytes]] = loop.create_future()
        self._timer = loop.call_later(deadline.time_remaining(), self._expire)

    def end(self, result: bytes | BaseException) -> None:
        """Give the result to whoever waits for it."""
        self._timer.cancel()
        if self.answer.done():
            return
        if isinstance(result, bytes):
            self.answer.set_result(result)
        else:
            self.answer.set_exception(result)

    def leave(self) -> None:
        """Wait no longer: the call is withdrawn if it has no answer."""
        self._timer.cancel()
        if not self.answer.cancel() and not self.answer.cancelled():
            self.answer.exception()  # it may have come while the caller was cancelled
        self._exchange.withdraw(self)

    def _expire(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(TimeoutError())


class _Exchange:
    """One stream of batches, from its first call until it ends."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._under_way: dict[int, _Waiting] = {}
        self._withdrawn: list[int] = []
        self._news = asyncio.Event()
        self._last_number = 0
        self.has_ended = False
        """Nothing is to be added any more."""

    def add(self, waiting: _Waiting) -> None:
        """Have a call depart with the next batch."""
        self._last_number += 1
        waiting.call.number = self._last_number
        self._waiting.append(waiting)
        self._news.set()

    def withdraw(self, waiting: _Waiting) -> None:
        """Wait no longer for the answer of a call."""
        number = waiting.call.number
        if self._under_way.pop(number, None) is not None:
            self._withdrawn.append(number)
            self._news.set()

    async def depart(self, stream: RpcStream) -> None:
        """Send what waits, until nothing did for IDLE_S and all was answered."""
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    await self._news.wait()
            except TimeoutError:
                if self._waiting or self._under_way:
                    continue
                self.has_ended = True
                await stream.end()
                return
            self._news.clear()
            while (batch := self._next_batch()) is not None:
                await stream.send_message(batch)

    def _next_batch(self) -> CallBatch | None:
        calls: list[BatchedCall] = []
        size = 0
        while self._waiting and size < BATCH_MAX_BYTES and len(calls) < BATCH_MAX_CALLS:
            if len(self._under_way) >= UNDER_WAY_MAX:
                break
            waiting = self._waiting.popleft()
            if waiting.answer.done():  # withdrawn, or too late
                continue
            call = waiting.call
            call.timeout_ms = max(1, int(waiting.deadline.time_remaining() * 1000))
            self._under_way[call.number] = waiting
            calls.append(call)
            size += len(call.message)
        withdrawn, self._withdrawn = self._withdrawn, []
        return CallBatch(calls=calls, withdrawn=withdrawn) if calls or withdrawn else None

    def arrive(self, batch: AnswerBatch, peer: str) -> None:
        """Give each answer to its call; one that nobody waits for is dropped."""
        for answer in batch.answers:
            waiting = self._under_way.pop(answer.number, None)
            if waiting is not None:
                waiting.end(_result_of(answer, peer))
        if self._waiting:
            self._news.set()

    def fail(self, error: CollectiveError) -> None:
        """End every call by ``error``."""
        self.has_ended = True
        for waiting in (*self._under_way.values(), *self._waiting):
            waiting.end(_again(error))
        self._under_way.clear()
        self._waiting.clear()


class CallBatches:
    """The calls of one channel that go together."""

    def __init__(
        self,
        open_stream: Callable[[], RpcStream],
        hear_authority: Callable[[bytes], None],
        peer: Callable[[], str],
        codec: CodecBase,
    ) -> None:
        """Send over streams of ``open_stream``, to the server that messages call ``peer()``.

        ``hear_authority`` is told what answers say of a CA to follow; ``codec`` is that of all messages.
        """
        self.codec: Final = codec
        self._open_stream = open_stream
        self._hear_authority = hear_authority
        self.peer: Final = peer
        self.is_refused = False
        """Whether the server has said that it knows no batches."""
        self._exchange: _Exchange | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def stream(
        self,
        method: str,
        metadata: dict[str, Any],
        deadline: Deadline,
        reply_type: type[Any],
        alone: Callable[[], RpcStream],
    ) -> BatchedStream:
        """Return one call of ``method``, as stubs use it; ``alone`` begins it without a batch."""
        request_id = metadata.pop(REQUEST_ID_KEY)
        call = BatchedCall(method=method, request_id=request_id, metadata=metadata)
        return BatchedStream(self, call, deadline, reply_type, alone)

    def add(self, call: BatchedCall, deadline: Deadline) -> _Waiting:
        """Have ``call`` sent; await the ``answer`` of what is returned, and leave it after."""
        exchange = self._exchange
        if exchange is None or exchange.has_ended:
            exchange = self._exchange = _Exchange()
            task = asyncio.get_running_loop().create_task(self._run(exchange))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        waiting = _Waiting(call, deadline, exchange)
        exchange.add(waiting)
        return waiting

    def close(self) -> None:
        """End the exchange; its calls fail with UnreachableError."""
        for task in self._tasks:
            task.cancel()
        if self._exchange is not None:  # a task that has not begun fails nothing itself
            self._exchange.fail(UnreachableError(_CLOSED))

    async def ended(self) -> None:
        """Return when nothing of this runs any more, after :meth:`close`."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, exchange: _Exchange) -> None:
        error: CollectiveError = UnreachableError(_CLOSED)
        try:
            async with self._open_stream() as stream:
                await stream.send_request()
                await self._exchange_batches(exchange, stream)
            error = UnreachableError("The server ended the exchange of calls; try again.")
        except CollectiveError as failed:
            error = failed
            cause = failed.__cause__
            if isinstance(cause, GRPCError) and cause.status is Status.UNIMPLEMENTED:
                self.is_refused = True
                error = NotServedError(failed.message)
        except Exception as failed:  # noqa: BLE001 - each caller is told
            error = InternalError("An exchange of calls failed in this program; try again.")
            error.__cause__ = failed
        finally:
            exchange.fail(error)

    async def _exchange_batches(self, exchange: _Exchange, stream: RpcStream) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                departing = group.create_task(exchange.depart(stream))
                async for batch in stream:
                    if batch.newest_authority:
                        self._hear_authority(batch.newest_authority)
                    exchange.arrive(batch, self.peer())
                departing.cancel()
        except BaseExceptionGroup as failed:
            raise first_error(failed) from failed


class BatchedStream(StreamIterator[Any]):
    """One unary call as generated stubs use grpclib's stream; it goes by itself where it has to."""

    def __init__(
        self,
        batches: CallBatches,
        call: BatchedCall,
        deadline: Deadline,
        reply_type: type[Any],
        alone: Callable[[], RpcStream],
    ) -> None:
        """Make ``call``, whose message is still to come; ``alone`` begins it without a batch."""
        self._batches = batches
        self._call = call
        self._deadline = deadline
        self._reply_type = reply_type
        self._codec = batches.codec
        self._begin_alone = alone
        self._alone: RpcStream | None = None
        self._message: Any = None
        self._waiting: _Waiting | None = None
        self._is_answered = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if self._waiting is not None:
            self._waiting.leave()
        if self._alone is not None:
            await self._alone.__aexit__(exc_type, exc_val, exc_tb)

    async def send_message(self, message: Any, *, end: bool = False) -> None:
        """Send the call, by itself if it is large."""
        assert end, "a unary call has one message"
        self._message = message
        raw = self._codec.encode(message, type(message))
        if len(raw) > CALL_MAX_BYTES:
            await self._go_alone()
            return
        self._call.message = raw
        self._waiting = self._batches.add(self._call, self._deadline)

    async def recv_message(self) -> Any:
        """Return the answer; None once it was returned.

        Raises:
            UnreachableError: none came in time, or the connection broke.
            CollectiveError: what the server answered with.
        """
        if self._is_answered:
            return None
        if self._waiting is not None:
            try:
                raw = await self._waiting.answer
            except NotServedError:
                await self._go_alone()
            except TimeoutError as error:
                raise from_grpc(error, peer=self._batches.peer()) from error
            else:
                self._is_answered = True
                return self._codec.decode(raw, self._reply_type)
        assert self._alone is not None
        return await self._alone.recv_message()

    async def _go_alone(self) -> None:
        stream = self._begin_alone()
        self._alone = await stream.__aenter__()
        await stream.send_message(self._message, end=True)


def _result_of(answer: BatchedAnswer, peer: str) -> bytes | CollectiveError:
    """Return the answer's message, or its error as a call by itself would raise it."""
    if answer.error is None and answer.status == Status.OK.value:
        return answer.message
    status = Status.UNKNOWN
    with suppress(ValueError):
        status = Status(answer.status)
    ended = GRPCError(status, answer.reason)
    error = from_grpc(ended, peer=peer) if answer.error is None else from_detail(answer.error)
    error.__cause__ = ended
    return error


def _again(error: CollectiveError) -> CollectiveError:
    """Return an error like ``error``: one exception is raised in one place."""
    made = type(error).__new__(type(error), *error.args)
    made.__dict__.update(error.__dict__)
    made.__cause__ = error
    return made
