"""Blocking work off the event loop, as something passed in.

Blocking work is a plain function that touches the disk, a database or many bytes.  It runs in a pool
that one resource owns, or, where it comes once in a while, by :meth:`Threads.run`.  What it may not
do: start other work and wait for it (with a single thread that never ends), and wait for another
thread by a condition that only the event loop can bring about.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Runs(Protocol):
    """Somewhere that blocking work can run."""

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``work(*args, **kwargs)`` returns, or raise what it raises.

        Cancellation ends the wait at once and leaves the work: if it has begun it runs to its end,
        and what it returns is dropped; if not, it may never begin.
        """
        ...

    async def run_to_end(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As :meth:`run`, for work that uses what its caller will reuse (a buffer, a descriptor).

        Cancellation is held back until the work has ended, which it always does.
        """
        ...


class Pool(Runs, Protocol):
    """Threads of one owner.  Work begins in the order in which it was given, at most one a thread.

    With one worker, pieces of work therefore never overlap, and each sees what those before it did.
    Used from the event loop.
    """

    def start(self, work: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin ``work`` when its turn comes and wait for nothing; it may not raise."""
        ...

    async def close(self) -> None:
        """Take no more work and return when what was given has ended; idempotent."""
        ...

    def abandon(self) -> None:
        """Take no more work, drop what has not begun, and wait for nothing; idempotent."""
        ...


class Threads(Runs, Protocol):
    """Makes pools, and runs by itself what comes once in a while."""

    def pool(self, workers: int, name: str) -> Pool:
        """Return a pool of at most ``workers`` (> 0) threads, shown as ``name`` in dumps."""
        ...

    def pause(self, seconds: float) -> None:
        """Block the calling thread, which is not the event loop's, for ``seconds``."""
        ...


class OsPool:
    """Threads of the operating system.

    Naturally batched: a thread that has done a piece goes on with the next one that waits, and the loop
    hears of all that was done since it last looked at once.  A burst of short pieces costs few switches.
    """

    def __init__(self, workers: int, name: str) -> None:
        """Make threads as they are needed."""
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._workers = workers
        self._lock = threading.Lock()
        self._waiting: deque[_Piece] = deque()
        self._turns = 0
        """Threads that take from what waits, or are about to; changed under the lock."""
        self._mailbox: _Mailbox | None = None
        self._is_closed = False

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in a thread; see :meth:`Pool.run`."""
        return await self._begin(_bound(work, *args, **kwargs))

    async def run_to_end(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in a thread and do not leave before it has ended."""
        return await _held(self._begin(_bound(work, *args, **kwargs)))

    def start(self, work: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run in a thread, and let go."""
        self._give(_Piece(_bound(work, *args, **kwargs)))

    async def close(self) -> None:
        """Wait for the threads to end."""
        self._is_closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown, True)

    def abandon(self) -> None:
        """Let the threads end by themselves."""
        self._is_closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            dropped, self._waiting = self._waiting, deque()
        for piece in dropped:
            if piece.future is not None:
                with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits
                    piece.future.cancel()

    def _begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        if self._mailbox is None or self._mailbox.loop is not loop:
            self._mailbox = _Mailbox(loop)
        future: asyncio.Future[T] = loop.create_future()
        self._give(_Piece(work, future, self._mailbox))
        return future

    def _give(self, piece: _Piece) -> None:
        if self._is_closed:
            raise RuntimeError("This pool is closed.")
        with self._lock:
            self._waiting.append(piece)
            if self._turns == self._workers:
                return
            self._turns += 1
        turn = _Turn()
        try:
            self._executor.submit(self._work, turn)
        except RuntimeError:  # no thread can be made, or the pool was closed meanwhile
            if not self._does_without(turn, piece):
                raise

    def _does_without(self, turn: _Turn, piece: _Piece) -> bool:
        """Take back a turn that no thread may have; tell whether the piece is done all the same."""
        with self._lock:
            if turn.has_begun:
                return True
            turn.is_void = True
            self._turns -= 1
            if self._turns or piece not in self._waiting:
                return True
            self._waiting.remove(piece)
            return False

    def _work(self, turn: _Turn) -> None:
        """Do what waits until nothing does."""
        with self._lock:
            if turn.is_void:
                return
            turn.has_begun = True
        while True:
            with self._lock:
                if not self._waiting:
                    self._turns -= 1
                    return
                piece = self._waiting.popleft()
            piece.do()
            del piece


class _Turn:
    """A thread's turn at what waits."""

    __slots__ = ("has_begun", "is_void")

    def __init__(self) -> None:
        self.has_begun = False
        self.is_void = False


class _Piece:
    """A piece of work, who waits for it, and what came of it."""

    __slots__ = ("_error", "_mailbox", "_value", "_work", "future")

    def __init__(
        self,
        work: Callable[[], Any],
        future: asyncio.Future[Any] | None = None,
        mailbox: _Mailbox | None = None,
    ) -> None:
        self._work = work
        self.future = future
        self._mailbox = mailbox
        self._value: Any = None
        self._error: BaseException | None = None

    def do(self) -> None:
        """Do it, on a thread, unless who waits for it has gone."""
        if self.future is not None and self.future.cancelled():
            return
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - the edge of a thread: it goes to the caller
            self._error = _for_future(error)
        if self._mailbox is not None:
            self._mailbox.add(self)

    def tell(self) -> None:
        """Give the waiter what came of it, on the loop."""
        if self.future is None or self.future.done():
            return
        if self._error is None:
            self.future.set_result(self._value)
        else:
            self.future.set_exception(self._error)


class _Mailbox:
    """What was done for one event loop, which looks at all of it when it is woken."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._done: deque[_Piece] = deque()
        self._is_woken = False
        """Whether the loop will look; only it sets this back."""

    def add(self, piece: _Piece) -> None:
        """Add a piece that is done, on a thread."""
        self._done.append(piece)
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self.loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._is_woken = False  # before looking: what is added from now on wakes the loop again
        while self._done:
            self._done.popleft().tell()


class OsThreads:
    """Threads of the operating system."""

    def pool(self, workers: int, name: str) -> Pool:
        """Return a pool whose threads start when they are needed."""
        return OsPool(workers, name)

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in a thread of the event loop's own pool."""
        return await asyncio.to_thread(work, *args, **kwargs)

    async def run_to_end(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in a thread of the event loop's own pool, and do not leave before it has ended."""
        loop = asyncio.get_running_loop()
        return await _held(loop.run_in_executor(None, _bound(work, *args, **kwargs)))

    def pause(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


class InlinePool:
    """No threads: each piece of work is one step of the event loop, in the order of the calls."""

    def __init__(self) -> None:
        """Be open."""
        self._is_abandoned = False

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run as a step of the loop; cancelled before that, it never begins."""
        return await self._begin(_bound(work, *args, **kwargs))

    async def run_to_end(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run as a step of the loop, and do not leave before."""
        return await _held(self._begin(_bound(work, *args, **kwargs)))

    def start(self, work: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run as a step of the loop."""
        asyncio.get_running_loop().call_soon(_bound(work, *args, **kwargs))

    async def close(self) -> None:
        """Return after the steps that were asked for."""
        await self._begin(lambda: None)

    def abandon(self) -> None:
        """Cancel the waiters for a step."""
        self._is_abandoned = True

    def _begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        loop.call_soon(self._step, work, result)
        return result

    def _step(self, work: Callable[[], T], result: asyncio.Future[T]) -> None:
        if result.cancelled():
            return
        if self._is_abandoned:
            result.cancel()
            return
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 - the edge of a thread: it goes to the caller
            result.set_exception(_for_future(error))
        else:
            result.set_result(value)


class InlineThreads:
    """One thread for everything, so that a run can be repeated: for tests."""

    def pool(self, workers: int, name: str) -> Pool:
        """Return a pool without threads."""
        del workers, name
        return InlinePool()

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run as a step of the loop."""
        return await InlinePool().run(work, *args, **kwargs)

    async def run_to_end(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run as a step of the loop, and do not leave before."""
        return await InlinePool().run_to_end(work, *args, **kwargs)

    def pause(self, seconds: float) -> None:
        """Refuse: nobody else could bring about what is waited for."""
        raise AssertionError(f"A pause of {seconds} s in the only thread.")


def _for_future(error: BaseException) -> BaseException:
    """Return what a future can hold instead of ``error``, if it cannot hold that."""
    if not isinstance(error, StopIteration):
        return error
    held = RuntimeError("Work raised StopIteration.")
    held.__cause__ = error
    return held


def _bound(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Callable[[], T]:
    return functools.partial(work, *args, **kwargs) if args or kwargs else work


async def _held(running: asyncio.Future[T]) -> T:
    """Await ``running``; cancelled, leave only when it has ended."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise
