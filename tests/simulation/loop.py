"""An event loop on virtual time, in which every task and callback belongs to a simulated process.

Nothing here waits: when nothing is ready, time jumps to the next timer.  Sockets, pipes and threads are
refused.  What belongs to a process that was killed is dropped when its turn comes, so nothing of it runs
on; its tasks are kept until the end of the run, so that no ``finally`` block runs by the garbage
collector either.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import gc
import heapq
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, Final, NoReturn

from tests.simulation.process import PROCESS, BrokenPromiseError, Killed

STEPS_MAX: Final = 2_000_000
"""Steps without time passing after which a run counts as hung."""
COLLECT_EVERY_S: Final = 1800.0
"""Virtual seconds between two collections of young garbage, for runs of days; it is off otherwise.

What survived one is not looked at again before the end: else each would take longer than the one before.
"""
_PURGE_LEAST: Final = 256


class HungError(AssertionError):
    """The simulated member runs without getting anywhere, or waits for nothing."""


def be_quiet(_: Any) -> None:
    """Hear what a coroutine that was given up raises, and say nothing."""


@contextmanager
def ending_quietly() -> Iterator[None]:
    """Let what killed processes left be collected inside, without a word about it.

    Their coroutines end by ``GeneratorExit``, and whatever they try then raises.
    """
    before, sys.unraisablehook = sys.unraisablehook, be_quiet
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # coroutines that never began
            asyncio.set_event_loop(None)  # else gather() makes one for those that end here
            while gc.collect():  # again for what those held or made while they ended
                pass
        sys.unraisablehook = before


class _Handle(asyncio.Handle):
    """A callback that is due, made without what only a loop in debug mode needs."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: VirtualLoop,
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None


class _Timer(asyncio.TimerHandle):
    """A callback that is due at a moment, made likewise."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: VirtualLoop,
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._when = when
        self._scheduled = True


class SimulatedTask(asyncio.Task[Any]):
    """A task with a number as its hash: sets of tasks are then walked in the same order every time."""

    def __init__(self, coro: Any, *, loop: VirtualLoop, name: str | None, context: Any) -> None:
        """Belong to the process that creates it."""
        loop.tasks_made += 1
        self._number = loop.tasks_made  # first: a task is put into sets while it is made
        super().__init__(coro, loop=loop, name=name, context=context)
        self._log_destroy_pending = False
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.began(self)
        else:  # of the simulation itself: perhaps nobody waits for it
            self.add_done_callback(loop.heard)

    def __hash__(self) -> int:
        return hash(self._number)


class VirtualLoop(asyncio.base_events.BaseEventLoop):
    """Runs callbacks in an order that the seed decides, and nothing else does."""

    def __init__(self) -> None:
        """Begin at time zero."""
        super().__init__()
        self.now_s = 0.0
        self.tasks_made = 0
        self.steps = 0
        self._failures: list[BaseException] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """By time, and by the order in which they were set."""
        self._timers_made = 0
        self._timers_cancelled = 0
        self._collected_s = 0.0
        self.set_task_factory(_make_task)
        self.set_exception_handler(self._on_error)

    def time(self) -> float:
        """Return virtual seconds."""
        return self.now_s

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As ``call_soon``: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Run ``func`` as a later step of this loop, in the caller's context."""
        del executor
        future = self.create_future()

        def step() -> None:
            if future.cancelled():
                return
            try:
                value = func(*args)
            except Exception as error:  # noqa: BLE001 - the edge of what a thread would be
                future.set_exception(error)
            else:
                future.set_result(value)

        self.call_soon(step)
        return future

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Run ``main`` to its end and return what it returns."""
        task = self.create_task(main)
        task.remove_done_callback(self.heard)  # what it raises is raised here
        task.add_done_callback(lambda _: self.stop())
        self.run_forever()
        if self._failures:
            raise self._failures[0]
        return task.result()

    def close(self) -> None:
        """Forget everything that was to happen."""
        self._timers.clear()
        super().close()

    # --- inside ----------------------------------------------------------------------------------

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call ``callback`` at a moment; those of one moment in the order in which they were set."""
        timer = _Timer(when, callback, args, self, context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call ``callback`` after so many virtual seconds."""
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call ``callback`` in the next step."""
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle._scheduled:  # type: ignore[attr-defined]
            self._timers_cancelled += 1

    def _drop_cancelled(self) -> None:
        if self._timers_cancelled * 2 <= len(self._timers):
            return
        self._timers = [one for one in self._timers if not one[2]._cancelled]
        heapq.heapify(self._timers)
        self._timers_cancelled = 0

    def _next_moment(self) -> None:
        """Let time jump to the next timer that was not cancelled."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)[2]._scheduled = False  # type: ignore[attr-defined]
            self._timers_cancelled -= 1
        if not timers:
            raise HungError("Nothing is left to happen, and the run has not ended.")
        if timers[0][0] > self.now_s:
            self.now_s = timers[0][0]
            self.steps = 0
            if self.now_s > self._collected_s + COLLECT_EVERY_S:
                self._collected_s = self.now_s
                gc.collect(1)

    def _run_once(self) -> None:  # noqa: C901, PLR0912 - the innermost loop of everything
        """Run until told to stop: what is ready, then what comes next, step by step."""
        ready = self._ready  # type: ignore[attr-defined]
        heappop, mine = heapq.heappop, PROCESS
        while not self._stopping:  # type: ignore[attr-defined]
            if not ready:
                if self._timers_cancelled > _PURGE_LEAST:
                    self._drop_cancelled()
                self._next_moment()
            timers, now_s = self._timers, self.now_s
            while timers and timers[0][0] <= now_s:
                handle = heappop(timers)[2]
                handle._scheduled = False  # type: ignore[attr-defined]
                if handle._cancelled:
                    self._timers_cancelled -= 1
                else:
                    ready.append(handle)
            for _ in range(len(ready)):
                handle = ready.popleft()
                if handle._cancelled:
                    continue
                context = handle._context
                process = context.get(mine)
                if process is None or process.alive:
                    # what Handle._run does, without its call
                    try:
                        context.run(handle._callback, *handle._args)
                    except Exception:  # noqa: BLE001 - it tells the handler, as it does there
                        self._tell()
                    except Killed:
                        continue
            self.steps += 1
            if self.steps > STEPS_MAX:
                raise HungError(f"{STEPS_MAX} steps at second {self.now_s:.3f} got nowhere.")
            if self._failures:
                self.stop()

    def _tell(self) -> None:
        error = sys.exc_info()[1]
        self.call_exception_handler({"message": "in a callback", "exception": error})

    def _process_events(self, event_list: Any) -> None:
        del event_list

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

    def heard(self, task: asyncio.Task[Any]) -> None:
        """End the run at once where something of the simulation itself, such as a judge, has raised."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AssertionError):
            self._failures.append(error)
        elif error is not None:
            self._failures.append(BrokenPromiseError(f"the simulation broke: {error!r}"))

    def _on_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None or isinstance(error, Killed):
            return
        process = PROCESS.get()
        is_dead = process is not None and not process.alive
        if isinstance(error, BrokenPromiseError) or (
            isinstance(error, AssertionError) and not is_dead
        ):
            self._failures.append(error)
            return
        if is_dead:
            return
        if process is not None:
            process.trace.note(f"{process.name} unhandled {type(error).__name__}: {error}")
            process.unhandled(context.get("message", ""), error)

    def _make_socket_transport(self, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError("No real socket in a simulation.")

    _make_ssl_transport = _make_datagram_transport = _make_socket_transport
    _make_read_pipe_transport = _make_write_pipe_transport = _make_socket_transport

    def _add_reader(self, *_: Any) -> NoReturn:
        raise AssertionError("No real socket in a simulation.")


def _make_task(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    context: Context | None = None,
) -> SimulatedTask:
    assert isinstance(loop, VirtualLoop)
    return SimulatedTask(coro, loop=loop, name=None, context=context)
