"""Giving up: what is not needed any more is deleted once others have proved that they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from collective.catalog.interface import Nodes
from collective.catalog.model import Settled
from collective.placement.challenges import Verdict
from collective.placement.choose import has_room
from collective.placement.healing import ChunkCopies, CopyState, Facts, GivenUp
from collective.roles.coordinator.challenger import Ask, Challenger
from collective.roles.coordinator.metrics import CoordinatorMetrics
from collective.roles.coordinator.nodes import NodeTable
from collective.roles.coordinator.verification import note
from collective.roles.coordinator.wake import Wakes
from collective.roles.runtime.workers import BUSY, IDLE, Outcome, Worker

BATCH: Final = 8
IDLE_S: Final = 5.0


class GivingUp(Worker):
    """Confirms the others of copies that were given up, and has those deleted or taken back."""

    name = "giving up"

    def __init__(
        self,
        *,
        catalog: Nodes,
        table: NodeTable,
        challenger: Challenger,
        metrics: CoordinatorMetrics,
        wakes: Wakes,
        reload: Callable[[], Awaitable[None]],
    ) -> None:
        """Settle what the catalogue keeps under a guard."""
        self._catalog = catalog
        self._table = table
        self._challenger = challenger
        self._metrics = metrics
        self._wakes = wakes
        self._reload = reload

    async def work(self) -> Outcome:
        """Settle a batch; what is cut off is done again."""
        return BUSY if await self.step() else IDLE

    async def wait(self) -> None:
        """Wait until more may be due."""
        await asyncio.sleep(IDLE_S)

    async def step(self) -> bool:
        """Settle a batch of what is due; return whether there may be more."""
        due = await self._catalog.claim_given_up(BATCH)
        facts = self._table.facts(self._challenger.mute())
        asks = [_ask(chunk, given, facts) for chunk, given in due]
        proved = await self._challenger.prove(asks) if asks else []
        for (chunk, given), verdicts in zip(due, proved, strict=True):
            await note(self._catalog, chunk, verdicts, self._reload)
            settled = await self._catalog.settle_given_up(
                chunk,
                given,
                {name for name, verdict in verdicts.items() if verdict is Verdict.PROVEN},
                self._table.facts(self._challenger.mute()),
                lacks_room=self._lacks_room(chunk, given),
            )
            self._metrics.given_up.labels(settled.value).inc()
            bad = {Verdict.MISSING, Verdict.CORRUPT, Verdict.LIED}
            if settled is Settled.KEPT and bad & set(verdicts.values()):
                self._wakes.repair.set()
        return len(due) == BATCH

    def _lacks_room(self, chunk: ChunkCopies, given: GivenUp) -> bool:
        return any(
            one.node == given.node and not has_room(one, chunk.stored_length)
            for one in self._table.candidates()
        )


def _ask(chunk: ChunkCopies, given: GivenUp, facts: Facts) -> Ask:
    """Ask the copy itself, where it may be good, and all that could take its place."""

    def answers(copy: GivenUp) -> bool:
        return copy.node in facts and facts[copy.node].answers

    names = [given.name] if answers(given) else []
    names += [
        copy.name
        for copy in chunk.copies
        if copy.state is CopyState.STORED
        and copy.node in facts
        and facts[copy.node].counts
        and facts[copy.node].answers
    ]
    return Ask(chunk, tuple(names), witness=given.name)
