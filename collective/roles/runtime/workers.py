"""The one runner of all background work, whose contract is ``core.work``.

The runner owns when steps happen: a worker's share of the event loop's time, its back-off after a
failure, its figures in metrics and ``status``, and its end.  It refuses to let a worker's failure end the
process: an expected error is told once, an unexpected one with its traceback, and the worker is tried
again later.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from functools import partial
from typing import Any, Final

import structlog

from collective.core.clock import Clock
from collective.core.errors import CollectiveError, InternalError
from collective.core.randomness import Randomness
from collective.core.work import Outcome, Report, State, T, Worker
from collective.roles.runtime.metrics import Metrics

SHARE: Final = 0.25
"""The part of the event loop's time that a worker may take while it is busy."""
REST_MOST_S: Final = 1.0
STOP_GRACE_S: Final = 2.0
"""How long a step may go on after the process was told to stop."""
CANCEL_GRACE_S: Final = 1.0
"""How long a step may take to end once it was cancelled."""


class _Entry:
    """A worker and what the runner knows of it."""

    def __init__(self, worker: Worker, share: float) -> None:
        self.worker = worker
        self.share = share
        self.state = State.WAITING
        self.failures = 0
        self.error = ""
        self.failing_since_s = 0.0
        self.step_since_s = 0.0
        self.due_s: float | None = None
        self.last_success_ms = 0
        self.task: asyncio.Task[None] | None = None

    @property
    def is_at_a_step(self) -> bool:
        return self.state is State.WORKING


class Workers:
    """Runs the workers of one role."""

    def __init__(
        self,
        role: str,
        metrics: Metrics,
        clock: Clock,
        randomness: Randomness,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Begin with none; ``role`` names the role in metrics and the log."""
        self._role = role
        self._metrics = metrics.workers
        self._clock = clock
        self._randomness = randomness
        self._sleep = sleep
        self._entries: dict[str, _Entry] = {}
        self._stopping = False
        self._log = structlog.get_logger(f"{role}.workers")

    def start(
        self,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        workers: Iterable[Worker],
        *,
        share: float = SHARE,
    ) -> None:
        """Run ``workers`` from now on.

        Args:
            spawn: Makes a named task that lives as long as the process.
            workers: What to run; names are unique.
            share: The part of the event loop's time that each may take while it is busy.
        """
        for worker in workers:
            assert worker.name not in self._entries, worker.name
            entry = self._entries[worker.name] = _Entry(worker, share)
            self._metrics.state(self._role, worker.name, entry.state.value)
            entry.task = spawn(self._serve(entry), f"{self._role}: {worker.name}")

    async def stop(
        self, grace_s: float = STOP_GRACE_S, cancel_grace_s: float = CANCEL_GRACE_S
    ) -> None:
        """End all: waits at once, steps after ``grace_s`` seconds at the latest.

        A step that does not even end when it is cancelled is left alone after ``cancel_grace_s``.
        """
        self._stopping = True
        for entry in self._entries.values():
            if entry.task is not None and not entry.is_at_a_step:
                entry.task.cancel()
        for timeout_s in (grace_s, cancel_grace_s):
            left = [one.task for one in self._entries.values() if one.task and not one.task.done()]
            if not left:
                return
            _, pending = await asyncio.wait(left, timeout=timeout_s)
            for task in pending:
                task.cancel()
        for entry in self._entries.values():
            if entry.task is not None and not entry.task.done():
                self._log.warning("worker_left_alone", worker=entry.worker.name)

    def reports(self) -> Sequence[Report]:
        """Return what each worker does at this moment, in the order of starting."""
        now_s = self._clock.monotonic_s()
        return [
            Report(
                name=entry.worker.name,
                state=entry.state,
                last_success_ms=entry.last_success_ms,
                queue=entry.worker.queue(),
                error=entry.error,
                next_s=None if entry.due_s is None else max(0.0, entry.due_s - now_s),
                failing_s=now_s - entry.failing_since_s if entry.failures else 0.0,
                step_s=now_s - entry.step_since_s if entry.is_at_a_step else 0.0,
            )
            for entry in self._entries.values()
        ]

    async def _serve(self, entry: _Entry) -> None:
        try:
            while not self._stopping:
                await self._pause(entry, await self._step(entry))
        finally:
            self._enter(entry, State.STOPPED)

    async def _step(self, entry: _Entry) -> Outcome | None:
        """Do one step; return None when it failed."""
        self._enter(entry, State.WORKING)
        entry.step_since_s = self._clock.monotonic_s()
        spent_s = 0.0

        def spend(seconds: float) -> None:
            nonlocal spent_s
            spent_s += seconds

        try:
            outcome = await _metered(entry.worker.work(), self._clock.monotonic_s, spend)
        except asyncio.CancelledError:
            if self._stopping or _is_being_cancelled():
                raise
            self._failed(entry, InternalError("What the step waited for was cancelled."))
            return None
        except Exception as error:  # noqa: BLE001 - the edge of a worker: it goes on
            self._failed(entry, error)
            return None
        finally:
            self._metrics.step(self._role, entry.worker.name, spent_s)
        self._succeeded(entry)
        if not outcome.is_busy:
            return outcome
        return Outcome.rest(max(outcome.rest_s, min(spent_s / entry.share - spent_s, REST_MOST_S)))

    async def _pause(self, entry: _Entry, outcome: Outcome | None) -> None:
        if self._stopping:
            return
        if outcome is None:
            delay_s = entry.worker.backoff.delay_s(entry.failures, self._randomness.uniform())
            await self._idle(entry, State.FAILING, delay_s)
        elif outcome.is_busy:
            await self._idle(entry, State.RESTING, outcome.rest_s)
        else:
            self._enter(entry, State.WAITING)
            try:
                await entry.worker.wait()
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(entry, error)
                await self._pause(entry, None)

    async def _idle(self, entry: _Entry, state: State, seconds: float) -> None:
        self._enter(entry, state)
        entry.due_s = self._clock.monotonic_s() + seconds
        await self._sleep(seconds)

    def _enter(self, entry: _Entry, state: State) -> None:
        entry.state = state
        entry.due_s = None
        self._metrics.state(self._role, entry.worker.name, state.value)

    def _succeeded(self, entry: _Entry) -> None:
        if entry.failures:
            self._log.info("worker_recovered", worker=entry.worker.name, failures=entry.failures)
        entry.failures, entry.error = 0, ""
        now_s = self._clock.wall_s()
        entry.last_success_ms = int(now_s * 1000)
        self._metrics.succeeded(self._role, entry.worker.name, now_s, entry.worker.queue())

    def _failed(self, entry: _Entry, error: Exception) -> None:
        expected = isinstance(error, CollectiveError)
        why = error.message if isinstance(error, CollectiveError) else _unexpected(error)
        if not entry.failures:
            entry.failing_since_s = self._clock.monotonic_s()
        entry.failures += 1
        if not expected:
            self._log.error("worker_broke", worker=entry.worker.name, why=why, exc_info=error)
        elif why != entry.error:
            self._log.warning("worker_failed", worker=entry.worker.name, why=why)
        entry.error = why
        code = error.code if isinstance(error, CollectiveError) else type(error).__name__
        self._metrics.failed(self._role, entry.worker.name, code)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _unexpected(error: Exception) -> str:
    return f"an unexpected {type(error).__name__}; see the log."


@types.coroutine
def _metered(
    step: Coroutine[Any, Any, T],
    now_s: Callable[[], float],
    spend: Callable[[float], None],
) -> Generator[Any, Any, T]:
    """Run ``step`` and tell how long it kept the event loop, each time that it did."""
    resume: Callable[[], Any] = partial(step.send, None)
    while True:
        began_s = now_s()
        try:
            awaited = resume()
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            spend(now_s() - began_s)
        try:
            yield awaited
        except BaseException as error:  # noqa: BLE001 - passed on to the step as it is
            resume = partial(step.throw, error)
        else:
            resume = partial(step.send, None)
