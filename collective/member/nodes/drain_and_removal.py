"""Emptying nodes, and shutting them out for good.

A removal that is begun is carried to its end whatever becomes of the call.  It counts at the
coordinator when the call returns, on open connections too; other nodes hear of it with their next
heartbeat.
"""

from __future__ import annotations

from typing import Final

import structlog

from collective.catalog.interface import Catalog
from collective.core.errors import NotFoundError
from collective.core.ids import NodeId
from collective.core.tasks import TaskScope
from collective.member.nodes.commands import NodeCommands
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.trust.revocations import Revocations
from collective.member.wakes import Wakes
from collective.model.calls import Call
from collective.transfer.tickets.key_ring import KeyRing

_CLOSE_GRACE_S: Final = 5.0


class Removal:
    """Drains and removes one member's nodes."""

    def __init__(
        self,
        catalog: Catalog,
        nodes: LiveNodes,
        revocations: Revocations,
        keys: KeyRing,
        commands: NodeCommands,
        wakes: Wakes,
    ) -> None:
        """Remove from ``nodes``; the keys of a removed node end, and so does the way to it."""
        self._catalog = catalog
        self._nodes = nodes
        self._revocations = revocations
        self._keys = keys
        self._commands = commands
        self._wakes = wakes
        self._acts = TaskScope()
        self._log = structlog.get_logger("coordinator.removal")

    async def close(self) -> None:
        """Wait for what was begun; call it before the catalogue is closed."""
        await self._acts.close(_CLOSE_GRACE_S)

    async def drain(self, call: Call, node: NodeId, *, stop: bool) -> int:
        """Begin to empty a node, or take it back into use; return how many copies it has."""
        await self._catalog.identities.require_admin(call, "drain nodes")
        self._require(node)
        await self._catalog.nodes.drain(call, node, draining=not stop)
        await self._reload()
        return (await self._catalog.figures.copies_left()).get(node, 0)

    async def remove(self, call: Call, node: NodeId, *, force: bool) -> int:
        """Shut a node out for good; return the revocation epoch.

        Cancelling the wait does not undo it: it is applied, too.

        Raises:
            ConflictError: copies there are still in use, and ``force`` is not set.
        """
        await self._catalog.identities.require_admin(call, "remove nodes")
        self._require(node)
        return await self._acts.see_through(self._remove(call, node, force=force))

    async def _remove(self, call: Call, node: NodeId, *, force: bool) -> int:
        identity = self._nodes.identity(node)
        await self._nodes.write_refusals()
        await self._catalog.nodes.remove(call, node, identity, force=force)
        await self._revocations.refresh()
        await self._reload()
        self._keys.forget(identity)
        self._commands.drop(node)
        self._log.warning("node_removed", node=node, by=str(call.principal), by_force=force)
        return self._revocations.present.epoch

    def _require(self, node: NodeId) -> None:
        if self._nodes.get(node) is None:
            raise NotFoundError(f"There is no node {node}; run: collective node list")

    async def _reload(self) -> None:
        await self._nodes.reload()
        self._wakes.repair.set()
