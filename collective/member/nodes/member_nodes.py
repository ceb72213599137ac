"""The nodes of a member, as an operator sees and changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collective.catalog.interface import Identities
from collective.core.ids import NodeId
from collective.member.care.figures import Figures
from collective.member.metrics import HEALTHY
from collective.member.nodes.adoption import AdoptionDesk
from collective.member.nodes.approval import Approvals
from collective.member.nodes.drain_and_removal import Removal
from collective.member.nodes.live_nodes import LiveNode, LiveNodes
from collective.model.calls import Call
from collective.model.nodes import NodeClaim, NodeState, NodeStatus, ShownState, Standing
from collective.placement.node_states import shown as shown_state


class MemberNodes:
    """Lists nodes; approves, drains, removes and adopts them."""

    def __init__(
        self,
        identities: Identities,
        live: LiveNodes,
        figures: Figures,
        approvals: Approvals,
        adoption: AdoptionDesk,
        removal: Removal,
    ) -> None:
        """Show ``live``; each change has its own part."""
        self._identities = identities
        self.live = live
        """The nodes that are enrolled."""
        self.figures = figures
        """What is counted of the whole."""
        self.approvals = approvals
        self.adoption = adoption
        self.removal = removal

    async def list(self, call: Call) -> Sequence[NodeStatus]:
        """Return the nodes as :meth:`seen`, for admins with the copies that keep each of them."""
        left: Mapping[NodeId, int] = {}
        if await self._identities.is_admin(call):
            left = (await self.figures.survey()).copies_left
        return self.seen(left)

    def shown(self) -> Sequence[NodeStatus]:
        """Return the nodes as everybody sees them."""
        return self.seen({})

    def seen(self, copies_left: Mapping[NodeId, int]) -> Sequence[NodeStatus]:
        """Return the nodes as they are now, with the copies that were counted.

        In order of id; those that wait for their adoption are last.
        """
        states = self.live.outlook().states
        return [
            *(
                enrolled_status(
                    live,
                    states.get(live.record.node, NodeState.SUSPECT),
                    copies_left.get(live.record.node, 0),
                )
                for live in self.live.all()
            ),
            *(_waiting(claim) for claim in self.adoption.waiting()),
        ]


def enrolled_status(live: LiveNode, state: NodeState, copies_left: int) -> NodeStatus:
    """Return a node that is enrolled as it is shown."""
    record = live.record
    return NodeStatus(
        node=record.node,
        address=str((*live.reachable, *live.addresses, "")[0]),
        capacity_bytes=record.capacity_bytes,
        used_bytes=record.used_bytes,
        chunk_count=record.chunk_count,
        is_healthy=state in HEALTHY and live.ready and record.standing is not Standing.DOUBTED,
        state=shown_state(state, record.standing),
        last_seen_ms=record.last_seen_ms,
        certificate_expires_ms=record.certificate_expires_ms,
        version=live.version,
        copies_left=copies_left,
        standing=record.standing,
        standing_reason=record.standing_reason,
        is_new=record.is_new,
        quarantined_bytes=record.quarantined_bytes,
        disk=live.disk,
    )


def _waiting(claim: NodeClaim) -> NodeStatus:
    return NodeStatus(
        node=claim.node,
        address=claim.addresses[0] if claim.addresses else "",
        capacity_bytes=claim.capacity_bytes,
        used_bytes=claim.used_bytes,
        chunk_count=claim.chunk_count,
        is_healthy=False,
        state=ShownState.WAITING,
        last_seen_ms=0,
        certificate_expires_ms=claim.expires_ms,
        version="",
        copies_left=0,
        standing=Standing.PROBATION,
        standing_reason="this catalogue does not know it; see: collective node adopt",
        is_new=True,
        quarantined_bytes=0,
        disk=None,
    )
