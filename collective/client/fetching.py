"""Fetching one chunk: from the best copy, round those that are missing, damaged or silent.

A copy that shows no sign of life for ``stall_s`` is raced by the next one, and gone round from
then on.  Bytes are verified by the transport against the chunk's id and unwrapped here.  When no
copy that was planned can be read, a new plan is asked for (relayed, if direct never worked) until
``give_up_s`` are over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from collective.chunking.envelope import open_plain
from collective.client.routing import storing_nodes
from collective.client.session import Buffer, Session
from collective.core.errors import (
    CollectiveError,
    CorruptionError,
    NotEnoughCopiesError,
    NotFoundError,
    RejectedError,
    UnreachableError,
    first_error,
)
from collective.rpc.gen.collective.v1.reads import (
    CopyProblem,
    ExtentPlan,
    PlanReadRequest,
    ReportCopyRequest,
)
from collective.rpc.gen.collective.v1.transfer import Extent, Route, RouteMode

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
    latest: str = ""
    """The node that was asked last."""
    news: asyncio.Event = field(default_factory=asyncio.Event)


class ChunkFetch:
    """One chunk on its way out."""

    def __init__(self, session: Session, lease_id: str, plan: ExtentPlan, mode: RouteMode) -> None:
        """Fetch what ``plan`` says, under a read's lease; ``mode`` is what the plan was for."""
        assert plan.extent is not None
        self._session = session
        self._lease_id = lease_id
        self._extent: Extent = plan.extent
        self._routes: Sequence[Route] = plan.routes
        self._mode = mode
        self._errors: list[CollectiveError] = []
        self._reports: list[tuple[str, CopyProblem]] = []

    async def run(self) -> Fetched:
        """Return the chunk's plain bytes, verified.

        Raises CorruptionError where every copy is damaged, else NotEnoughCopiesError where none
        could be read.  Cancellation leaves no buffer behind.
        """
        clock = self._session.clock
        until_s = clock.monotonic_s() + self._session.options.give_up_s
        while True:
            race = _Race(self._session.health.best_first(self._routes))
            try:
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
                until_s = clock.monotonic_s() + self._session.options.give_up_s
            else:
                if clock.monotonic_s() + PAUSE_S > until_s:
                    raise self._failure()
                await asyncio.sleep(PAUSE_S)
            await self._plan_again()

    def _is_outdated(self) -> bool:
        """Whether the routes go a way that was found meanwhile to lead nowhere."""
        return self._session.choice.mode is not self._mode

    async def _race(self, race: _Race) -> None:
        session = self._session
        tick_s = session.options.stall_s / 4
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []

            def start() -> None:
                route = race.waiting.pop(0)
                nodes = storing_nodes(route)
                race.latest = nodes[-1] if nodes else ""
                race.started_s = session.clock.monotonic_s()
                race.running += 1
                tasks.append(group.create_task(self._get(race, route, race.latest)))

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
        health = self._session.health
        if health.silent_s(race.latest, race.started_s) < self._session.options.stall_s:
            return False
        health.avoid(race.latest)
        return True

    async def _get(self, race: _Race, route: Route, node: str) -> None:
        """Try one copy; errors are kept, not raised."""
        try:
            buffer = await self._session.transport.get(
                route, on_progress=lambda _: self._session.health.alive(node)
            )
            self._session.health.alive(node)
            self._session.choice.worked(self._mode)
            fetched = self._unwrap(buffer)
            if race.winner is None:
                race.winner = fetched
            else:
                fetched.release()
        except CollectiveError as error:
            self._note(node, error)
        finally:
            race.running -= 1
            race.news.set()

    def _unwrap(self, buffer: Buffer) -> Fetched:
        try:
            plain = open_plain(buffer.view)
        except CorruptionError:
            buffer.release()
            raise
        if len(plain) != self._extent.length:
            buffer.release()
            raise CorruptionError("A chunk is not as long as the file's extent says.")
        return Fetched(buffer, plain)

    def _note(self, node: str, error: CollectiveError) -> None:
        self._errors.append(error)
        match error:
            case CorruptionError():
                self._reports.append((node, CopyProblem.CORRUPT))
            case NotFoundError():
                self._reports.append((node, CopyProblem.MISSING))
            case UnreachableError():
                self._session.choice.unreachable(self._mode, node)
            case _:
                pass

    async def _plan_again(self) -> None:
        """Ask where the copies are now; it renews tickets and the lease, too."""
        mode = self._session.choice.mode
        answer = await self._session.control.persist(
            self._session.reads.plan_read,
            PlanReadRequest(
                lease_id=self._lease_id, offset=self._extent.offset, length=1, mode=mode
            ),
        )
        for plan in answer.plans:
            if plan.extent is not None and plan.extent.chunk_id == self._extent.chunk_id:
                self._routes, self._mode = plan.routes, mode
                return
        raise RejectedError("The coordinator planned another chunk than the one asked for.")

    async def _report(self) -> None:
        """Tell the coordinator which copies are bad; a hint, so no error matters."""
        reports, self._reports = self._reports, []
        for node, problem in reports:
            request = ReportCopyRequest(
                lease_id=self._lease_id,
                chunk_id=self._extent.chunk_id,
                node=node,
                problem=problem,
            )
            try:
                async with asyncio.timeout(REPORT_TIMEOUT_S):
                    await self._session.control.call(self._session.reads.report_copy, request)
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
