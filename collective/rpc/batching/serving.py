"""The server's end of an exchange of batches: each call in a task of its own, through the edge of all calls.

Owns the exchanges of one listener.  Invariants: at most UNDER_WAY_MAX calls of an exchange have begun and not
been answered, and nothing further is read meanwhile; a call ends with its exchange at the latest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline
from grpclib.server import Stream

from collective.core.errors import CollectiveError, InternalError, UsageError, first_error
from collective.pki.certificates import Certified
from collective.rpc.batching.bounds import (
    ANSWER_MAX_BYTES,
    BATCH_MAX_BYTES,
    BATCH_MAX_CALLS,
    CALL_MAX_BYTES,
    UNDER_WAY_MAX,
)
from collective.rpc.batching.rule import ALONE
from collective.rpc.errors import to_detail, to_status
from collective.rpc.gen.collective.v1.batches import (
    AnswerBatch,
    BatchedAnswer,
    BatchedCall,
    BatchesBase,
    CallBatch,
)
from collective.rpc.headers import REQUEST_ID_KEY
from collective.rpc.server.service_edge import ServiceEdge


class Batches(BatchesBase):
    """Serves the calls of batches, as ``mapping`` has their methods."""

    def __init__(
        self,
        edge: ServiceEdge,
        mapping: Callable[[], Mapping[str, Handler]],
        codec: CodecBase,
        newest_authority: Callable[[], bytes] | None,
    ) -> None:
        """Take each call through ``edge``; the other arguments are the listener's."""
        self._edge = edge
        self._mapping = mapping
        self._codec = codec
        self._newest_authority = newest_authority
        self._unsent = 0
        self._all_sent = asyncio.Event()
        self._all_sent.set()

    async def wait_sent(self) -> None:
        """Return when no answer waits to be sent; cancellation is harmless."""
        await self._all_sent.wait()

    async def serve(
        self, stream: Stream[CallBatch, AnswerBatch], certified: Certified, source: str
    ) -> None:
        """Serve one exchange until its client ends it.

        Raises:
            UsageError: the client keeps to no bound of the protocol.
        """
        one = _Exchange(self, stream, certified, source)
        try:
            await one.run()
        except BaseExceptionGroup as failed:
            raise first_error(failed) from failed
        finally:
            self.sent(one.unsent)

    async def run_call(self, exchange: _Exchange, call: BatchedCall) -> None:
        """Run one call, and add its answer to those of ``exchange``."""
        handler = self._mapping().get(call.method)
        is_served = handler is not None and handler.cardinality is Cardinality.UNARY_UNARY
        if handler is None or not is_served or call.method.startswith(ALONE):
            exchange.add(_status(call.number, Status.UNIMPLEMENTED, "Method not found"))
            return
        metadata: dict[str, str | bytes] = {**call.metadata, REQUEST_ID_KEY: call.request_id}
        seconds = call.timeout_ms / 1000 if call.timeout_ms else None
        deadline = None if seconds is None else Deadline.from_timeout(seconds)
        context = self._edge.call(
            exchange.certified, call.method, metadata, deadline, exchange.source
        )
        messages = _Messages(call.message, handler, self._codec)
        end = _End(exchange, call.number)
        try:
            async with asyncio.timeout(seconds):
                await self._edge.serve(context, lambda: handler.func(messages), end)
        except TimeoutError:
            exchange.add(_status(call.number, Status.DEADLINE_EXCEEDED, ""))
        except GRPCError as error:
            exchange.add(_status(call.number, error.status, error.message or ""))
        else:
            if not end.has_failed:
                exchange.add(BatchedAnswer(number=call.number, message=messages.answer))

    def unsent(self) -> None:
        """Count an answer that is to be sent."""
        self._unsent += 1
        self._all_sent.clear()

    def sent(self, count: int) -> None:
        """Count ``count`` answers that were sent, or will never be."""
        self._unsent -= count
        if not self._unsent:
            self._all_sent.set()

    def batch_of(self, answers: list[BatchedAnswer]) -> AnswerBatch:
        """Return the message that carries ``answers``."""
        newest = self._newest_authority() if self._newest_authority is not None else b""
        return AnswerBatch(answers=answers, newest_authority=newest)


class _Exchange:
    """One exchange: its calls under way and its answers on their way out."""

    def __init__(
        self,
        batches: Batches,
        stream: Stream[CallBatch, AnswerBatch],
        certified: Certified,
        source: str,
    ) -> None:
        self.certified: Final = certified
        self.source: Final = source
        self._batches = batches
        self._stream = stream
        self._running: dict[int, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(UNDER_WAY_MAX)
        self._ready: deque[BatchedAnswer] = deque()
        self._news = asyncio.Event()
        self._is_answered = False
        """Whether no further answer will be added."""

    @property
    def unsent(self) -> int:
        """Answers that were not sent."""
        return len(self._ready)

    def has_left(self) -> bool:
        """Whether the client's connection is gone."""
        return self._stream._stream.connection.is_closing()  # noqa: SLF001 - told nowhere else

    async def run(self) -> None:
        """Run what comes until nothing more does, and answer it."""
        async with asyncio.TaskGroup() as answering:
            answering.create_task(self._send())
            async with asyncio.TaskGroup() as calls:
                async for batch in self._stream:
                    await self._take(batch, calls)
            self._is_answered = True
            self._news.set()

    async def _take(self, batch: CallBatch, calls: asyncio.TaskGroup) -> None:
        if len(batch.calls) > BATCH_MAX_CALLS:
            raise UsageError(f"A batch has at most {BATCH_MAX_CALLS} calls.")
        for number in batch.withdrawn:
            running = self._running.get(number)
            if running is not None:
                running.cancel()
        for call in batch.calls:
            if len(call.message) > CALL_MAX_BYTES:
                raise UsageError(f"A call in a batch has at most {CALL_MAX_BYTES} bytes.")
            await self._places.acquire()
            if call.number in self._running:
                raise UsageError(f"There is a call {call.number} under way already.")
            task = calls.create_task(self._batches.run_call(self, call))
            self._running[call.number] = task
            task.add_done_callback(partial(self._ended, call.number))

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        del self._running[number]
        if task.cancelled():  # it has no answer that would have to leave first
            self._places.release()

    def add(self, answer: BatchedAnswer) -> None:
        """Have ``answer`` sent with the next batch."""
        self._ready.append(answer)
        self._batches.unsent()
        self._news.set()

    async def _send(self) -> None:
        while not self._is_answered:
            await self._news.wait()
            self._news.clear()
            while self._ready:
                answers = self._next_batch()
                await self._stream.send_message(self._batches.batch_of(answers))
                for _ in answers:
                    self._ready.popleft()
                    self._places.release()
                self._batches.sent(len(answers))

    def _next_batch(self) -> list[BatchedAnswer]:
        """Return the answers that go together, the first one at least."""
        answers: list[BatchedAnswer] = []
        size = 0
        for answer in self._ready:
            size += len(answer.message)
            if answers and (size > BATCH_MAX_BYTES or len(answers) == BATCH_MAX_CALLS):
                break
            answers.append(answer)
        return answers


class _Messages:
    """What a unary method uses of grpclib's stream."""

    def __init__(self, message: bytes, handler: Handler, codec: CodecBase) -> None:
        self._message = message
        self._handler = handler
        self._codec = codec
        self.answer = b""

    async def recv_message(self) -> Any:
        """Return the call's message."""
        return self._codec.decode(self._message, self._handler.request_type)

    async def send_message(self, message: Any) -> None:
        """Keep the answer until the method has ended."""
        self.answer = self._codec.encode(message, self._handler.reply_type)
        if len(self.answer) > ANSWER_MAX_BYTES:
            raise InternalError(f"An answer has {len(self.answer)} bytes.")


class _End:
    """The way back of one call."""

    def __init__(self, exchange: _Exchange, number: int) -> None:
        self._exchange = exchange
        self._number = number
        self.has_failed = False

    async def fail(self, error: CollectiveError, request_id: str) -> None:
        """Answer with the error."""
        self.has_failed = True
        detail = to_detail(error, request_id)
        answer = BatchedAnswer(
            number=self._number, status=to_status(error).value, reason=detail.message, error=detail
        )
        self._exchange.add(answer)

    def has_left(self) -> bool:
        """Tell whether the connection is gone."""
        return self._exchange.has_left()


def _status(number: int, status: Status, reason: str) -> BatchedAnswer:
    return BatchedAnswer(number=number, status=status.value, reason=reason)
