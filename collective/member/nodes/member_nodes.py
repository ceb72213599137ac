"""The nodes of a member, as an operator sees and changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collective.catalog.interface import Catalog
from collective.core.ids import NodeId
from collective.member.care.figures import Figures
from collective.member.nodes.adoption import AdoptionDesk
from collective.member.nodes.approval import Approvals
from collective.member.nodes.live_nodes import LiveNode, LiveNodes
from collective.member.nodes.removal import Removal
from collective.model.calls import Call
from collective.model.nodes import NodeClaim, NodeState


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node that is enrolled, at one moment."""

    live: LiveNode
    state: NodeState
    copies_left: int
    """Copies that keep it from being removed; 0 where that was not counted."""


@dataclass(frozen=True, slots=True)
class NodeList:
    """All nodes at one moment, in order of id."""

    enrolled: Sequence[SeenNode]
    waiting: Sequence[NodeClaim]
    """Those that the catalogue does not know, and that wait for their adoption."""


class MemberNodes:
    """Lists nodes; approves, drains, removes and adopts them."""

    def __init__(
        self,
        catalog: Catalog,
        live: LiveNodes,
        figures: Figures,
        approvals: Approvals,
        adoption: AdoptionDesk,
        removal: Removal,
    ) -> None:
        """Show ``live``; each change has its own part."""
        self._catalog = catalog
        self.live = live
        """The nodes that are enrolled."""
        self.figures = figures
        """What is counted of the whole."""
        self.approvals = approvals
        self.adoption = adoption
        self.removal = removal

    async def list(self, call: Call) -> NodeList:
        """Return the nodes, for admins with the copies that keep each of them."""
        left: Mapping[NodeId, int] = {}
        if await self._catalog.is_admin(call):
            left = (await self.figures.survey()).copies_left
        return self.seen(left)

    def seen(self, copies_left: Mapping[NodeId, int]) -> NodeList:
        """Return the nodes as they are now, with the copies that were counted."""
        states = self.live.outlook().states
        return NodeList(
            [
                SeenNode(
                    live,
                    states.get(live.record.node, NodeState.SUSPECT),
                    copies_left.get(live.record.node, 0),
                )
                for live in self.live.all()
            ],
            self.adoption.waiting(),
        )
