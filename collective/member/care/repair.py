"""Repair: chunks that are short of copies are copied, the fewest copies first.

What is done about a chunk is ``placement.healing``'s decision.  Chunks are found along the catalogue's
indices, each search with its own cursor: a chunk that has no source or no place now is passed, and hides
nothing behind it.  A search that came to its end without finding work rests until something changed.
While many nodes are gone together nothing is given up (placement/node_states.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

import structlog

from collective.catalog.interface import GuardedCopies, Repair
from collective.catalog.interface.values import ChunkPage, RepairTask
from collective.core import limits
from collective.core.backoff import Backoff, Postponed
from collective.core.buckets import Budget
from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, NodeId
from collective.core.work import BUSY, IDLE, Outcome, Worker, pause
from collective.member.care.challenger import Challenger
from collective.member.care.copier import Copier
from collective.member.care.tools import CareTools
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.copies import ChunkCopies, VerifiedReceipt
from collective.model.nodes import Standing
from collective.placement.healing import (
    Facts,
    GiveUp,
    MakeCopy,
    Place,
    Verify,
    heal,
    held_by_standing,
)
from collective.placement.node_states import Outlook

PARALLEL: Final = 4
CLAIMED: Final = 16
"""Chunks that are claimed together."""
PAGE: Final = 128
"""Chunks that one search looks at in a round."""
RATE_BYTES_S: Final = 100e6
BURST_BYTES: Final = 64e6
IDLE_S: Final = 5.0
REST_MOST_S: Final = 300.0
_AGAIN_S: Final = 1.0
FAILED_BACKOFF: Final = Backoff(least_s=5.0, most_s=600.0)
"""For chunks whose copying failed: others have their turn."""
ROOM_STEP_BYTES: Final = 64 << 20
"""A node's free space changes what can be placed by steps of this."""

Read = Callable[[int], Awaitable[ChunkPage]]


@dataclass(slots=True)
class _Search:
    """One way along an index."""

    read: Read
    after: int = 0
    found: bool = False
    """Something it found was done since it began at the front."""
    rests: bool = False


@dataclass(slots=True)
class _Round:
    """What one round found to do."""

    copies: list[tuple[MakeCopy, Hashable]] = field(default_factory=list)
    """Each with the search that found it, the most urgent first."""
    given_up: list[tuple[GiveUp, Hashable]] = field(default_factory=list)
    to_verify: bool = False
    ends: dict[Hashable, int | None] = field(default_factory=dict)
    """Where each search that was read goes on; None: at its front, its end was reached."""


class Repairer(Worker):
    """Finds chunks that are short of copies and has them copied from node to node."""

    name = "repair"

    def __init__(
        self,
        repair: Repair,
        guarded: GuardedCopies,
        nodes: LiveNodes,
        copier: Copier,
        challenger: Challenger,
        tools: CareTools,
    ) -> None:
        """Have chunks copied by ``copier``.

        ``challenger`` knows which nodes answer no challenges, and which copies they may still settle.
        """
        self._repair = repair
        self._guarded = guarded
        self._nodes = nodes
        self._copier = copier
        self._challenger = challenger
        self._metrics = tools.metrics
        self._wakes = tools.wakes
        self._clock = tools.clock
        self._randomness = tools.randomness
        self._budget = Budget.full(RATE_BYTES_S, BURST_BYTES, tools.clock.monotonic_s())
        self._held = False
        self._searches: dict[Hashable, _Search] = {}
        self._situation: Hashable = None
        self._failed: Postponed[tuple[ChunkId, int]] = Postponed(FAILED_BACKOFF)
        self._rest_s = IDLE_S
        self._log = structlog.get_logger("coordinator.repair")

    async def work(self) -> Outcome:
        """Do one round; a claim that is cut off is given up by the catalogue at start."""
        self._budget = self._budget.at(self._clock.monotonic_s())
        if self._budget.wait_s() > 0:
            return Outcome.rest(self._budget.wait_s())
        if await self.round():
            self._rest_s = IDLE_S
        return IDLE if self.rests else BUSY

    async def wait(self) -> None:
        """Wait until something may have changed, longer and longer; wakes come in crowds."""
        if await pause(self._wakes.repair, self._rest_s):
            await asyncio.sleep(_AGAIN_S)
            self._rest_s = IDLE_S
        else:
            self._rest_s = min(REST_MOST_S, 2 * self._rest_s)
        self.begin_anew()

    @property
    def rests(self) -> bool:
        """Whether every search came to its end without finding work."""
        return all(search.rests for search in self._searches.values())

    def begin_anew(self) -> None:
        """Have every search begin at its front again: something may have changed."""
        for search in self._searches.values():
            search.rests = False

    async def round(self) -> int:
        """Look at a page of each search, and do what is most urgent; return copies made."""
        outlook = self._nodes.outlook()
        self._note(outlook)
        facts = self._nodes.facts(self._challenger.mute())
        self._set_searches(facts)
        if not outlook.sources:
            for search in self._searches.values():
                search.rests = True
            return 0
        found = await self._look(facts)
        if found.to_verify:
            self._wakes.verify.set()
        done: set[Hashable] = set()
        if found.given_up and await self._guarded.give_up(
            [act for act, _ in found.given_up], facts
        ):
            done.update(key for _, key in found.given_up)
        tasks = await self._repair.claim([act for act, _ in found.copies[:CLAIMED]])
        done.update(key for _, key in found.copies)  # what was not claimed has changed meanwhile
        self._move_on(found, done)
        return sum(await self._run_all(tasks)) if tasks else 0

    def _set_searches(self, facts: Facts) -> None:
        """Have a search for every number of copies, for surplus, and for nodes that do not count, or not alone."""
        wanted: dict[Hashable, Read] = {"surplus": self._surplus}
        for stored in range(limits.COPIES_MAX):
            wanted[stored] = self._short(stored)
        for node, about in facts.items():
            if not about.counts or about.standing is Standing.PROBATION:
                wanted[node] = self._on(node)
        for gone in self._searches.keys() - wanted.keys():
            del self._searches[gone]
        for key, read in wanted.items():
            self._searches.setdefault(key, _Search(read))
        situation = tuple(
            (node, about.standing, about.answers, about.stays, about.free_bytes // ROOM_STEP_BYTES)
            for node, about in sorted(facts.items())
        )
        if situation != self._situation:
            self._situation = situation
            self.begin_anew()

    def _short(self, stored: int) -> Read:
        return lambda after: self._repair.short_chunks(stored, after, PAGE)

    def _on(self, node: NodeId) -> Read:
        return lambda after: self._repair.chunks_on(node, after, PAGE)

    async def _surplus(self, after: int) -> ChunkPage:
        return await self._repair.surplus_chunks(after, PAGE)

    async def _look(self, facts: Facts) -> _Round:
        """Read a page of each search that does not rest."""
        found = _Round()
        place = self._placer(facts)
        seen: set[tuple[ChunkId, int]] = set()
        short = await self._repair.short_counts()
        by_standing = await self._repair.short_by_standing()
        counting = {node for node, about in facts.items() if about.counts}
        for key, search in list(self._searches.items()):
            if search.rests:
                continue
            is_empty = (isinstance(key, int) and key not in short) or (
                key in counting and key not in by_standing
            )
            page = ChunkPage((), None) if is_empty else await search.read(search.after)
            found.ends[key] = page.after
            for chunk in page.chunks:
                name = (chunk.chunk, chunk.stored_length)
                if name not in seen and self._failed.is_due(name, self._clock.monotonic_s()):
                    seen.add(name)
                    self._decide(chunk, facts, place, key, found)
        found.copies.sort(key=lambda one: one[0].live)
        return found

    def _move_on(self, found: _Round, done: AbstractSet[Hashable]) -> None:
        """Move each search past what was read; one that reached its end and had nothing ``done`` rests.

        The catalogue may refuse all that was found (a restored one gives nothing up), so a search is not
        busy for what it finds.
        """
        left = {key for _, key in found.copies[CLAIMED:]} & done
        for key, after in found.ends.items():
            search = self._searches[key]
            search.found = search.found or key in done
            if key in left:
                continue  # what is left comes again
            search.after = after or 0
            if after is None:
                search.rests, search.found = not search.found, False

    def _decide(
        self, chunk: ChunkCopies, facts: Facts, place: Place, key: Hashable, found: _Round
    ) -> None:
        act = heal(chunk, facts, place, self._challenger.unsettled.may_settle)
        if isinstance(act, MakeCopy):
            found.copies.append((act, key))
        elif isinstance(act, GiveUp):
            found.given_up.append((act, key))
        elif isinstance(act, Verify):
            found.to_verify = True

    def _placer(self, facts: Facts) -> Place:
        drawing = self._nodes.drawing()

        def chosen(chunk: ChunkCopies, taken: AbstractSet[NodeId]) -> NodeId | None:
            held = held_by_standing(chunk, facts)
            nodes = drawing.choose(chunk.stored_length, 1, exclude=taken, held=held)
            return next(iter(nodes), None)

        return chosen

    async def _run_all(self, tasks: Iterable[RepairTask]) -> list[bool]:
        results: list[bool] = []
        waiting: Iterator[RepairTask] = iter(tasks)

        async def work() -> None:
            for task in waiting:
                self._budget = self._budget.spend(task.stored_length)
                try:
                    results.append(await self.repair(task))
                except CollectiveError as error:  # a group of errors would end the whole process
                    why = error.message
                    self._log.warning("repair_not_recorded", chunk=task.chunk.hex(), why=why)

        async with asyncio.TaskGroup() as group:
            for _ in range(PARALLEL):
                group.create_task(work())
        return results

    async def repair(self, task: RepairTask) -> bool:
        """Carry out one claimed task from whichever source is good; return whether it worked."""
        receipt: VerifiedReceipt | None = None
        self._nodes.promise(task.target.node, task.stored_length)
        try:
            receipt = await self._copier.copy(task)
        finally:
            await self._repair.finish(task, receipt)
        self._metrics.repairs.labels("ok" if receipt else "failed").inc()
        if receipt:
            self._metrics.repaired_bytes.inc(task.stored_length)
            self._failed.worked((task.chunk, task.stored_length))
        else:
            self._failed.failed(
                (task.chunk, task.stored_length),
                self._clock.monotonic_s(),
                self._randomness.uniform(),
            )
        return receipt is not None

    def _note(self, outlook: Outlook) -> None:
        held = bool(outlook.vanished_together)
        self._metrics.repair_held.set(int(held))
        if held and not self._held:
            self._log.error(
                "repair_waits",
                nodes=sorted(outlook.vanished_together),
                advice="over a third of the nodes fell silent together; start them, or remove "
                "those that are gone for good with collective node remove",
            )
        self._held = held
