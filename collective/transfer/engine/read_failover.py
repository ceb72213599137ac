"""Fetching one chunk: from the best copy, and from another where one is missing, damaged or silent.

A copy that shows no sign of life for ``stall_s`` is raced by the next one, and its node avoided from
then on.  Bytes are verified by the transport against the chunk's id and unwrapped here.  When no
copy that was planned can be read, a new plan is asked for (relayed, if direct never worked) until
``give_up_s`` are over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from collective.chunking.codec import codec_of
from collective.core.errors import (
    CollectiveError,
    CorruptionError,
    NotEnoughCopiesError,
    NotFoundError,
    RejectedError,
    UnreachableError,
    first_error,
)
from collective.core.ids import LeaseId, SpiffeId
from collective.model.calls import Call
from collective.model.routes import Route, RouteMode
from collective.model.transfers import CopyProblem, ExtentPlan
from collective.transfer.engine.control import ReadControl
from collective.transfer.engine.engine import Buffer, Engine

PAUSE_S: Final = 0.3
"""Before a new plan is asked for."""
REPORT_TIMEOUT_S: Final = 1.0


@dataclass(slots=True)
class Fetched:
    """A verified piece of a file; release the buffer when the bytes have been used."""

    buffer: Buffer
    plain: memoryview

    def release(self) -> None:
        """Give the memory back."""
        self.plain = self.plain[:0]
        self.buffer.release()


@dataclass(slots=True)
class _Race:
    """The routes of one plan, tried one after the other, the slow ones not given up."""

    waiting: list[Route]
    winner: Fetched | None = None
    running: int = 0
    started_s: float = 0.0
    latest: SpiffeId | None = None
    """The node that was asked last."""
    news: asyncio.Event = field(default_factory=asyncio.Event)


class ChunkFetch:
    """One chunk on its way out."""

    def __init__(
        self,
        engine: Engine,
        control: ReadControl,
        call: Call,
        lease: LeaseId,
        plan: ExtentPlan,
        mode: RouteMode,
    ) -> None:
        """Fetch what ``plan`` says, under a read's lease; ``mode`` is what the plan was for."""
        self._engine = engine
        self._control = control
        self._call = call
        self._lease = lease
        self._extent = plan.extent
        self._routes: Sequence[Route] = plan.routes
        self._mode = mode
        self._errors: list[CollectiveError] = []
        self._reports: list[tuple[SpiffeId, CopyProblem]] = []

    async def run(self) -> Fetched:
        """Return the chunk's plain bytes, verified.

        Raises CorruptionError where every copy is damaged, else NotEnoughCopiesError where none
        could be read.  Cancellation leaves no buffer behind.
        """
        clock = self._engine.clock
        until_s = clock.monotonic_s() + self._engine.options.give_up_s
        while True:
            race = _Race(self._engine.health.best_first(self._routes))
            try:
                with self._engine.trial.told(race.news):
                    await self._race(race)
                if race.winner is not None:
                    await self._report()
                    return race.winner
            except BaseExceptionGroup as group:
                if race.winner is not None:
                    race.winner.release()
                raise first_error(group) from group
            except BaseException:
                if race.winner is not None:
                    race.winner.release()
                raise
            if self._is_outdated():
                until_s = clock.monotonic_s() + self._engine.options.give_up_s
            else:
                if clock.monotonic_s() + PAUSE_S > until_s:
                    raise self._failure()
                await asyncio.sleep(PAUSE_S)
            await self._plan_again()

    def _is_outdated(self) -> bool:
        """Whether the routes go a way that was found meanwhile to lead nowhere."""
        return self._mode is RouteMode.DIRECT and self._engine.choice.mode is RouteMode.RELAY

    async def _race(self, race: _Race) -> None:
        engine = self._engine
        tick_s = engine.options.stall_s / 4
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []

            def start() -> None:
                route = race.waiting.pop(0)
                self._engine.trial.begin(route)
                node = route.storing[-1]
                race.latest = node
                race.started_s = engine.clock.monotonic_s()
                race.running += 1
                tasks.append(group.create_task(self._get(race, route, node)))

            try:
                while (
                    race.winner is None
                    and (race.running or race.waiting)
                    and not self._is_outdated()
                ):
                    race.news.clear()
                    if race.waiting and (not race.running or self._is_silent(race)):
                        start()
                    try:
                        async with asyncio.timeout(tick_s):
                            await race.news.wait()
                    except TimeoutError:
                        continue
            finally:
                for task in tasks:
                    task.cancel()

    def _is_silent(self, race: _Race) -> bool:
        health = self._engine.health
        if race.latest is None:
            return False
        if health.silent_s(race.latest, race.started_s) < self._engine.options.stall_s:
            return False
        health.avoid(race.latest)
        return True

    async def _get(self, race: _Race, route: Route, node: SpiffeId) -> None:
        """Try one copy; errors are kept, not raised."""
        try:
            buffer = await self._engine.chunks.get(
                route, on_progress=lambda _: self._engine.health.alive(node)
            )
            self._engine.health.alive(node)
            self._engine.choice.worked(route.mode)
            fetched = self._unwrap(buffer)
            if race.winner is None:
                race.winner = fetched
            else:
                fetched.release()
        except CollectiveError as error:
            self._note(route, node, error)
        finally:
            race.running -= 1
            race.news.set()

    def _unwrap(self, buffer: Buffer) -> Fetched:
        try:
            plain = codec_of(self._extent.format).open(buffer.view)
        except CorruptionError:
            buffer.release()
            raise
        if len(plain) != self._extent.length:
            buffer.release()
            raise CorruptionError("A chunk is not as long as the file's extent says.")
        return Fetched(buffer, plain)

    def _note(self, route: Route, node: SpiffeId, error: CollectiveError) -> None:
        self._errors.append(error)
        match error:
            case CorruptionError():
                self._reports.append((node, CopyProblem.CORRUPT))
            case NotFoundError():
                self._reports.append((node, CopyProblem.MISSING))
            case UnreachableError():
                self._engine.choice.unreachable(route.mode, node)
            case _:
                pass

    async def _plan_again(self) -> None:
        """Ask where the copies are now; it renews tickets and the lease, too."""
        mode = self._engine.choice.mode
        answer = await self._control.plan_read(
            self._call, self._lease, offset=self._extent.offset, length=1, mode=mode
        )
        for piece in answer.pieces:
            if isinstance(piece, ExtentPlan) and piece.extent.chunk == self._extent.chunk:
                self._routes, self._mode = piece.routes, mode
                return
        raise RejectedError("The coordinator planned another chunk than the one asked for.")

    async def _report(self) -> None:
        """Tell the coordinator which copies are bad; a hint, so no error matters."""
        reports, self._reports = self._reports, []
        for node, problem in reports:
            try:
                async with asyncio.timeout(REPORT_TIMEOUT_S):
                    await self._control.report_copy(
                        self._call, self._lease, self._extent.chunk, node, problem
                    )
            except (CollectiveError, TimeoutError):
                return

    def _failure(self) -> CollectiveError:
        where = f"bytes {self._extent.offset} to {self._extent.offset + self._extent.length}"
        if self._errors and all(isinstance(e, CorruptionError) for e in self._errors):
            return CorruptionError(
                f"Every copy of {where} is damaged; restore the file from another source."
            )
        reason = f" ({self._errors[-1].message})" if self._errors else ""
        return NotEnoughCopiesError(
            f"No copy of {where} can be read now{reason};"
            " check the nodes with 'collective node list' and read again."
        )
