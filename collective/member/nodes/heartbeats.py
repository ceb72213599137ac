"""Where a node's heartbeat is answered: who it is, where it can be reached, what it has room for.

A node's word counts about itself only, and who speaks is what its certificate says.  What it is told in
turn is :mod:`~.statements`.
"""

from __future__ import annotations

import structlog

from collective.catalog.interface import Nodes
from collective.core.errors import ConflictError, UsageError
from collective.core.ids import NodeId, StoreUuid
from collective.member.nodes.enrolled import Enrolled
from collective.member.nodes.live_nodes import (
    REFUSAL_KEPT_S,
    Heard,
    LiveNode,
    LiveNodes,
    Report,
)
from collective.member.nodes.reachability import plausible
from collective.member.nodes.statements import Statements
from collective.member.wakes import Wakes
from collective.model.nodes import Heartbeat, HeartbeatAnswer
from collective.pki.certificates import Certified


class Heartbeats:
    """Takes heartbeats over, and answers them."""

    def __init__(
        self,
        records: Nodes,
        nodes: LiveNodes,
        enrolled: Enrolled,
        statements: Statements,
        wakes: Wakes,
    ) -> None:
        """Note in ``nodes`` and ``records`` what those of ``enrolled`` say; ``statements`` answer."""
        self._records = records
        self._nodes = nodes
        self._enrolled = enrolled
        self._statements = statements
        self._wakes = wakes
        self._log = structlog.get_logger("coordinator.registry")

    async def answer(self, peer: Certified, said: Heartbeat) -> HeartbeatAnswer:
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
        await self._statements.take_back(node, said)
        heard = self._nodes.heard(
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
        self._follow(live, said, heard)
        return await self._statements.answer(
            self._nodes.identity(node),
            said,
            send_inventory=not said.is_stopping
            and self._nodes.asks_inventory(node, said.instance_id),
        )

    async def _bind(self, node: NodeId, store: StoreUuid) -> None:
        try:
            await self._records.bind_store(node, store)
        except ConflictError as error:
            self._nodes.refuse(node, error.message, for_s=REFUSAL_KEPT_S)
            raise
        await self._nodes.reload()

    def _follow(self, live: LiveNode, said: Heartbeat, heard: Heard) -> None:
        """Wake what has more to do now."""
        live.obeys = said.obeys
        if live.unproven:
            self._wakes.addresses.set()
        if heard.state_changed:
            node = live.record.node
            self._log.info("node_state", node=node, state=self._nodes.states()[node].value)
        if heard.state_changed or heard.has_room_again:
            self._wakes.repair.set()
