"""Proving copies: nodes are challenged, and where that settles nothing the coordinator reads a copy.

What an answer proves is decided by ``placement.challenges``.  One nonce serves one call of
:meth:`Challenger.prove` and is never used again.  A node that does not answer proves nothing, and
nothing waits for it for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from collective.chunking.chunk_ids import challenge_answer
from collective.core import limits
from collective.core.errors import CollectiveError, UsageError
from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId
from collective.core.randomness import hex_id
from collective.member.care.tools import CareTools
from collective.member.care.unsettled_challenges import Unsettled
from collective.member.files.routes import RouteMaker
from collective.member.nodes.commands import NodeCommands
from collective.model.copies import ChunkCopies, Copy, CopyKey, CopyName, Finding, Verdict
from collective.model.routes import Route
from collective.placement.challenges import UNREAD, Answer, judge
from collective.transfer.buffers import PooledBuffer
from collective.transfer.stream.chunk_client import WrongBytesError

READ_S: Final = 30.0
READS_MAX: Final = 4
"""Copies that are read at a time to settle what the answers do not."""
MUTE_S: Final = 60.0
"""How long nothing waits for a node that did not answer a challenge, or let a read wait."""


class ChunkReader(Protocol):
    """The reading half of a chunk client."""

    async def get(self, route: Route) -> PooledBuffer:
        """Fetch a whole chunk and check its id."""
        ...


@dataclass(frozen=True, slots=True)
class Ask:
    """Copies of one chunk that are challenged together."""

    chunk: ChunkCopies
    copies: tuple[CopyName, ...]
    witness: CopyName | None = None
    """The copy that must be among those which agree; else the chunk is read."""


Verdicts = Mapping[CopyName, Verdict]


class Challenger:
    """Finds out which copies are what they should be."""

    def __init__(
        self,
        own: SpiffeId,
        commands: NodeCommands,
        routes: RouteMaker,
        reader: ChunkReader,
        tools: CareTools,
    ) -> None:
        """Ask by ``commands``, and read as ``own`` by ``reader``."""
        self._own = own
        self._commands = commands
        self._routes = routes
        self._reader = reader
        self._metrics = tools.metrics
        self._clock = tools.clock
        self._randomness = tools.randomness
        self._mute_until_s: dict[NodeId, float] = {}
        self.unsettled = Unsettled(tools.clock)
        self._log = structlog.get_logger("coordinator.challenger")

    def mute(self) -> frozenset[NodeId]:
        """Return the nodes that lately did not answer."""
        now_s = self._clock.monotonic_s()
        return frozenset(node for node, until_s in self._mute_until_s.items() if until_s > now_s)

    def _let_be(self, node: NodeId) -> None:
        self._mute_until_s[node] = self._clock.monotonic_s() + MUTE_S

    async def prove(self, asks: Sequence[Ask]) -> list[Verdicts]:
        """Return the verdicts on the copies of each of ``asks``, in order."""
        nonce = self._randomness.token(limits.CHALLENGE_NONCE_BYTES)
        answers = await self._ask_all(asks, nonce)
        reads = asyncio.Semaphore(READS_MAX)

        async def settle(ask: Ask) -> Verdicts:
            mine = {name: answers.get((ask.chunk.chunk, name), UNREAD) for name in ask.copies}
            verdicts = judge(mine, witness=ask.witness)
            if verdicts is None:
                async with reads:
                    verdicts = await self._by_reading(ask, mine, nonce)
            for name, verdict in verdicts.items():
                self._metrics.challenges.labels(verdict.value).inc()
                self.unsettled.note(ask.chunk.chunk, name, verdict)
            return verdicts

        async with asyncio.TaskGroup() as group:
            proved = [group.create_task(settle(ask)) for ask in asks]
        return [task.result() for task in proved]

    async def read(self, chunk: ChunkCopies, name: CopyName) -> PooledBuffer:
        """Read a copy as a reader does, and check it; the caller releases the buffer.

        Raises:
            WrongBytesError: the node sent other bytes than it was asked for.
            NotFoundError, CorruptionError: the node says so of its own copy.
            UnreachableError: it cannot be read now.
        """
        routes = self._routes.get(
            chunk.chunk,
            chunk.stored_length,
            [Copy(*name)],
            holder=self._own,
            transfer_id=hex_id(self._randomness),
            relay=False,
        )
        if not routes:
            raise UsageError(f"Node {name[0]} cannot be read from now.")
        async with asyncio.timeout(READ_S):
            return await self._reader.get(routes[0])

    async def _ask_all(
        self, asks: Sequence[Ask], nonce: bytes
    ) -> dict[tuple[ChunkId, CopyName], Answer]:
        by_node: dict[NodeId, list[tuple[ChunkCopies, Generation]]] = {}
        for ask in asks:
            for node, generation in ask.copies:
                by_node.setdefault(node, []).append((ask.chunk, generation))
        answers: dict[tuple[ChunkId, CopyName], Answer] = {}

        async def ask_node(node: NodeId, copies: list[tuple[ChunkCopies, Generation]]) -> None:
            for part in _calls(copies):
                answers.update(await self._ask(node, part, nonce))
                if node in self.mute():
                    return

        async with asyncio.TaskGroup() as group:
            for node, copies in by_node.items():
                group.create_task(ask_node(node, copies))
        return answers

    async def _ask(
        self, node: NodeId, copies: Sequence[tuple[ChunkCopies, Generation]], nonce: bytes
    ) -> dict[tuple[ChunkId, CopyName], Answer]:
        asked = [
            CopyKey(chunk.chunk, generation, chunk.stored_length) for chunk, generation in copies
        ]
        try:
            answers = await self._commands.challenge_copies(node, nonce, asked)
        except CollectiveError as error:
            self._let_be(node)
            self._log.info("challenge_not_answered", node=node, why=error.message)
            return {}
        self._mute_until_s.pop(node, None)
        return {
            (one.chunk, (node, one.generation)): answer
            for one in asked
            if (answer := answers.get((one.chunk, one.generation))) is not None
        }

    async def _by_reading(
        self, ask: Ask, answers: Mapping[CopyName, Answer], nonce: bytes
    ) -> Verdicts:
        """Judge by the bytes themselves, from the first copy that can be read."""
        liars: dict[CopyName, Verdict] = {}
        for name, answer in answers.items():
            if answer.finding is not Finding.SOUND or name[0] in self.mute():
                continue
            try:
                with await self.read(ask.chunk, name) as buffer:
                    truth = challenge_answer(nonce, buffer.view)
            except WrongBytesError:
                liars[name] = Verdict.LIED
                continue
            except (CollectiveError, TimeoutError) as error:
                if isinstance(error, TimeoutError):
                    self._let_be(name[0])
                self._log.info("not_read", node=name[0], why=str(error))
                continue
            verdicts = judge(answers, truth=truth)
            assert verdicts is not None, "the truth settles it"
            return {**verdicts, **liars}
        unsettled = {
            name: answer if answer.finding is not Finding.SOUND else UNREAD
            for name, answer in answers.items()
        }
        return {**(judge(unsettled) or {}), **liars}


def _calls(
    copies: Sequence[tuple[ChunkCopies, Generation]],
) -> list[Sequence[tuple[ChunkCopies, Generation]]]:
    """Cut what one node is asked into calls within its bounds."""
    calls: list[list[tuple[ChunkCopies, Generation]]] = []
    left = 0
    for one in copies:
        length = one[0].stored_length
        if not calls or length > left or len(calls[-1]) >= limits.CHALLENGE_MAX_COPIES:
            calls.append([])
            left = limits.CHALLENGE_MAX_BYTES
        calls[-1].append(one)
        left -= length
    return list(calls)
