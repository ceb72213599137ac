"""The nodes of a member, as its coordinator serves them to people."""

from __future__ import annotations

from collections.abc import Sequence

from collective.model.nodes import Adoption, Approval, Discarded, NodeStatus
from collective.rpc.conversions.node_status import (
    adoption_from,
    approval_from,
    discarded_from,
    node_from,
)
from collective.rpc.gen.collective.v1.nodes import (
    AdoptNodesRequest,
    ApproveNodesRequest,
    DiscardCopiesRequest,
    DrainNodeRequest,
    ListNodesRequest,
    NodesStub,
    RemoveNodeRequest,
)
from collective.rpc.remote.answers import taken
from collective.rpc.remote.connection import Remote


class RemoteNodes(Remote[NodesStub]):
    """Who is there, and what is decided of them; the coordinator decides who may ask."""

    SERVICE = NodesStub

    async def list(self) -> Sequence[NodeStatus]:
        """Return the nodes in order of id, those that wait for their adoption last."""
        answer = await self._control.call(self._stub.list_nodes, ListNodesRequest())
        return [taken(node_from, one) for one in answer.nodes]

    async def approve(
        self, nodes: Sequence[str], *, even_doubted: bool = False
    ) -> Sequence[Approval]:
        """Let nodes count fully, and note that they were seen; return what each was before.

        All or none; ConflictError where one is doubted, unless ``even_doubted``.
        """
        request = ApproveNodesRequest(node_ids=list(nodes), even_doubted=even_doubted)
        answer = await self._control.call(self._stub.approve_nodes, request)
        return [taken(approval_from, one) for one in answer.approvals]

    async def drain(self, node: str, *, stop: bool = False) -> int:
        """Have a node emptied, or (``stop``) used again; return how many copies it has."""
        request = DrainNodeRequest(node_id=node, stop=stop)
        return (await self._control.call(self._stub.drain_node, request)).copies_left

    async def remove(self, node: str, *, force: bool = False) -> None:
        """Shut a node out for good; ConflictError while copies there count, unless ``force``."""
        request = RemoveNodeRequest(node_id=node, force=force)
        await self._control.call(self._stub.remove_node, request)

    async def adopt(self, nodes: Sequence[str] = (), *, everything: bool = False) -> Adoption:
        """Have nodes obey this catalogue, new or restored, in the place of what they obeyed.

        ``everything``: all nodes; a restored catalogue deletes again afterwards.  Nodes that it does
        not know are enrolled: approved if they are named, else on probation.  The operator only;
        ConflictError where there is nothing to adopt.
        """
        request = AdoptNodesRequest(node_ids=list(nodes), all=everything)
        return taken(adoption_from, await self._control.call(self._stub.adopt_nodes, request))

    async def discard(self, nodes: Sequence[str] = ()) -> Sequence[Discarded]:
        """Let copies go that the catalogue never gave out, on the nodes named or on all.

        ConflictError where none was kept for seven days yet.
        """
        request = DiscardCopiesRequest(node_ids=list(nodes))
        answer = await self._control.call(self._stub.discard_copies, request)
        return [taken(discarded_from, one) for one in answer.discarded]
