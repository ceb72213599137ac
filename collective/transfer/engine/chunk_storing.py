"""Storing one chunk: along its routes, avoiding nodes that hang, until it is safe.

A chunk is done when every planned copy is confirmed, or when a quorum is and nothing that still
lacks gives a sign of life.  A hop that fails, or is silent for ``stall_s``, is avoided by asking
for another route; what it may still confirm counts as well.  Below the quorum, ways are looked for
until ``give_up_s`` pass without news.  Every route's task ends before :meth:`ChunkStoring.run`
returns, so the caller may reuse the chunk's buffer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from typing import Final

from collective.core.errors import (
    BusyError,
    CollectiveError,
    NoSpaceError,
    NotEnoughCopiesError,
    UnreachableError,
)
from collective.core.ids import SpiffeId, UploadId
from collective.model.calls import Call
from collective.model.extents import Extent
from collective.model.routes import PutAnswer, Route, RouteMode, SignedReceipt
from collective.model.transfers import ChunkPlan
from collective.transfer.engine.allocation import PAUSE_S, allocate
from collective.transfer.engine.control import UploadControl
from collective.transfer.engine.engine import Engine, Sending
from collective.transfer.tickets.refusals import TicketExpiredError, TicketRefusedError

ROUNDS_MAX: Final = 4
"""With a quorum, other routes for the copies that lack are asked for so often."""
TICK_S: Final = 0.25
"""How often a chunk that waits looks at the clock."""


class Step(Enum):
    """What to do next about a chunk."""

    DONE = "done"
    WAIT = "wait"
    REROUTE = "reroute"
    FAIL = "fail"


def next_step(
    *,
    confirmed: int,
    quorum: int,
    wanted: int,
    hopeful: int,
    may_reroute: bool,
    given_up: bool,
) -> Step:
    """Decide, from counts of copies alone.

    ``hopeful`` copies are under way and their nodes show signs of life; ``may_reroute`` says
    whether asking for another route makes sense now; ``given_up`` that it has been too quiet.
    """
    if confirmed >= wanted and confirmed >= quorum:
        return Step.DONE
    if confirmed + hopeful >= max(wanted, quorum):
        return Step.WAIT
    if given_up and not hopeful:
        return Step.DONE if confirmed >= quorum else Step.FAIL
    if may_reroute:
        return Step.REROUTE
    return Step.DONE if confirmed >= quorum and not hopeful else Step.WAIT


@dataclass(slots=True)
class _Leg:
    """One route on its way."""

    route: Route
    mode: RouteMode
    waiting: list[SpiffeId]
    """Nodes that have not answered, in order of hops."""
    moved_s: float
    sending: Sending | None = None
    progress_s: float = 0.0
    ended: bool = False
    stalled: bool = False
    busy: bool = False
    broken: bool = False
    """A hop has failed; the hops behind it then fail with it."""

    @property
    def is_hopeful(self) -> bool:
        return not self.ended and not self.stalled


class ChunkStoring:
    """The state of one chunk's way to its copies."""

    def __init__(
        self,
        engine: Engine,
        control: UploadControl,
        call: Call,
        upload: UploadId,
        extent: Extent,
        parts: Sequence[memoryview | bytes],
    ) -> None:
        """Prepare to send ``parts``, which must not change until :meth:`run` returns."""
        self._engine = engine
        self._control = control
        self._call = call
        self._upload = upload
        self._extent = extent
        self._parts = parts
        self._legs: list[_Leg] = []
        self._receipts: dict[SpiffeId, SignedReceipt] = {}
        self._refused: set[SpiffeId] = set()
        """Nodes that refused a ticket for this chunk."""
        self._held = 0
        self._wanted = 0
        self._quorum = 1
        self._error: CollectiveError | None = None
        self._news = asyncio.Event()
        self._news_s = 0.0
        self._ask_again_s = 0.0
        self._busy_rounds = 0
        self._rounds = 0

    async def run(self, plan: ChunkPlan) -> list[SignedReceipt]:
        """Send along ``plan``; return every receipt got.

        Raises NotEnoughCopiesError when a quorum cannot be had, NoSpaceError when disks are full.
        """
        self._held = plan.held
        self._quorum = plan.quorum
        self._wanted = plan.held + sum(len(route.storing) for route in plan.routes)
        self._news_s = self._engine.clock.monotonic_s()
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []
            try:
                with self._engine.trial.told(self._news):
                    self._start(group, tasks, plan.routes)
                    await self._until_safe(group, tasks)
            finally:
                for task in tasks:
                    task.cancel()
        return list(self._receipts.values())

    async def _until_safe(self, group: asyncio.TaskGroup, tasks: list[asyncio.Task[None]]) -> None:
        engine = self._engine
        tick_s = min(TICK_S, engine.options.stall_s / 4)
        while True:
            self._news.clear()
            self._watch()
            now_s = engine.clock.monotonic_s()
            confirmed = self._held + len(self._receipts)
            step = next_step(
                confirmed=confirmed,
                quorum=self._quorum,
                wanted=self._wanted,
                hopeful=sum(len(leg.waiting) for leg in self._legs if leg.is_hopeful),
                may_reroute=now_s >= self._ask_again_s,
                given_up=now_s - self._news_s >= engine.options.give_up_s,
            )
            match step:
                case Step.DONE:
                    return
                case Step.FAIL:
                    raise self._failure(confirmed)
                case Step.REROUTE:
                    await self._reroute(group, tasks)
                case Step.WAIT:
                    try:
                        async with asyncio.timeout(tick_s):
                            await self._news.wait()
                    except TimeoutError:
                        continue

    def _watch(self) -> None:
        """Note progress, and which legs hang."""
        health, now_s = self._engine.health, self._engine.clock.monotonic_s()
        for leg in self._legs:
            if leg.ended or not leg.waiting:
                continue
            culprit = leg.waiting[0]
            if leg.sending is not None and leg.sending.last_progress_s != leg.progress_s:
                leg.progress_s = leg.sending.last_progress_s
                leg.moved_s = now_s
                leg.stalled = False
                continue
            if self._engine.choice.is_outdated(leg.route):
                self._news_s = self._news_s if leg.stalled else now_s
                leg.stalled = True
                continue
            silent_s = health.silent_s(culprit, leg.moved_s)
            if not leg.stalled and (
                health.is_avoided(culprit) or silent_s >= self._engine.options.stall_s
            ):
                leg.stalled = True
                health.avoid(culprit)

    def _start(
        self, group: asyncio.TaskGroup, tasks: list[asyncio.Task[None]], routes: Sequence[Route]
    ) -> None:
        for route in routes:
            self._engine.trial.begin(route)
            leg = _Leg(
                route=route,
                mode=route.mode,
                waiting=list(route.storing),
                moved_s=self._engine.clock.monotonic_s(),
            )
            self._legs.append(leg)
            tasks.append(group.create_task(self._drive(leg)))

    async def _drive(self, leg: _Leg) -> None:
        """Follow one route to its end; errors are kept, not raised."""
        try:
            sending = self._engine.chunks.put(leg.route, self._parts)
            leg.sending = sending
            leg.progress_s = sending.last_progress_s
            async with aclosing(sending):
                async for result in sending:
                    self._answer(leg, result)
                    self._news.set()
        except CollectiveError as error:
            self._error = error
            if isinstance(error, BusyError):
                leg.busy = True
            elif isinstance(error, UnreachableError):
                self._engine.choice.unreachable(leg.mode, leg.waiting[0] if leg.waiting else None)
            elif leg.waiting:
                self._blame(leg.waiting[0], error)
        finally:
            leg.ended = True
            self._news.set()

    def _answer(self, leg: _Leg, result: PutAnswer) -> None:
        now_s = self._engine.clock.monotonic_s()
        leg.moved_s = now_s
        leg.stalled = False
        self._engine.choice.worked(leg.mode)
        culprit = result.node
        if culprit in leg.waiting:
            leg.waiting.remove(culprit)
        elif leg.waiting:  # a relay that did not get further answers in its own name
            culprit = leg.waiting[0]
        if result.receipt is not None:
            if result.node not in self._receipts:
                self._news_s = now_s
            self._receipts[result.node] = result.receipt
            self._engine.health.alive(result.node)
        elif result.error is not None:
            self._error = result.error
            if isinstance(self._error, BusyError):
                leg.busy = True
            else:
                is_first = not leg.broken  # those behind a hop that failed are not to blame
                if is_first and culprit in leg.route.storing:
                    self._blame(culprit, self._error)
                leg.broken = True

    def _blame(self, node: SpiffeId, error: CollectiveError) -> None:
        """Avoid ``node``, unless it only wants a newer ticket than the one it was shown.

        Tickets end by time, by a revocation and with the key that the coordinator made them under;
        a node that refuses two for one chunk is avoided like any other.
        """
        is_old = isinstance(error, TicketExpiredError | TicketRefusedError)
        if is_old and node not in self._refused:
            self._refused.add(node)
            return
        self._engine.health.avoid(node)

    async def _reroute(self, group: asyncio.TaskGroup, tasks: list[asyncio.Task[None]]) -> None:
        """Find routes for the copies that lack; remember when there are none for now."""
        engine = self._engine
        busy = [leg for leg in self._legs if leg.ended and leg.busy]
        self._legs = [leg for leg in self._legs if not leg.ended]
        if busy and self._busy_rounds * PAUSE_S < engine.options.give_up_s:
            self._busy_rounds += 1
            await asyncio.sleep(PAUSE_S)
            self._start(group, tasks, [leg.route for leg in busy])
            return
        if self._receipts:
            receipts = list(self._receipts.values())
            await self._control.record_extents(self._call, self._upload, (), receipts)
        routes: Sequence[Route] = ()
        try:
            (plan,) = await allocate(
                engine, self._control, self._call, self._upload, [self._extent], patience_s=0.0
            )
            routes = plan.routes
        except NotEnoughCopiesError as error:
            self._error = error
        self._start(group, tasks, routes)
        self._rounds += 1
        enough = self._held + len(self._receipts) >= self._quorum
        if enough and (not routes or self._rounds >= ROUNDS_MAX):
            self._ask_again_s = float("inf")
        else:
            pause_s = (
                min(PAUSE_S, engine.options.stall_s) if self._rounds > 1 or not routes else 0.0
            )
            self._ask_again_s = engine.clock.monotonic_s() + pause_s

    def _failure(self, confirmed: int) -> CollectiveError:
        reason = f" ({self._error.message})" if self._error is not None else ""
        if isinstance(self._error, NoSpaceError):
            return self._error
        return NotEnoughCopiesError(
            f"Only {confirmed} of the {self._quorum} copies that a write needs could be stored"
            f"{reason}; check the nodes with 'collective node list' and write again."
        )
