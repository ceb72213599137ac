"""Background work: the contract that all of it keeps.

A worker does bounded steps (``work``) and says after each whether more is there; between them
it waits (``wait``).  A step is rarely interrupted, a wait always may be.  The runner is
``roles.runtime.workers``.  Source: Garage's ``Worker`` (``src/util/background/worker.rs``).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from collective.core.backoff import Backoff
from collective.core.errors import CollectiveError

T = TypeVar("T")


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
        has_work: Callable[[], bool] = lambda: True,
    ) -> None:
        """Call ``step`` every ``period_s`` seconds.

        Args:
            name: As status and metrics show it.
            period_s: Seconds between the end of one round and the next.
            step: Returns True when it is to be called again at once.
            wake: Set to begin before the time.
            sleeps_first: Begin with a wait.
            has_work: While it returns False, only ``wake`` begins a round.
        """
        self.name = name
        self._backoff = Backoff()
        self._period_s = period_s
        self._step = step
        self._wake = wake or asyncio.Event()
        self._sleeps = sleeps_first
        self._has_work = has_work

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
        if self._has_work():
            await pause(self._wake, self._period_s)
        else:
            await self._wake.wait()
            self._wake.clear()


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
