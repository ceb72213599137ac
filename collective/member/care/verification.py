"""Verification: what readers complain of, what is doubted, and samples of everything else.

A complaint is a reason to look, never evidence: the coordinator reads the copy as the reader did.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from math import inf
from typing import Final

import structlog

from collective.catalog.interface import Nodes
from collective.core.clock import Clock
from collective.core.errors import CollectiveError, CorruptionError, NotFoundError
from collective.core.ids import ChunkId, NodeId
from collective.core.randomness import Randomness
from collective.core.work import BUSY, IDLE, Outcome, Periodic, Worker, pause
from collective.member.care.challenger import Ask, Challenger
from collective.member.care.complaints import Complaints
from collective.member.care.verdict_book import VerdictBook
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.wakes import Wakes
from collective.model.copies import ChunkCopies, CopyName, CopyState, Verdict
from collective.model.nodes import Standing
from collective.placement.byte_budget import Budget
from collective.placement.challenges import Record, next_sample_s
from collective.placement.healing import Facts
from collective.transfer.stream.chunk_client import WrongBytesError

PAGE: Final = 16
"""Doubted copies of one node that are challenged together."""
RATE_BYTES_S: Final = 50e6
BURST_BYTES: Final = 64e6
IDLE_S: Final = 60.0
SAMPLE_LOOK_S: Final = 30.0


class Verifier(Worker):
    """Looks at copies that are complained of or doubted, and writes down what it finds."""

    name = "verification"

    def __init__(
        self,
        *,
        complaints: Complaints,
        catalog: Nodes,
        table: LiveNodes,
        challenger: Challenger,
        verdicts: VerdictBook,
        wakes: Wakes,
        clock: Clock,
        rate_bytes_s: float = RATE_BYTES_S,
    ) -> None:
        """Verify what ``complaints`` and the catalogue have."""
        self._complaints = complaints
        self._catalog = catalog
        self._table = table
        self._challenger = challenger
        self._verdicts = verdicts
        self._wakes = wakes
        self._clock = clock
        self._budget = Budget.full(rate_bytes_s, BURST_BYTES, clock.monotonic_s())
        self._after: dict[NodeId, int] = {}
        self._log = structlog.get_logger("coordinator.verifier")

    async def work(self) -> Outcome:
        """Look at one complaint and a page of doubted copies; what is cut off changes nothing."""
        self._budget = self._budget.at(self._clock.monotonic_s())
        if self._budget.wait_s() > 0:
            return Outcome.rest(self._budget.wait_s())
        complaint = self._complaints.take()
        if complaint is not None:
            await self.verify(*complaint)
        is_more = False
        for node, facts in self._table.facts(self._challenger.mute()).items():
            if facts.counts and facts.answers and not facts.is_mute:
                is_more = await self._clear(node) or is_more
        return BUSY if is_more or complaint is not None else IDLE

    async def wait(self) -> None:
        """Wait for a complaint, or for nodes that did not answer."""
        await pause(self._wakes.verify, IDLE_S)

    def queue(self) -> int:
        """Return how many complaints wait."""
        return len(self._complaints)

    async def verify(self, node: NodeId, chunk: ChunkId) -> None:
        """Read the copies of ``chunk`` on ``node`` and write down what that proves."""
        for known in await self._catalog.chunk_copies(chunk):
            for copy in known.copies:
                is_held = copy.state in {CopyState.STORED, CopyState.DOUBTED}
                if copy.node == node and is_held:
                    verdict = await self._look(known, copy.name)
                    await self._verdicts.note(known, {copy.name: verdict})

    async def _look(self, chunk: ChunkCopies, name: CopyName) -> Verdict:
        self._budget = self._budget.spend(chunk.stored_length)
        try:
            (await self._challenger.read(chunk, name)).release()
        except WrongBytesError:
            return Verdict.LIED
        except (CorruptionError, NotFoundError):
            # The node's word about its own copy; which of its generations is meant, it says here.
            (verdicts,) = await self._challenger.prove([Ask(chunk, (name,))])
            return verdicts[name]
        except (CollectiveError, TimeoutError) as error:
            self._log.info("not_read", node=name[0], why=str(error))
        return Verdict.OPEN

    async def _clear(self, node: NodeId) -> bool:
        """Challenge the next doubted copies of ``node``; return whether something was settled."""
        page = await self._catalog.doubted_on(node, self._after.get(node, 0), PAGE)
        facts = self._table.facts(self._challenger.mute())
        asks = []
        for chunk in page.chunks:
            doubted = next((copy for copy in chunk.copies if copy.node == node), None)
            if doubted is not None:
                asks.append(Ask(chunk, (doubted.name, *other_copy(chunk, node, facts))))
        self._after[node] = page.after or 0
        settled = False
        for ask, verdicts in zip(asks, await self._challenger.prove(asks), strict=True):
            self._budget = self._budget.spend(ask.chunk.stored_length * len(ask.copies))
            await self._verdicts.note(ask.chunk, verdicts)
            settled = settled or verdicts[ask.copies[0]] is not Verdict.OPEN
        return settled or page.after is not None


class Sampler:
    """Challenges a few copies of every node a day, drawn at random.

    It clears nodes that prove themselves, and doubts those that prove nothing for a day.
    """

    def __init__(
        self,
        *,
        catalog: Nodes,
        table: LiveNodes,
        challenger: Challenger,
        verdicts: VerdictBook,
        wakes: Wakes,
        clock: Clock,
        randomness: Randomness,
        clear: Callable[[NodeId], Awaitable[object]],
    ) -> None:
        """Sample the nodes of ``table``; ``clear`` ends the doubt about one."""
        self._catalog = catalog
        self._table = table
        self._challenger = challenger
        self._verdicts = verdicts
        self._wakes = wakes
        self._clock = clock
        self._randomness = randomness
        self._clear = clear
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
        facts = self._table.facts(self._challenger.mute())
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
        found = await self._catalog.sample_on(node, self._randomness.uniform(), 1)
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
                await self._clear(node)
                await self._table.reload()
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
        if await self._catalog.doubt_node(node, reason):
            self._log.warning("node_doubted", node=node, why=reason)
        self._wakes.repair.set()
        await self._table.reload()


def other_copy(chunk: ChunkCopies, node: NodeId, facts: Facts) -> Iterable[CopyName]:
    """Return a copy to compare with, if another node that is approved answers now."""
    return [
        copy.name
        for copy in chunk.copies
        if copy.node != node
        and copy.state is CopyState.STORED
        and (about := facts.get(copy.node)) is not None
        and about.answers
        and about.standing is Standing.APPROVED
        and not about.is_mute
    ][:1]
