"""Healing: chunks that are short of copies are copied, and doubted copies are verified first.

The order (fewest copies first) is the catalogue's, the nodes are placement's, the pace is a token
bucket.  While many nodes are gone together nothing is given up (placement/states.py).
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from collective.catalog.interface import Nodes
from collective.catalog.model import RepairTask, VerifiedReceipt
from collective.core.clock import Clock
from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, Generation, NodeId
from collective.placement.repair import Budget
from collective.placement.states import Outlook
from collective.roles.coordinator.metrics import CoordinatorMetrics
from collective.roles.coordinator.node_calls import NodeCaller
from collective.roles.coordinator.nodes import NodeTable
from collective.roles.coordinator.receipts import ReceiptDesk
from collective.roles.coordinator.routes import RouteMaker
from collective.roles.coordinator.wake import Wakes
from collective.roles.runtime.workers import BUSY, IDLE, Outcome, Worker, pause
from collective.rpc.gen.collective import v1 as pb

PARALLEL: Final = 4
RATE_BYTES_S: Final = 100e6
BURST_BYTES: Final = 64e6
IDLE_S: Final = 5.0
VERIFY_IDLE_S: Final = 3600.0
_AGAIN_S: Final = 1.0
_DOUBTS_MAX: Final = 10_000


class Doubts:
    """Copies that readers complained about, each once, bounded; the surplus is dropped."""

    def __init__(self, wakes: Wakes) -> None:
        """Wake the verifier when there is something."""
        self._wakes = wakes
        self._doubted: dict[tuple[NodeId, ChunkId], None] = {}

    def __len__(self) -> int:
        return len(self._doubted)

    def doubt(self, node: NodeId, chunk: ChunkId) -> None:
        """Have the copy of ``chunk`` on ``node`` verified there, in due time."""
        if len(self._doubted) < _DOUBTS_MAX:
            self._doubted[node, chunk] = None
            self._wakes.verify.set()

    def take(self) -> tuple[NodeId, ChunkId] | None:
        """Return the oldest doubt and forget it."""
        for key in self._doubted:
            del self._doubted[key]
            return key
        return None


class Verifier(Worker):
    """Asks nodes whether doubted copies are really bad, and takes those out of use."""

    name = "verification"

    def __init__(
        self,
        doubts: Doubts,
        catalog: Nodes,
        table: NodeTable,
        nodes: NodeCaller,
        metrics: CoordinatorMetrics,
        wakes: Wakes,
    ) -> None:
        """Verify what ``doubts`` holds."""
        self._doubts = doubts
        self._catalog = catalog
        self._table = table
        self._nodes = nodes
        self._metrics = metrics
        self._wakes = wakes
        self._log = structlog.get_logger("coordinator.verifier")

    async def work(self) -> Outcome:
        """Verify the oldest doubt; an interrupted verification changes nothing."""
        doubted = self._doubts.take()
        if doubted is None:
            return IDLE
        try:
            await self.verify(*doubted)
        except CollectiveError as error:
            self._log.info("not_verified", node=doubted[0], why=error.message)
        return BUSY

    async def wait(self) -> None:
        """Wait for a doubt."""
        await pause(self._wakes.verify, VERIFY_IDLE_S)

    def queue(self) -> int:
        """Return how many copies are doubted."""
        return len(self._doubts)

    async def verify(self, node: NodeId, chunk: ChunkId) -> None:
        """Verify one copy at its node; a node that does not answer proves nothing."""
        copies = [copy for copy in await self._catalog.copies_of(chunk) if copy.node == node]
        if not copies:
            return
        response = await self._nodes.verify_copies(
            node,
            pb.VerifyCopiesRequest(
                copies=[
                    pb.CopyRecord(chunk_id=chunk, generation=copy.generation) for copy in copies
                ]
            ),
        )
        known = {copy.generation for copy in copies}
        for trouble in response.bad:
            if trouble.chunk_id != chunk or trouble.generation not in known:
                continue
            self._log.warning(
                "bad_copy",
                node=node,
                chunk=chunk.hex(),
                generation=trouble.generation,
                corrupt=trouble.corrupt,
            )
            self._metrics.bad_copies.labels("reader").inc()
            await self._catalog.mark_copies(
                node, [(chunk, Generation(trouble.generation))], lost=not trouble.corrupt
            )
            self._wakes.repair.set()


class Repairer(Worker):
    """Claims chunks that are short of copies and has them copied from node to node."""

    name = "repair"

    def __init__(
        self,
        *,
        catalog: Nodes,
        table: NodeTable,
        routes: RouteMaker,
        receipts: ReceiptDesk,
        nodes: NodeCaller,
        metrics: CoordinatorMetrics,
        wakes: Wakes,
        clock: Clock,
        rate_bytes_s: float = RATE_BYTES_S,
    ) -> None:
        """Copy at most ``rate_bytes_s`` on average."""
        self._catalog = catalog
        self._table = table
        self._routes = routes
        self._receipts = receipts
        self._nodes = nodes
        self._metrics = metrics
        self._wakes = wakes
        self._clock = clock
        self._budget = Budget.full(rate_bytes_s, BURST_BYTES, clock.monotonic_s())
        self._held = False
        self._log = structlog.get_logger("coordinator.repair")

    async def work(self) -> Outcome:
        """Repair one batch; a claim that is cut off is given up by the catalogue at start."""
        self._budget = self._budget.at(self._clock.monotonic_s())
        if self._budget.wait_s() > 0:
            return Outcome.rest(self._budget.wait_s())
        return BUSY if await self.round() else IDLE

    async def wait(self) -> None:
        """Wait until something may have changed; a second at least, as wakes come in crowds."""
        await pause(self._wakes.repair, IDLE_S)
        await asyncio.sleep(_AGAIN_S)

    async def round(self) -> int:
        """Repair one batch; return how many copies were made."""
        outlook = self._table.outlook()
        self._note(outlook)
        if not outlook.sources:
            return 0
        tasks = await self._catalog.claim_repairs(
            PARALLEL, self._table.placer(), outlook.sources, outlook.gone
        )
        if not tasks:
            return 0
        results: list[bool] = []

        async def work(task: RepairTask) -> None:
            try:
                results.append(await self.repair(task))
            except CollectiveError as error:  # a group of errors would end the whole process
                self._log.warning("repair_not_recorded", chunk=task.chunk.hex(), why=error.message)

        async with asyncio.TaskGroup() as group:
            for task in tasks:
                self._budget = self._budget.spend(task.stored_length)
                group.create_task(work(task))
        return sum(results)

    async def repair(self, task: RepairTask) -> bool:
        """Carry out one claimed task from whichever source is good; return whether it worked."""
        receipt: VerifiedReceipt | None = None
        self._table.promise(task.target.node, task.stored_length)
        try:
            for source in task.sources:
                receipt = await self._copy(task, source.node, source.generation)
                if receipt is not None:
                    break
        finally:
            await self._catalog.finish_repair(task, receipt)
        self._metrics.repairs.labels("ok" if receipt else "failed").inc()
        if receipt:
            self._metrics.repaired_bytes.inc(task.stored_length)
        return receipt is not None

    async def _copy(
        self, task: RepairTask, source: NodeId, generation: int
    ) -> VerifiedReceipt | None:
        route = self._routes.repair(
            task.chunk,
            task.stored_length,
            source=source,
            target=task.target,
            repair_id=task.repair_id,
        )
        if route is None:
            return None
        try:
            response = await self._nodes.copy_chunk(
                source,
                pb.CopyChunkRequest(chunk_id=task.chunk, generation=generation, route=route),
            )
            if response.result is None or response.result.receipt is None:
                why = response.result.error if response.result else None
                self._log.warning(
                    "repair_failed",
                    chunk=task.chunk.hex(),
                    source=source,
                    target=task.target.node,
                    why=why.message if why else "no receipt",
                )
                return None
            receipt = self._receipts.check(response.result.receipt, task.repair_id)
        except CollectiveError as error:
            self._log.warning(
                "repair_failed",
                chunk=task.chunk.hex(),
                source=source,
                target=task.target.node,
                why=error.message,
            )
            return None
        if receipt.node != task.target.node or receipt.chunk != task.chunk:
            self._log.warning("repair_receipt_wrong", source=source, node=receipt.node)
            return None
        self._table.note_stored([receipt])
        return receipt

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
