"""Giving up: what is not needed any more is deleted once others have proved that they are there.

Nodes have turns, so that one with very many copies to settle holds up no other.  Nothing is asked where
no answer could settle anything, nor of a node that lately did not answer; what the nodes read for it has
a budget, as verification and repair have.
"""

from __future__ import annotations

import asyncio
from typing import Final

from collective.catalog.interface import GuardedCopies
from collective.core.buckets import Budget
from collective.core.work import BUSY, IDLE, Outcome, Worker
from collective.member.care.challenger import Ask, Challenger
from collective.member.care.tools import CareTools
from collective.member.care.verdict_book import VerdictBook
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.copies import ChunkCopies, GivenUp, Verdict
from collective.placement.healing import worth_asking
from collective.placement.node_choice import has_room

BATCH: Final = 8
RATE_BYTES_S: Final = 50e6
"""What nodes read for it on average, all together."""
BURST_BYTES: Final = 64e6
IDLE_S: Final = 5.0


class GuardedDeletes(Worker):
    """Confirms the others of copies that were given up, and has those deleted or taken back."""

    name = "giving up"

    def __init__(
        self,
        guarded: GuardedCopies,
        nodes: LiveNodes,
        challenger: Challenger,
        verdicts: VerdictBook,
        tools: CareTools,
    ) -> None:
        """Settle what ``guarded`` has."""
        self._guarded = guarded
        self._nodes = nodes
        self._challenger = challenger
        self._verdicts = verdicts
        self._metrics = tools.metrics
        self._clock = tools.clock
        self._budget = Budget.full(RATE_BYTES_S, BURST_BYTES, tools.clock.monotonic_s())

    async def work(self) -> Outcome:
        """Settle a batch; what is cut off is done again."""
        self._budget = self._budget.at(self._clock.monotonic_s())
        if self._budget.wait_s() > 0:
            return Outcome.rest(self._budget.wait_s())
        return BUSY if await self.step() else IDLE

    async def wait(self) -> None:
        """Wait until more may be due."""
        await asyncio.sleep(IDLE_S)

    async def step(self) -> bool:
        """Settle a batch of what is due; return whether there may be more."""
        due = await self._guarded.claim(BATCH)
        facts = self._nodes.facts(self._challenger.mute())
        asks = []
        for chunk, given in due:
            lacks_room = self._lacks_room(chunk, given)
            names = worth_asking(chunk, given, facts, lacks_room=lacks_room)
            self._budget = self._budget.spend(chunk.stored_length * len(names))
            asks.append(Ask(chunk, names, witness=given.name))
        proved = await self._challenger.prove(asks)
        for (chunk, given), verdicts in zip(due, proved, strict=True):
            await self._verdicts.note(chunk, verdicts)
            settled = await self._guarded.settle(
                chunk,
                given,
                {name for name, verdict in verdicts.items() if verdict is Verdict.PROVEN},
                self._nodes.facts(self._challenger.mute()),
                lacks_room=self._lacks_room(chunk, given),
            )
            self._metrics.given_up.labels(settled.value).inc()
        return bool(due)

    def _lacks_room(self, chunk: ChunkCopies, given: GivenUp) -> bool:
        return any(
            one.node == given.node and not has_room(one, chunk.stored_length)
            for one in self._nodes.candidates()
        )
