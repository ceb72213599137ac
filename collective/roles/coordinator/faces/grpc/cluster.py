"""The Cluster service: status, nodes, grants, renewal."""

from __future__ import annotations

from collections.abc import Sequence

import collective
from collective.catalog.interface import Catalog
from collective.core.errors import UsageError
from collective.core.ids import Domain, GlobalId, SpiffeId, parse_node_id
from collective.core.work import Report
from collective.member.metrics import HEALTHY, WAITING
from collective.member.nodes.live_nodes import space_of
from collective.member.nodes.member_nodes import MemberNodes, NodeList, SeenNode
from collective.member.status import MemberStatus
from collective.member.trust.member_trust import MemberTrust
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.nodes import NodeClaim, Standing
from collective.model.people import Invite
from collective.model.status import ChunkHealth
from collective.pki.certificates import certificate_der
from collective.placement.node_states import shown as shown_state
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.paths import local_path
from collective.rpc.conversions.people import grant_message
from collective.rpc.conversions.rights import rights_from
from collective.rpc.gen.collective.v1 import cluster as pb

_TARGET_MAX = 256
_CSR_MAX_BYTES = 16 * 1024
_GRANTS_SHOWN_BYTES = 1024 * 1024


def node_status(seen: SeenNode) -> pb.NodeStatus:
    """Return one node for the wire."""
    live, state, record = seen.live, seen.state, seen.live.record
    return pb.NodeStatus(
        id=record.node,
        address=str((*live.reachable, *live.addresses, "")[0]),
        total_capacity=record.capacity_bytes,
        used_capacity=record.used_bytes,
        chunk_count=record.chunk_count,
        is_healthy=state in HEALTHY and live.ready and record.standing is not Standing.DOUBTED,
        state=shown_state(state, record.standing),
        last_seen_ms=record.last_seen_ms,
        certificate_expires_ms=record.certificate_expires_ms,
        version=live.version,
        copies_left=seen.copies_left,
        standing=record.standing.value,
        standing_reason=record.standing_reason,
        is_new=record.is_new,
        quarantined_bytes=record.quarantined_bytes,
        disk=live.disk.value,
    )


def chunk_totals(health: ChunkHealth) -> pb.ChunkTotals:
    """Return what is known of chunks for the wire."""
    return pb.ChunkTotals(
        total=health.chunks,
        under_replicated=health.under_replicated,
        unavailable=health.unavailable,
        datastores=[str(path) for path in health.covers],
    )


def waiting_status(claim: NodeClaim) -> pb.NodeStatus:
    """Return one node that waits for its adoption, for the wire."""
    return pb.NodeStatus(
        id=claim.node,
        address=claim.addresses[0] if claim.addresses else "",
        total_capacity=claim.capacity_bytes,
        used_capacity=claim.used_bytes,
        chunk_count=claim.chunk_count,
        state=WAITING,
        certificate_expires_ms=claim.expires_ms,
        standing=Standing.PROBATION.value,
        standing_reason="this catalogue does not know it; see: collective node adopt",
        is_new=True,
    )


def worker_status(report: Report) -> pb.WorkerStatus:
    """Return one worker for the wire."""
    return pb.WorkerStatus(
        name=report.name,
        state=report.state.value,
        last_success_ms=report.last_success_ms,
        queue=report.queue,
        error=report.error,
        next_s=report.next_s,
    )


class ClusterService(pb.ClusterBase):
    """Adapts the affairs of the member as a whole."""

    def __init__(
        self,
        domain: Domain,
        catalog: Catalog,
        nodes: MemberNodes,
        trust: MemberTrust,
        status: MemberStatus,
        admission: Admission,
    ) -> None:
        """Serve the member of ``domain``; grants are in ``catalog``."""
        self._domain = domain
        self._catalog = catalog
        self._nodes = nodes
        self._trust = trust
        self._status = status
        self._admission = admission

    async def get_status(self, message: pb.GetStatusRequest) -> pb.Status:  # noqa: ARG002
        """Return everything that the caller may know; counts cover what it may read."""
        async with self._admission.call("status", "") as call:
            found = await self._status.status(call)
            you = _caller_status(call, found.grants)
            told = list(found.warnings)
            if you.grants_left:
                told.append(
                    f"{you.grants_left} of your grants are not shown here; see: collective grant list"
                )
            health = found.totals.health
            return pb.Status(
                member_id=found.member,
                domain=self._domain,
                coordinator=pb.CoordinatorStatus(
                    address=str(found.address),
                    version=collective.__version__,
                    uptime_s=found.uptime_s,
                ),
                local_nodes=_nodes(found.nodes),
                peers=[],
                remote_nodes=[],
                files=pb.FileTotals(total=found.totals.files, bytes=found.totals.file_bytes),
                chunks=None if health is None else chunk_totals(health),
                storage=_storage(found.nodes),
                you=you,
                node_join_code=_code_status(found.node_code),
                warnings=told,
                workers=[worker_status(one) for one in found.workers],
            )

    async def list_nodes(self, message: pb.ListNodesRequest) -> pb.ListNodesResponse:  # noqa: ARG002
        """Return the nodes in order of id, to admins with the copies that keep each of them."""
        async with self._admission.call("list_nodes", "") as call:
            return pb.ListNodesResponse(nodes=_nodes(await self._nodes.list(call)))

    async def add_grant(self, message: pb.AddGrantRequest) -> pb.Grant:
        """Give rights on a path to a user."""
        async with self._admission.call("add_grant", message.path) as caller:
            if message.expires_ms < 0:
                raise UsageError("A grant cannot expire before 1970.")
            grant = await self._catalog.add_grant(
                caller,
                local_path(message.path),
                rights_from(message.rights),
                self._principal(message.principal),
                message.expires_ms / 1000 if message.expires_ms else None,
            )
            return grant_message(grant)

    async def list_grants(self, message: pb.ListGrantsRequest) -> pb.ListGrantsResponse:
        """Return a page of the caller's grants; of all for the operator."""
        async with self._admission.call("list_grants", "") as caller:
            page = await self._catalog.grants(caller, token=message.page_token)
            return pb.ListGrantsResponse(
                grants=[grant_message(grant) for grant in page], next_page_token=page.next_token
            )

    async def remove_grant(self, message: pb.RemoveGrantRequest) -> pb.RemoveGrantResponse:
        """End a grant."""
        async with self._admission.call("remove_grant", message.id) as caller:
            await self._catalog.remove_grant(caller, message.id)
            return pb.RemoveGrantResponse()

    async def renew_certificate(
        self, message: pb.RenewCertificateRequest
    ) -> pb.RenewCertificateResponse:
        """Exchange the peer's certificate; any role of this member may, for itself."""
        peer = await self._admission.own()
        if len(message.csr_der) > _CSR_MAX_BYTES:
            raise UsageError("The certificate request is too large.")
        renewed = await self._trust.renew(peer, message.csr_der)
        trusted = self._trust.trusted()
        return pb.RenewCertificateResponse(
            certificate_der=renewed,
            ca_certificate_der=trusted.ders[0],
            trusted_ca_ders=list(trusted.ders),
            ca_link_ders=list(trusted.links),
        )

    async def get_trust(self, message: pb.GetTrustRequest) -> pb.GetTrustResponse:  # noqa: ARG002
        """Tell which CAs count; anyone with a certificate of this member may ask."""
        await self._admission.own()
        trusted = self._trust.trusted()
        return pb.GetTrustResponse(
            trusted_ca_ders=list(trusted.ders), ca_link_ders=list(trusted.links)
        )

    async def approve_nodes(self, message: pb.ApproveNodesRequest) -> pb.ApproveNodesResponse:
        """Let nodes count fully, and note that they were seen; admins only."""
        target = " ".join(message.node_ids)[:_TARGET_MAX]
        async with self._admission.call("approve_nodes", target) as caller:
            done = await self._nodes.approvals.approve(
                caller, message.node_ids, even_doubted=message.even_doubted
            )
            return pb.ApproveNodesResponse(
                approvals=[
                    pb.NodeApproval(node_id=one.node, was=one.was.value, was_new=one.was_new)
                    for one in done
                ]
            )

    async def drain_node(self, message: pb.DrainNodeRequest) -> pb.DrainNodeResponse:
        """Have a node emptied, or take it back into use; admins only."""
        async with self._admission.call("drain_node", message.node_id) as caller:
            left = await self._nodes.removal.drain(
                caller, parse_node_id(message.node_id), stop=message.stop
            )
            return pb.DrainNodeResponse(copies_left=left)

    async def remove_node(self, message: pb.RemoveNodeRequest) -> pb.RemoveNodeResponse:
        """Shut a node out for good; admins only."""
        async with self._admission.call("remove_node", message.node_id) as caller:
            epoch = await self._nodes.removal.remove(
                caller, parse_node_id(message.node_id), force=message.force
            )
            return pb.RemoveNodeResponse(revocation_epoch=epoch)

    async def rotate_authority(
        self, message: pb.RotateAuthorityRequest
    ) -> pb.RotateAuthorityResponse:
        """Begin or finish the CA's replacement, or tell how far it is; the operator only."""
        async with self._admission.call("rotate_authority", "") as caller:
            progress = await self._trust.rotate(
                caller, finish=message.finish, force=message.force, only_look=message.status
            )
            return pb.RotateAuthorityResponse(
                phase=progress.phase.value,
                waiting=list(progress.waiting),
                ca_certificate_der=certificate_der(progress.newest),
                begun_ms=progress.begun_ms,
            )

    async def adopt_nodes(self, message: pb.AdoptNodesRequest) -> pb.AdoptNodesResponse:
        """Have nodes obey this catalogue in the place of what they obeyed; the operator only."""
        target = " ".join(message.node_ids)[:_TARGET_MAX] or "all"
        async with self._admission.call("adopt_nodes", target) as caller:
            done = await self._nodes.adoption.adopt(
                caller, message.node_ids, everything=message.all
            )
            return pb.AdoptNodesResponse(
                enrolled=list(done.enrolled),
                replaced=done.replaced,
                confirmed=done.confirmed,
                epoch=done.epoch,
            )

    async def discard_copies(self, message: pb.DiscardCopiesRequest) -> pb.DiscardCopiesResponse:
        """Let quarantined copies go; admins only."""
        target = " ".join(message.node_ids)[:_TARGET_MAX] or "all"
        async with self._admission.call("discard_copies", target) as caller:
            found = await self._nodes.adoption.discard(caller, message.node_ids)
            return pb.DiscardCopiesResponse(
                discarded=[
                    pb.DiscardedCopies(
                        node_id=one.node,
                        copies=one.copies,
                        bytes=one.size_bytes,
                        may_ms=one.may_ms,
                    )
                    for one in found
                ]
            )

    def _principal(self, text: str) -> SpiffeId:
        """Return a user's SPIFFE id from that or from a global id."""
        if text.startswith("spiffe://"):
            principal = SpiffeId.parse(text)
        else:
            principal = SpiffeId.user(self._domain, GlobalId.parse(text))
        if principal.role != "user":
            raise UsageError("Grants are given to users, by name@domain.")
        return principal


def _nodes(listed: NodeList) -> list[pb.NodeStatus]:
    """Return the nodes for the wire, those that wait for their adoption last."""
    return [
        *(node_status(one) for one in listed.enrolled),
        *(waiting_status(claim) for claim in listed.waiting),
    ]


def _storage(listed: NodeList) -> pb.StorageTotals:
    """Return the space of the approved nodes: anybody on probation may claim any figure."""
    total, used = space_of(one.live for one in listed.enrolled)
    return pb.StorageTotals(
        total_bytes=total, used_bytes=used, available_bytes=max(0, total - used)
    )


def _caller_status(call: Call, grants: Sequence[Grant]) -> pb.CallerStatus:
    """Return who the caller is and what it may, as far as there is room in a status."""
    shown: list[pb.Grant] = []
    size = 0
    for grant in grants:
        message = grant_message(grant)
        size += len(bytes(message)) + 8
        if size > _GRANTS_SHOWN_BYTES:
            break
        shown.append(message)
    return pb.CallerStatus(
        global_id=str(call.principal.global_id or call.principal),
        grants=shown,
        grants_left=len(grants) - len(shown),
    )


def _code_status(code: Invite | None) -> pb.JoinCodeStatus:
    """Return the newest node code; zeros where there is none, or it is not for the caller."""
    if code is None:
        return pb.JoinCodeStatus()
    return pb.JoinCodeStatus(
        uses_left=code.uses_left,
        expires_ms=int(code.expires_s * 1000),
        enrolled_count=code.uses_total - code.uses_left,
    )
