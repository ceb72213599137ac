"""The Nodes service: who is there, and what the operator decides of them."""

from __future__ import annotations

from typing import Final

from collective.core.ids import parse_node_id
from collective.member.nodes.member_nodes import MemberNodes
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.node_status import (
    adoption_message,
    approval_message,
    discarded_message,
    node_message,
)
from collective.rpc.gen.collective.v1 import nodes as pb

_TARGET_MAX: Final = 256


class NodesService(pb.NodesBase):
    """Adapts the affairs of nodes."""

    def __init__(self, nodes: MemberNodes, admission: Admission) -> None:
        """Serve by ``nodes``."""
        self._nodes = nodes
        self._admission = admission

    async def list_nodes(self, message: pb.ListNodesRequest) -> pb.ListNodesResponse:  # noqa: ARG002
        """Return the nodes in order of id, to admins with the copies that keep each of them."""
        async with self._admission.call("list_nodes", "") as call:
            found = await self._nodes.list(call)
            return pb.ListNodesResponse(nodes=[node_message(one) for one in found])

    async def approve_nodes(self, message: pb.ApproveNodesRequest) -> pb.ApproveNodesResponse:
        """Let nodes count fully, and note that they were seen; admins only."""
        target = " ".join(message.node_ids)[:_TARGET_MAX]
        async with self._admission.call("approve_nodes", target) as call:
            done = await self._nodes.approvals.approve(
                call, message.node_ids, even_doubted=message.even_doubted
            )
            return pb.ApproveNodesResponse(approvals=[approval_message(one) for one in done])

    async def drain_node(self, message: pb.DrainNodeRequest) -> pb.DrainNodeResponse:
        """Have a node emptied, or take it back into use; admins only."""
        async with self._admission.call("drain_node", message.node_id) as call:
            left = await self._nodes.removal.drain(
                call, parse_node_id(message.node_id), stop=message.stop
            )
            return pb.DrainNodeResponse(copies_left=left)

    async def remove_node(self, message: pb.RemoveNodeRequest) -> pb.RemoveNodeResponse:
        """Shut a node out for good; admins only."""
        async with self._admission.call("remove_node", message.node_id) as call:
            epoch = await self._nodes.removal.remove(
                call, parse_node_id(message.node_id), force=message.force
            )
            return pb.RemoveNodeResponse(revocation_epoch=epoch)

    async def adopt_nodes(self, message: pb.AdoptNodesRequest) -> pb.AdoptNodesResponse:
        """Have nodes obey this catalogue in the place of what they obeyed; the operator only."""
        target = " ".join(message.node_ids)[:_TARGET_MAX] or "all"
        async with self._admission.call("adopt_nodes", target) as call:
            done = await self._nodes.adoption.adopt(call, message.node_ids, everything=message.all)
            return adoption_message(done)

    async def discard_copies(self, message: pb.DiscardCopiesRequest) -> pb.DiscardCopiesResponse:
        """Let quarantined copies go; admins only."""
        target = " ".join(message.node_ids)[:_TARGET_MAX] or "all"
        async with self._admission.call("discard_copies", target) as call:
            found = await self._nodes.adoption.discard(call, message.node_ids)
            return pb.DiscardCopiesResponse(discarded=[discarded_message(one) for one in found])
