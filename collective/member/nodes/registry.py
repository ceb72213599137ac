"""What heartbeats, inventories and problems of nodes change.

A node's word counts about its own copies only, and who speaks is what its certificate says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import structlog

from collective.catalog.interface import Catalog
from collective.core.errors import ConflictError, UsageError
from collective.core.ids import NodeId, StoreUuid
from collective.member.metrics import MemberMetrics
from collective.member.nodes.enrolled import Enrolled
from collective.member.nodes.heartbeat_answers import Words
from collective.member.nodes.live_nodes import REFUSAL_KEPT_S, LiveNode, LiveNodes, Report
from collective.member.nodes.reachability import plausible
from collective.member.wakes import Wakes
from collective.model.copies import CopyKey
from collective.model.nodes import CopyTrouble, Heartbeat, HeartbeatAnswer, InventoryPage
from collective.pki.certificates import Certified

_VERDICT_MAX: Final = 10_000


class NodeRegistry:
    """Takes over what nodes say."""

    def __init__(
        self,
        catalog: Catalog,
        nodes: LiveNodes,
        enrolled: Enrolled,
        words: Words,
        wakes: Wakes,
        metrics: MemberMetrics,
    ) -> None:
        """Note in ``nodes`` and ``catalog`` what those of ``enrolled`` say; ``words`` answer."""
        self._catalog = catalog
        self._nodes = nodes
        self._enrolled = enrolled
        self._words = words
        self._wakes = wakes
        self._metrics = metrics
        self._log = structlog.get_logger("coordinator.registry")

    async def heartbeat(self, peer: Certified, said: Heartbeat) -> HeartbeatAnswer:
        """Take over a heartbeat of ``peer``; return what it is told.

        Raises:
            PermissionDeniedError: it is not enrolled, or its certificate does not count.
            BusyError, ConflictError: another process runs as this node, or it has another store.
            UsageError: it says no address at which it can be.
        """
        node = peer.identity.node_id
        live = await self._enrolled.admit(peer, said)
        addresses = plausible(said.addresses)
        if not addresses:
            raise UsageError(
                "A heartbeat needs an address where the node can be reached; set "
                "COLLECTIVE_ADVERTISE_ADDRESS of the node to one."
            )
        self._nodes.check_instance(node, said.instance_id, addresses)
        if live.record.store_uuid != said.store_uuid:
            await self._bind(node, said.store_uuid)
        await self._words.learn(node, said)
        changed = self._nodes.heard(
            node,
            Report(
                instance_id=said.instance_id,
                addresses=addresses,
                capacity_bytes=said.capacity_bytes,
                used_bytes=said.used_bytes,
                chunk_count=said.chunk_count,
                version=said.version,
                stopping=said.is_stopping,
                certificate_serial=peer.serial,
                certificate_expires_ms=int(peer.expires_s * 1000),
                authority_digest=peer.authority_digest,
                key_digest=peer.key_digest,
                trusted_digests=said.trusted_digests,
                disk=said.disk,
            ),
        )
        self._follow(live, said, has_changed=changed)
        return await self._words.answer(
            self._nodes.identity(node),
            said,
            send_inventory=not said.is_stopping
            and self._nodes.asks_inventory(node, said.instance_id),
        )

    async def _bind(self, node: NodeId, store: StoreUuid) -> None:
        try:
            await self._catalog.nodes.bind_store(node, store)
        except ConflictError as error:
            self._nodes.refuse(node, error.message, for_s=REFUSAL_KEPT_S)
            raise
        await self._nodes.reload()

    def _follow(self, live: LiveNode, said: Heartbeat, *, has_changed: bool) -> None:
        """Wake what has more to do now."""
        live.obeys = said.obeys
        if live.unproven:
            self._wakes.addresses.set()
        if has_changed:
            node = live.record.node
            self._log.info("node_state", node=node, state=self._nodes.states()[node].value)
            self._wakes.repair.set()

    async def compare_inventory(
        self, node: NodeId, pages: AsyncIterator[InventoryPage]
    ) -> Sequence[CopyKey]:
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
            found = await self._catalog.copies.compare_inventory(
                node,
                page.copies,
                after=after,
                last=page.is_last,
                spare=self._nodes.inventory_page(node),
            )
            after = ids[-1] if ids else after
            unknown.extend(found[: _VERDICT_MAX - len(unknown)])
            if page.is_last:
                self._nodes.inventory_done(node, page.instance_id)
                self._log.info("inventory_compared", node=node, unknown=len(unknown))
                self._wakes.repair.set()
                self._wakes.verify.set()  # what is back is doubted
                break
        return unknown

    async def take_problems(self, node: NodeId, found: Sequence[CopyTrouble]) -> None:
        """Take copies out of use that the node itself found bad."""
        await self._enrolled.require(node)
        for corrupt in (True, False):
            bad = [(one.chunk, one.generation) for one in found if one.is_corrupt is corrupt]
            if not bad:
                continue
            self._log.warning("bad_copies_reported", node=node, count=len(bad), corrupt=corrupt)
            self._metrics.bad_copies.labels("node").inc(len(bad))
            await self._catalog.copies.mark(node, bad, lost=not corrupt)
            self._wakes.repair.set()
