"""One copy from node to node: its route, the command, and the receipt that proves it.

A receipt counts for the copy that its ticket named; a node that signs another's is put in doubt.
"""

from __future__ import annotations

import structlog

from collective.catalog.interface import Nodes
from collective.catalog.interface.values import RepairTask
from collective.core.errors import CollectiveError
from collective.core.ids import Generation, NodeId
from collective.member.files.receipts import ReceiptChecker
from collective.member.files.routes import RouteMaker
from collective.member.nodes.commands import NodeCommands
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.copies import VerifiedReceipt


class Copier:
    """Has copies made that repair decided on."""

    def __init__(
        self,
        records: Nodes,
        nodes: LiveNodes,
        routes: RouteMaker,
        receipts: ReceiptChecker,
        commands: NodeCommands,
    ) -> None:
        """Tell nodes by ``commands``."""
        self._records = records
        self._nodes = nodes
        self._routes = routes
        self._receipts = receipts
        self._commands = commands
        self._log = structlog.get_logger("coordinator.repair")

    async def copy(self, task: RepairTask) -> VerifiedReceipt | None:
        """Have the chunk copied from whichever source is good; return the new copy's receipt."""
        for source in task.sources:
            receipt = await self._copy_from(task, source.node, source.generation)
            if receipt is not None:
                return receipt
        return None

    async def _copy_from(
        self, task: RepairTask, source: NodeId, generation: Generation
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
            result = await self._commands.copy_chunk(source, task.chunk, generation, route)
            if result is None or result.receipt is None:
                why = result.error if result else None
                self._log.warning(
                    "repair_failed",
                    chunk=task.chunk.hex(),
                    source=source,
                    target=task.target.node,
                    why=why.message if why else "no receipt",
                )
                return None
            receipt = self._receipts.check(result.receipt, task.repair_id)
        except CollectiveError as error:
            self._log.warning(
                "repair_failed",
                chunk=task.chunk.hex(),
                source=source,
                target=task.target.node,
                why=error.message,
            )
            return None
        if receipt.node != task.target.node:
            self._log.warning("repair_receipt_wrong", source=source, node=receipt.node)
            return None
        told = (receipt.chunk, receipt.generation, receipt.stored_length)
        if told != (task.chunk, task.target.generation, task.stored_length):
            await self._records.doubt(
                receipt.node, "it signed a receipt for another copy than its ticket's"
            )
            await self._nodes.reload()
            return None
        self._nodes.note_stored([receipt])
        return receipt
