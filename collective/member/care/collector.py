"""Collection: copies that nothing needs any more are deleted at their nodes, then forgotten.

What may go is the catalogue's decision; every delete carries its position, so that a node refuses
one from an older catalogue.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Final

import structlog

from collective.catalog.interface import Catalog
from collective.core.errors import CollectiveError
from collective.core.ids import NodeId
from collective.core.work import BUSY, IDLE, Outcome, Worker
from collective.member.metrics import MemberMetrics
from collective.member.nodes.commands import NodeCommands
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.nodes.statement_macs import StatementMacs
from collective.model.copies import CopyKey
from collective.model.nodes import StatedPosition

BATCH: Final = 1000
IDLE_S: Final = 10.0


class Collector(Worker):
    """Deletes what the catalogue gives up."""

    name = "collection"

    def __init__(
        self,
        catalog: Catalog,
        nodes: LiveNodes,
        commands: NodeCommands,
        macs: StatementMacs,
        metrics: MemberMetrics,
        *,
        grace_s: float,
    ) -> None:
        """Collect what has been unreferenced for ``grace_s`` seconds; ``macs`` marks positions."""
        self._catalog = catalog
        self._nodes = nodes
        self._commands = commands
        self._metrics = metrics
        self._macs = macs
        self._grace_s = grace_s
        self._log = structlog.get_logger("coordinator.collection")

    async def work(self) -> Outcome:
        """Collect one batch; a delete that is cut off is asked for again."""
        return BUSY if await self.round() else IDLE

    async def wait(self) -> None:
        """Wait until more may have come of age."""
        await asyncio.sleep(min(IDLE_S, max(1.0, self._grace_s)))

    async def round(self) -> bool:
        """Collect one batch; return whether more is to be done at once."""
        sources = self._nodes.outlook().sources
        claimed = await self._catalog.collection.claim(BATCH, self._grace_s, sources)
        by_node: defaultdict[NodeId, list[CopyKey]] = defaultdict(list)
        for node, copy in claimed:
            by_node[node].append(copy)
        deleted = 0
        for node, copies in sorted(by_node.items()):
            deleted += await self._delete(node, copies)
        return claimed.is_more or deleted > 0

    async def _delete(self, node: NodeId, copies: list[CopyKey]) -> int:
        position = await self._catalog.restores.position()
        try:
            done = await self._commands.delete_copies(
                node, StatedPosition(position, self._macs.of_position(position)), copies
            )
        except CollectiveError as error:
            self._log.warning("delete_refused", node=node, count=len(copies), why=error.message)
            return 0
        # A copy that was not there (its upload ended before it was sent) is as gone as the others;
        # one that the answer does not name is asked for again.
        named = done.deleted | done.absent
        gone = [copy for copy in copies if (copy.chunk, copy.generation) in named]
        await self._catalog.collection.finish(node, gone)
        self._metrics.collected.inc(len(done.deleted))
        return len(gone)
