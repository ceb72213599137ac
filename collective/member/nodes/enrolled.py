"""Which nodes are heard: those that are enrolled; others with a certificate of ours wait for adoption."""

from __future__ import annotations

from typing import NoReturn

import structlog

from collective.catalog.interface import Nodes
from collective.core.errors import PermissionDeniedError
from collective.core.ids import NodeId
from collective.member.nodes.live_nodes import LiveNode, LiveNodes
from collective.member.nodes.reachability import plausible
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.trust.certificates_seen import CertificatesSeen
from collective.member.trust.revocations import Revocations
from collective.model.nodes import Heartbeat, NodeClaim
from collective.pki.certificates import Certified


class Enrolled:
    """Decides who is heard as a node."""

    def __init__(
        self,
        records: Nodes,
        nodes: LiveNodes,
        unknown: UnknownNodes,
        revocations: Revocations,
        certificates_seen: CertificatesSeen,
    ) -> None:
        """Hear the nodes that ``records`` have; note the others in ``unknown``.

        ``revocations`` learn from those as well, and each certificate that is heard is made known to
        ``certificates_seen``, which may refuse it.
        """
        self._records = records
        self._nodes = nodes
        self._unknown = unknown
        self._revocations = revocations
        self._certificates_seen = certificates_seen
        self._log = structlog.get_logger("coordinator.registry")

    async def require(self, node: NodeId) -> LiveNode:
        """Return an enrolled node; PermissionDeniedError for another."""
        live = await self._find(node)
        if live is None:
            raise PermissionDeniedError(
                f"Node {node} is not enrolled here (any more); enrol it again with a join code."
            )
        return live

    async def admit(self, peer: Certified, said: Heartbeat) -> LiveNode:
        """Return the node that ``peer`` is.

        Raises:
            PermissionDeniedError: it is not known here, or its certificate does not count.  One that
                is not known waits for its adoption from now on.
        """
        node = peer.identity.node_id
        live = await self._find(node)
        if live is None:
            await self._have_wait(peer, said)
        await self._certificates_seen.note(peer)
        return await self.require(node)

    async def _find(self, node: NodeId) -> LiveNode | None:
        if self._nodes.get(node) is None:
            await self._nodes.reload()
        return self._nodes.get(node)

    async def _have_wait(self, peer: Certified, said: Heartbeat) -> NoReturn:
        node = peer.identity.node_id
        if node in {record.node for record in await self._records.list()}:
            await self.require(node)  # it was removed
        await self._revocations.learn(node, said.revoked)
        claim = NodeClaim(
            identity=peer.identity,
            key_digest=peer.key_digest,
            serial=peer.serial,
            expires_ms=int(peer.expires_s * 1000),
            store_uuid=said.store_uuid,
            capacity_bytes=said.capacity_bytes,
            used_bytes=said.used_bytes,
            chunk_count=said.chunk_count,
            addresses=tuple(str(one) for one in plausible(said.addresses)),
            obeys=said.obeys,
        )
        if self._unknown.note(claim):
            self._log.warning(
                "node_waits_for_adoption",
                node=node,
                obeys=claim.obeys.catalog_id if claim.obeys is not None else "",
            )
        raise PermissionDeniedError(
            f"Node {node} is not known to this catalogue. If it is a new one over old nodes, the operator"
            f" takes it over with: collective node adopt {node}; else enrol it again with a join code."
        )
