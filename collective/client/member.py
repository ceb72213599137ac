"""Calls about the member as a whole: its state, nodes, grants and CA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.core.errors import UsageError
from collective.core.paths import FilePath
from collective.rpc.gen.collective.v1 import Right
from collective.rpc.gen.collective.v1 import cluster as pb
from collective.rpc.links import Channel
from collective.rpc.remote.connection import Control

RIGHTS: Final = {"read": Right.READ, "write": Right.WRITE, "share": Right.SHARE}


class MemberCalls:
    """The member as a whole; what each call needs of rights the coordinator decides."""

    def __init__(self, channel: Channel, control: Control) -> None:
        """Call over ``channel`` with the deadlines of ``control``."""
        self._cluster = channel.stub(pb.ClusterStub)
        self._control = control

    async def status(self) -> pb.Status:
        """Return the member's state as the caller may see it."""
        return await self._control.call(self._cluster.get_status, pb.GetStatusRequest())

    async def nodes(self) -> Sequence[pb.NodeStatus]:
        """Return the member's nodes."""
        return (await self._control.call(self._cluster.list_nodes, pb.ListNodesRequest())).nodes

    async def add_grant(
        self, path: str, rights: Sequence[str], principal: str, *, expires_ms: int = 0
    ) -> pb.Grant:
        """Give ``principal`` (global id or SPIFFE id) rights (read, write, share) on ``path``."""
        unknown = [right for right in rights if right not in RIGHTS]
        if unknown or not rights:
            raise UsageError("Rights are read, write and share, joined by '+'.")
        request = pb.AddGrantRequest(
            path=str(FilePath.parse(path)),
            rights=[RIGHTS[right] for right in rights],
            principal=principal,
            expires_ms=expires_ms,
        )
        return await self._control.call(self._cluster.add_grant, request)

    async def grants(self) -> Sequence[pb.Grant]:
        """Return the grants that the caller may see."""
        pages = self._control.pages(self._cluster.list_grants, pb.ListGrantsRequest())
        return [grant async for page in pages for grant in page.grants]

    async def remove_grant(self, grant_id: str) -> None:
        """Take a grant back."""
        await self._control.call(self._cluster.remove_grant, pb.RemoveGrantRequest(id=grant_id))

    async def adopt_nodes(
        self, nodes: Sequence[str] = (), *, everything: bool = False
    ) -> pb.AdoptNodesResponse:
        """Have nodes obey this catalogue, new or restored, in the place of what they obeyed.

        ``everything``: all nodes; a restored catalogue deletes again afterwards.  Nodes that it does
        not know are enrolled: approved if they are named, else on probation.  The operator only;
        ConflictError where there is nothing to adopt.
        """
        request = pb.AdoptNodesRequest(node_ids=list(nodes), all=everything)
        return await self._control.call(self._cluster.adopt_nodes, request)

    async def discard_copies(self, nodes: Sequence[str] = ()) -> Sequence[pb.DiscardedCopies]:
        """Let copies go that the catalogue never gave out, on the nodes named or on all.

        ConflictError where none was kept for seven days yet.
        """
        request = pb.DiscardCopiesRequest(node_ids=list(nodes))
        return (await self._control.call(self._cluster.discard_copies, request)).discarded

    async def approve_nodes(
        self, nodes: Sequence[str], *, even_doubted: bool = False
    ) -> Sequence[pb.NodeApproval]:
        """Let nodes count fully, and note that they were seen; return what each was before.

        All or none; ConflictError where one is doubted, unless ``even_doubted``.
        """
        request = pb.ApproveNodesRequest(node_ids=list(nodes), even_doubted=even_doubted)
        return (await self._control.call(self._cluster.approve_nodes, request)).approvals

    async def drain_node(self, node: str, *, stop: bool = False) -> int:
        """Have a node emptied, or (``stop``) used again; return how many copies it has."""
        request = pb.DrainNodeRequest(node_id=node, stop=stop)
        return (await self._control.call(self._cluster.drain_node, request)).copies_left

    async def remove_node(self, node: str, *, force: bool = False) -> None:
        """Shut a node out for good; ConflictError while copies there count, unless ``force``."""
        await self._control.call(
            self._cluster.remove_node, pb.RemoveNodeRequest(node_id=node, force=force)
        )

    async def rotate_authority(
        self, *, finish: bool = False, force: bool = False, status: bool = False
    ) -> pb.RotateAuthorityResponse:
        """Begin to replace the member's CA, finish that, or (``status``) tell how far it is.

        The operator only.  ConflictError where another begins, or some would be shut out by the end.
        """
        request = pb.RotateAuthorityRequest(finish=finish, force=force, status=status)
        return await self._control.call(self._cluster.rotate_authority, request)
