"""The NodeRegistry service: messages of nodes to values and back; nodes only."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, Protocol

import structlog

from collective.core.errors import CollectiveError
from collective.federation.peers.peer_book import PeerBook
from collective.member.metrics import MemberMetrics
from collective.member.nodes.registry import NodeRegistry
from collective.model.nodes import InventoryPage, Whereabouts
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.addresses import address_messages
from collective.rpc.conversions.node_registry import (
    copy_message,
    heartbeat_answer_message,
    heartbeat_from,
    inventory_page_from,
    problems_from,
)
from collective.rpc.deadlines import each
from collective.rpc.gen.collective.v1 import node as pb

_PAGE_IDLE_S: Final = 60.0


class Findable(Protocol):
    """Something that says where it is found."""

    @property
    def whereabouts(self) -> Whereabouts:
        """Where it is found."""
        ...


class RegistryService(pb.NodeRegistryBase):
    """Adapts the registry of nodes."""

    def __init__(
        self,
        registry: NodeRegistry,
        admission: Admission,
        metrics: MemberMetrics,
        peers: PeerBook,
        own: Findable,
    ) -> None:
        """Pass on to ``registry``; ``metrics`` count heartbeats.

        Nodes are told of ``peers``, and where ``own`` is.
        """
        self._peers = peers
        self._own = own
        self._registry = registry
        self._admission = admission
        self._metrics = metrics
        self._log = structlog.get_logger("coordinator.registry")

    async def heartbeat(self, message: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        """Take over a heartbeat and answer with keys, position and revocations."""
        node, peer = self._admission.node()
        try:
            answer = await self._registry.heartbeat(peer, heartbeat_from(message))
        except CollectiveError as error:
            self._metrics.heartbeats.labels(error.code).inc()
            self._log.warning("heartbeat_refused", node=node, why=error.message)
            raise
        self._metrics.heartbeats.labels("ok").inc()
        told = heartbeat_answer_message(answer)
        where = self._own.whereabouts
        told.coordinator_addresses = address_messages(where.coordinator)
        told.bootstrap_addresses = address_messages(where.bootstrap)
        told.peers_digest = self._peers.digest
        if message.peers_digest != told.peers_digest:
            told.peers = [
                pb.PeerAuthorities(domain=domain, ca_ders=list(ders), revoked=list(revoked))
                for domain, ders, revoked in self._peers.told_to_nodes()
            ]
        return told

    async def report_inventory(
        self, messages: AsyncIterator[pb.InventoryPage]
    ) -> pb.InventoryVerdict:
        """Compare a node's whole inventory, page by page, with the catalogue."""
        node, _ = self._admission.node()
        async with aclosing(_pages(messages)) as pages:
            unknown = await self._registry.compare_inventory(node, pages)
        return pb.InventoryVerdict(unknown=[copy_message(copy) for copy in unknown])

    async def report_problems(self, message: pb.ReportProblemsRequest) -> pb.ReportProblemsResponse:
        """Take copies out of use that the node itself found bad."""
        node, _ = self._admission.node()
        await self._registry.take_problems(node, problems_from(message))
        return pb.ReportProblemsResponse()


async def _pages(messages: AsyncIterator[pb.InventoryPage]) -> AsyncGenerator[InventoryPage]:
    async for message in each(aiter(messages), _PAGE_IDLE_S):
        yield inventory_page_from(message)
