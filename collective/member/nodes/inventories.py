"""Inventories: all copies that a node holds, page by page, compared with the catalogue.

A node's word counts about its own copies only.  When it is asked for one is :mod:`~.inventory_schedule`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import structlog

from collective.catalog.interface import Copies
from collective.core.errors import UsageError
from collective.core.ids import NodeId
from collective.member.nodes.enrolled import Enrolled
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.wakes import Wakes
from collective.model.copies import CopyKey
from collective.model.nodes import InventoryPage

_UNKNOWN_MAX: Final = 10_000
"""Copies that nobody knows, of which one answer tells."""


class Inventories:
    """Compares what nodes hold with what they should."""

    def __init__(self, copies: Copies, nodes: LiveNodes, enrolled: Enrolled, wakes: Wakes) -> None:
        """Note in ``copies`` and ``nodes`` what those of ``enrolled`` hold."""
        self._copies = copies
        self._nodes = nodes
        self._enrolled = enrolled
        self._wakes = wakes
        self._log = structlog.get_logger("coordinator.registry")

    async def compare(self, node: NodeId, pages: AsyncIterator[InventoryPage]) -> Sequence[CopyKey]:
        """Compare a node's whole inventory with the catalogue; return copies that nobody knows.

        Raises:
            PermissionDeniedError: the node is not enrolled.
            UsageError: it is of another instance than the last heartbeat, or out of order.
            ConflictError, BusyError: it is not awaited, or of no use; see ``InventorySchedule``.

        Cancelled, it leaves what was compared so far.
        """
        live = await self._enrolled.require(node)
        unknown: list[CopyKey] = []
        after = b""
        async for page in pages:
            if page.instance_id != live.instance_id:
                raise UsageError("The inventory is of another instance; send a heartbeat first.")
            ids = [bytes(copy.chunk) for copy in page.copies]
            if ids != sorted(ids) or (ids and after and ids[0] <= after):
                raise UsageError("An inventory must be in ascending order of chunk ids.")
            found = await self._copies.compare_inventory(
                node,
                page.copies,
                after=after,
                last=page.is_last,
                spare=self._nodes.inventory_page(node),
            )
            after = ids[-1] if ids else after
            unknown.extend(found[: _UNKNOWN_MAX - len(unknown)])
            if page.is_last:
                self._nodes.inventory_done(node, page.instance_id)
                await self._nodes.reload()  # what is quarantined shows at once
                self._log.info("inventory_compared", node=node, unknown=len(unknown))
                self._wakes.repair.set()
                self._wakes.verify.set()  # what is back is doubted
                break
        return unknown
