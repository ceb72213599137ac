"""What nodes' words are worth: approving them, and ending a doubt.

The catalogue keeps a node's standing; this desk changes it there, in the live table and, by waking
repair, in what follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from collective.catalog.interface import Identities, Nodes
from collective.core.errors import UsageError
from collective.core.ids import NodeId, parse_node_id
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.wakes import Wakes
from collective.model.calls import Call
from collective.model.nodes import Approval

NODES_MAX: Final = 1000
"""Nodes that one call names."""


class Approvals:
    """Changes the standing of one member's nodes."""

    def __init__(
        self, records: Nodes, identities: Identities, table: LiveNodes, wakes: Wakes
    ) -> None:
        """Keep ``table`` as ``records`` are; ``identities`` say who is an admin."""
        self._records = records
        self._identities = identities
        self._table = table
        self._wakes = wakes
        self._log = structlog.get_logger("coordinator.standing")

    async def approve(
        self, caller: Call, node_ids: Sequence[str], *, even_doubted: bool
    ) -> Sequence[Approval]:
        """Approve nodes and note that they were seen; all or none, and repeating changes nothing.

        Raises:
            PermissionDeniedError: the caller is no admin.
            NotFoundError: one is not enrolled, or was removed.
            ConflictError: one is doubted, and ``even_doubted`` is not set.
        """
        nodes = _parse(node_ids)
        await self._identities.require_admin(caller, "approve nodes")
        done = await self._records.approve(caller, nodes, even_doubted=even_doubted)
        await self._follow()
        self._log.info("nodes_approved", nodes=nodes, by=str(caller.principal))
        return done

    async def clear(self, node: NodeId) -> None:
        """Give a doubted node the standing that it had before."""
        if await self._records.clear_doubt(node):
            self._log.warning("node_cleared", node=node)
            await self._follow()

    async def _follow(self) -> None:
        await self._table.reload()
        self._wakes.repair.set()


def _parse(node_ids: Sequence[str]) -> list[NodeId]:
    if not node_ids:
        raise UsageError("Name the nodes to approve; collective node list shows them.")
    if len(node_ids) > NODES_MAX:
        raise UsageError(f"At most {NODES_MAX} nodes may be named at once.")
    return [parse_node_id(one) for one in dict.fromkeys(node_ids)]
