"""Samples of everything that nodes say they have: a few copies of every node a day, drawn at random."""

from __future__ import annotations

from math import inf
from typing import Final, Protocol

import structlog

from collective.catalog.interface import Catalog
from collective.core.ids import NodeId
from collective.core.work import Periodic, Worker
from collective.member.care.challenger import Ask, Challenger
from collective.member.care.tools import CareTools
from collective.member.care.verdict_book import VerdictBook
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.copies import Verdict
from collective.model.nodes import Standing
from collective.placement.challenges import Record, next_sample_s
from collective.placement.healing import Facts, other_copy

SAMPLE_LOOK_S: Final = 30.0


class ClearsDoubt(Protocol):
    """Where a doubt about a node ends."""

    async def clear(self, node: NodeId) -> None:
        """Give a doubted node the standing that it had before."""
        ...


class Sampler:
    """Challenges a few copies of every node a day, drawn at random.

    It clears nodes that prove themselves, and doubts those that prove nothing for a day.
    """

    def __init__(
        self,
        catalog: Catalog,
        nodes: LiveNodes,
        challenger: Challenger,
        verdicts: VerdictBook,
        approvals: ClearsDoubt,
        tools: CareTools,
    ) -> None:
        """Sample ``nodes``; ``approvals`` end the doubt about one."""
        self._catalog = catalog
        self._nodes = nodes
        self._challenger = challenger
        self._verdicts = verdicts
        self._wakes = tools.wakes
        self._clock = tools.clock
        self._randomness = tools.randomness
        self._approvals = approvals
        self._due_s: dict[NodeId, float] = {}
        self._records: dict[NodeId, Record] = {}
        self._log = structlog.get_logger("coordinator.sampler")

    def worker(self) -> Worker:
        """Return the worker that samples."""
        return Periodic("sampling", SAMPLE_LOOK_S, self._step, sleeps_first=True)

    async def _step(self) -> None:
        await self.step()

    async def step(self) -> int:
        """Sample every node whose turn it is; return how many answered."""
        facts = self._nodes.facts(self._challenger.mute())
        now_s = self._clock.monotonic_s()
        for gone in self._due_s.keys() - facts.keys():
            del self._due_s[gone]
            self._records.pop(gone, None)
        sampled = 0
        for node, about in facts.items():
            is_doubted = about.standing is Standing.DOUBTED
            due_s = self._due_s.get(node, inf)
            if due_s > now_s + next_sample_s(is_doubted=is_doubted, uniform=lambda: 1.0):
                due_s = now_s + self._next_s(is_doubted=is_doubted)
                self._due_s[node] = due_s
            if due_s > now_s or not about.answers:
                continue
            self._due_s[node] = now_s + self._next_s(is_doubted=is_doubted)
            sampled += await self._sample(node, facts)
        return sampled

    def _next_s(self, *, is_doubted: bool) -> float:
        return next_sample_s(is_doubted=is_doubted, uniform=self._randomness.uniform)

    async def _sample(self, node: NodeId, facts: Facts) -> bool:
        found = await self._catalog.copies.sample_on(node, self._randomness.uniform(), 1)
        for chunk in found:
            name = next(copy.name for copy in chunk.copies if copy.node == node)
            ask = Ask(chunk, (name, *other_copy(chunk, node, facts)))
            (verdicts,) = await self._challenger.prove([ask])
            await self._verdicts.note(chunk, verdicts)
            record = self._records.get(node, Record()).after(
                verdicts[name], self._clock.monotonic_s()
            )
            self._records[node] = record
            if record.is_clear and facts[node].standing is Standing.DOUBTED:
                self._log.warning("node_cleared", node=node, right=record.right)
                self._records[node] = Record()
                await self._approvals.clear(node)
                await self._nodes.reload()
            if record.proves_nothing and facts[node].standing is not Standing.DOUBTED:
                await self._doubt(node, record)
            return verdicts[name] is not Verdict.OPEN
        return False

    async def _doubt(self, node: NodeId, record: Record) -> None:
        """Put a node in doubt that says that it is there and proves nothing, while others do."""
        if not any(
            other.last_s > record.unproved_first_s
            for name, other in self._records.items()
            if name != node
        ):
            return  # it may be this side that cannot ask
        self._records[node] = Record()
        hours = (record.unproved_last_s - record.unproved_first_s) / 3600
        reason = (
            f"it sends heartbeats, but proved none of its copies in {record.unproved} challenges"
            f" over {hours:.0f} hours"
        )
        if await self._catalog.nodes.doubt(node, reason):
            self._log.warning("node_doubted", node=node, why=reason)
        self._wakes.repair.set()
        await self._nodes.reload()
