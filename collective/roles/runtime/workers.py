"""Background work: one contract and one runner for all of it.

A worker does bounded steps (``work``) and says after each whether more is there; between them it waits
(``wait``).  A step is rarely interrupted, a wait always may be.  The runner owns when steps happen: a
worker's share of the event loop's time, its back-off after a failure, its figures in metrics and
``status``, and its end.  It refuses to let a worker's failure end the process: an expected error is
told once, an unexpected one with its traceback, and the worker is tried again later.

Source: the contract is Garage's ``Worker`` (``src/util/background/worker.rs``).
"""

from __future__ import annotations

import asyncio
import types
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from collective.core.backoff import Backoff
from collective.core.clock import Clock
from collective.core.errors import CollectiveError
from collective.core.randomness import Randomness
from collective.roles.runtime.metrics import Metrics

T = TypeVar("T")

SHARE: Final = 0.25
"""The part of the event loop's time that a worker may take while it is busy."""
REST_MOST_S: Final = 1.0
STOP_GRACE_S: Final = 2.0
"""How long a step may go on after the process was told to stop."""
CANCEL_GRACE_S: Final = 1.0
"""How long a step may take to end once it was cancelled."""
FAILING_WARNING_S: Final = 300.0
STEP_WARNING_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step says of those to come; use :data:`BUSY`, :data:`IDLE` or :meth:`rest`."""

    is_busy: bool
    rest_s: float = 0.0
    """Seconds before the next step, which nothing shortens."""

    @classmethod
    def rest(cls, seconds: float) -> Outcome:
        """More is there, in ``seconds`` at the earliest."""
        return cls(is_busy=True, rest_s=seconds)


BUSY: Final = Outcome(is_busy=True)
"""More is there: the next step follows as soon as the worker's share of time allows."""
IDLE: Final = Outcome(is_busy=False)
"""Nothing is there: the next step follows when ``wait`` returns."""


class Worker(ABC):
    """Work that goes on in the background for as long as the process runs."""

    name: str
    """Unique in its role; a word or two for people."""

    @property
    def backoff(self) -> Backoff:
        """How long to wait after steps that failed."""
        return Backoff()

    @abstractmethod
    async def work(self) -> Outcome:
        """Do one bounded step.

        Cancelled only where the process stops and the step outlasts its grace; what is half done
        then must be as harmless as a crash.  Raises CollectiveError when the step failed.
        """

    @abstractmethod
    async def wait(self) -> None:
        """Return when there may be work; may be cancelled at any moment, and loses nothing by it."""

    def queue(self) -> int | None:
        """Return how many items are known to wait; None where that has no meaning."""
        return None


class Periodic(Worker):
    """Calls one function again and again."""

    def __init__(
        self,
        name: str,
        period_s: float,
        step: Callable[[], Awaitable[bool | None]],
        *,
        wake: asyncio.Event | None = None,
        sleeps_first: bool = False,
        backoff: Backoff | None = None,
    ) -> None:
        """Call ``step`` every ``period_s`` seconds.

        Args:
            name: As status and metrics show it.
            period_s: Seconds between the end of one round and the next.
            step: Returns True when it is to be called again at once.
            wake: Set to begin before the time.
            sleeps_first: Begin with a wait.
            backoff: Another one than the default.
        """
        self.name = name
        self._backoff = backoff or Backoff()
        self._period_s = period_s
        self._step = step
        self._wake = wake or asyncio.Event()
        self._sleeps = sleeps_first

    @property
    def backoff(self) -> Backoff:
        """How long to wait after rounds that failed."""
        return self._backoff

    async def work(self) -> Outcome:
        """Call the function, save before the first wait of one that begins with it."""
        if self._sleeps:
            self._sleeps = False
            return IDLE
        return BUSY if await self._step() else IDLE

    async def wait(self) -> None:
        """Wait for the period's end or for the event."""
        await pause(self._wake, self._period_s)


async def pause(event: asyncio.Event, at_most_s: float) -> bool:
    """Wait until ``event`` is set or ``at_most_s`` seconds passed; clears it and tells if it was set."""
    try:
        async with asyncio.timeout(at_most_s):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True


async def retry(
    attempt: Callable[[], Awaitable[T]],
    passing: tuple[type[CollectiveError], ...],
    backoff: Backoff,
    uniform: Callable[[], float],
    *,
    failed: Callable[[CollectiveError], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Return what ``attempt`` returns once it works; for what must be done before anything else.

    Args:
        attempt: Called until it raises none of ``passing``.
        passing: Errors after which it is tried again; any other is raised.
        backoff: How long to wait between two attempts.
        uniform: Gives random numbers in [0, 1).
        failed: Told of every error that passed.
        sleep: Waits for so many seconds.
    """
    failures = 0
    while True:
        try:
            return await attempt()
        except passing as error:
            failed(error)
        failures += 1
        await sleep(backoff.delay_s(failures, uniform()))


class State(Enum):
    """What a worker does; the value is the word of status and metrics."""

    WORKING = "working"
    WAITING = "waiting"
    RESTING = "resting"
    FAILING = "failing"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Report:
    """One worker at one moment."""

    name: str
    state: State
    last_success_ms: int
    """Unix milliseconds; 0: no step has succeeded yet."""
    queue: int | None
    error: str
    """Why the last step failed; empty when it did not."""
    next_s: float | None
    """Seconds to the next step where that is known."""
    failing_s: float
    """For how long no step has succeeded; 0 when the last one did."""
    step_s: float
    """How long the step has taken that is under way; 0 when none is."""


def report_warnings(reports: Iterable[Report]) -> list[str]:
    """Return what the operator should know of workers, one sentence each."""
    found = []
    for report in reports:
        if report.failing_s >= FAILING_WARNING_S:
            found.append(
                f"The worker '{report.name}' has failed for {report.failing_s / 60:.0f} minutes: "
                f"{report.error}"
            )
        elif report.step_s >= STEP_WARNING_S:
            found.append(
                f"The worker '{report.name}' has been at one step for {report.step_s / 60:.0f} "
                "minutes; see the log."
            )
    return found


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
