"""Verification: what readers complain of, and what is doubted.

A complaint is a reason to look, never evidence: the coordinator reads the copy as the reader did.
"""

from __future__ import annotations

from typing import Final

import structlog

from collective.catalog.interface import Copies
from collective.core.buckets import Budget
from collective.core.errors import CollectiveError, CorruptionError, NotFoundError
from collective.core.ids import ChunkId, NodeId
from collective.core.work import BUSY, IDLE, Outcome, Worker, pause
from collective.member.care.challenger import Ask, Challenger
from collective.member.care.complaints import Complaints
from collective.member.care.tools import CareTools
from collective.member.care.verdict_book import VerdictBook
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.copies import ChunkCopies, CopyName, CopyState, Verdict
from collective.placement.healing import other_copy
from collective.transfer.stream.chunk_client import WrongBytesError

PAGE: Final = 16
"""Doubted copies of one node that are challenged together."""
RATE_BYTES_S: Final = 50e6
BURST_BYTES: Final = 64e6
IDLE_S: Final = 60.0


class Verifier(Worker):
    """Looks at copies that are complained of or doubted, and writes down what it finds."""

    name = "verification"

    def __init__(
        self,
        complaints: Complaints,
        copies: Copies,
        nodes: LiveNodes,
        challenger: Challenger,
        verdicts: VerdictBook,
        tools: CareTools,
    ) -> None:
        """Verify what ``complaints`` have, and what is doubted of ``copies``."""
        self._complaints = complaints
        self._copies = copies
        self._nodes = nodes
        self._challenger = challenger
        self._verdicts = verdicts
        self._wakes = tools.wakes
        self._clock = tools.clock
        self._budget = Budget.full(RATE_BYTES_S, BURST_BYTES, tools.clock.monotonic_s())
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
        for node, facts in self._nodes.facts(self._challenger.mute()).items():
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
        for known in await self._copies.known(chunk):
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
        page = await self._copies.doubted_on(node, self._after.get(node, 0), PAGE)
        facts = self._nodes.facts(self._challenger.mute())
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
