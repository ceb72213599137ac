"""The NodeRegistry service: messages of nodes to values and back; nodes only."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from collective.core.errors import CollectiveError
from collective.federation.peers.peer_book import PeerBook
from collective.member.metrics import MemberMetrics
from collective.member.nodes.bad_copy_reports import BadCopyReports
from collective.member.nodes.heartbeats import Heartbeats
from collective.member.nodes.inventories import Inventories
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


@dataclass(frozen=True, slots=True)
class Contacts:
    """Whom else nodes deal with: the coordinator, wherever it is found, and the peers."""

    own: Findable
    peers: PeerBook

    def add_to(self, answer: pb.HeartbeatResponse, known_digest: bytes) -> None:
        """Put them into ``answer``, the peers only where they are others than ``known_digest`` tells."""
        where = self.own.whereabouts
        answer.coordinator_addresses = address_messages(where.coordinator)
        answer.bootstrap_addresses = address_messages(where.bootstrap)
        answer.peers_digest = self.peers.digest
        if known_digest != answer.peers_digest:
            answer.peers = [
                pb.PeerAuthorities(domain=domain, ca_ders=list(ders), revoked=list(revoked))
                for domain, ders, revoked in self.peers.told_to_nodes()
            ]


class RegistryService(pb.NodeRegistryBase):
    """Adapts what nodes report, and what they are answered."""

    def __init__(
        self,
        heartbeats: Heartbeats,
        inventories: Inventories,
        bad_copies: BadCopyReports,
        contacts: Contacts,
        admission: Admission,
        metrics: MemberMetrics,
    ) -> None:
        """Pass on what nodes say; ``contacts`` are told to them, and ``metrics`` count heartbeats."""
        self._heartbeats = heartbeats
        self._inventories = inventories
        self._bad_copies = bad_copies
        self._contacts = contacts
        self._admission = admission
        self._metrics = metrics
        self._log = structlog.get_logger("coordinator.registry")

    async def heartbeat(self, message: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        """Take over a heartbeat and answer with keys, position and revocations."""
        node, peer = self._admission.node()
        try:
            answer = await self._heartbeats.answer(peer, heartbeat_from(message))
        except CollectiveError as error:
            self._metrics.heartbeats.labels(error.code).inc()
            self._log.warning("heartbeat_refused", node=node, why=error.message)
            raise
        self._metrics.heartbeats.labels("ok").inc()
        told = heartbeat_answer_message(answer)
        self._contacts.add_to(told, message.peers_digest)
        return told

    async def report_inventory(
        self, messages: AsyncIterator[pb.InventoryPage]
    ) -> pb.InventoryVerdict:
        """Compare a node's whole inventory, page by page, with the catalogue."""
        node, _ = self._admission.node()
        async with aclosing(_pages(messages)) as pages:
            unknown = await self._inventories.compare(node, pages)
        return pb.InventoryVerdict(unknown=[copy_message(copy) for copy in unknown])

    async def report_problems(self, message: pb.ReportProblemsRequest) -> pb.ReportProblemsResponse:
        """Take copies out of use that the node itself found bad."""
        node, _ = self._admission.node()
        await self._bad_copies.take(node, problems_from(message))
        return pb.ReportProblemsResponse()


async def _pages(messages: AsyncIterator[pb.InventoryPage]) -> AsyncGenerator[InventoryPage]:
    async for message in each(aiter(messages), _PAGE_IDLE_S):
        yield inventory_page_from(message)
