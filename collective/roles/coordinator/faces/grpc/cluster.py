"""The Cluster service: status, nodes, grants, renewal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import collective
from collective.catalog.interface import Catalog
from collective.core.clock import Clock
from collective.core.errors import PermissionDeniedError, UsageError
from collective.core.ids import Domain, GlobalId, MemberId, NodeId, SpiffeId, parse_node_id
from collective.core.units import Address
from collective.core.work import Report, report_warnings
from collective.member.care.figures import Figures
from collective.member.files.uploads import Policy
from collective.member.metrics import HEALTHY, WAITING
from collective.member.nodes.adoption import AdoptionDesk
from collective.member.nodes.approval import Approvals
from collective.member.nodes.live_nodes import LiveNode, LiveNodes, space_of
from collective.member.nodes.removal import Removal
from collective.member.nodes.warnings import Situation, warnings, warnings_for_all
from collective.member.trust.expiry_watch import ExpiryWatch
from collective.member.trust.rotation import Rotation
from collective.model.calls import Call
from collective.model.nodes import NodeClaim, NodeState, Standing
from collective.model.status import ChunkHealth
from collective.pki.certificates import Certified, certificate_der
from collective.placement.node_states import Outlook, shown
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.paths import local_path
from collective.rpc.conversions.people import grant_message
from collective.rpc.conversions.rights import rights_from
from collective.rpc.gen.collective.v1 import cluster as pb

_TARGET_MAX = 256
_CSR_MAX_BYTES = 16 * 1024
_GRANTS_SHOWN_BYTES = 1024 * 1024


class Certificates(Protocol):
    """What renews a certificate that still counts."""

    async def renew(self, peer: Certified, csr_der: bytes) -> bytes:
        """Return a new certificate (DER) of the peer's identity for the key in the request."""
        ...

    def trusted(self) -> list[bytes]:
        """Return every CA that counts (DER), the one that signs first."""
        ...

    def links(self) -> list[bytes]:
        """Return the old CA's word for the new one (DER), while a rotation is under way."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """Who this coordinator is."""

    member: MemberId
    domain: Domain
    address: Address


def node_status(live: LiveNode, state: NodeState, copies_left: int) -> pb.NodeStatus:
    """Return one node for the wire."""
    record = live.record
    return pb.NodeStatus(
        id=record.node,
        address=str((*live.reachable, *live.addresses, "")[0]),
        total_capacity=record.capacity_bytes,
        used_capacity=record.used_bytes,
        chunk_count=record.chunk_count,
        is_healthy=state in HEALTHY and live.ready and record.standing is not Standing.DOUBTED,
        state=shown(state, record.standing),
        last_seen_ms=record.last_seen_ms,
        certificate_expires_ms=record.certificate_expires_ms,
        version=live.version,
        copies_left=copies_left,
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
    """Adapts the cluster's affairs to table and catalogue."""

    def __init__(
        self,
        *,
        member: Member,
        catalog: Catalog,
        table: LiveNodes,
        figures: Figures,
        policy: Policy,
        certificates: Certificates,
        removal: Removal,
        standing: Approvals,
        adoption: AdoptionDesk,
        rotation: Rotation,
        watch: ExpiryWatch,
        calls: Admission,
        clock: Clock,
        workers: Callable[[], Sequence[Report]] = tuple,
        unwell: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Serve for ``member``; uptime counts from now.

        ``workers`` tells of background work, ``unwell`` what is wrong with the coordinator itself.
        """
        self._workers = workers
        self._unwell = unwell
        self._removal = removal
        self._standing = standing
        self._adoption = adoption
        self._rotation = rotation
        self._watch = watch
        self._member = member
        self._catalog = catalog
        self._table = table
        self._figures = figures
        self._policy = policy
        self._certificates = certificates
        self._calls = calls
        self._clock = clock
        self._started_s = clock.monotonic_s()

    async def get_status(self, message: pb.GetStatusRequest) -> pb.Status:  # noqa: ARG002
        """Return everything that the caller may know; counts cover what he may read."""
        async with self._calls.call("status", "") as caller:
            outlook = self._table.outlook()
            nodes = self._table.all()
            is_admin = await self._catalog.is_admin(caller)
            if is_admin:
                survey = await self._figures.survey()
                totals, left = survey.totals, survey.copies_left
            else:
                totals, left = await self._catalog.totals(caller, outlook.sources), {}
            now_s = self._clock.wall_s()
            situation = Situation(
                policy=self._policy,
                nodes=nodes,
                outlook=outlook,
                health=totals.health if is_admin else None,  # for the warnings of admins alone
                is_restored=await self._catalog.is_restored(),
                now_ms=int(now_s * 1000),
                expiry_warning_ms=self._watch.leaf_warning_ms,
                told=[
                    *await self._catalog.notices(),
                    *await self._watch.warnings(now_s),
                    *report_warnings(self._workers()),
                ],
                rivals=self._table.rivals(),
                waiting=[claim.node for claim in self._adoption.waiting()],
                catalog_id=(await self._catalog.position()).catalog_id,
                copies_left=left,
            )
            you = await self._caller_status(caller)
            told = [
                *self._unwell(),
                *(warnings(situation) if is_admin else warnings_for_all(situation)),
            ]
            if you.grants_left:
                told.append(
                    f"{you.grants_left} of your grants are not shown here; see: collective grant list"
                )
            return pb.Status(
                member_id=self._member.member,
                domain=self._member.domain,
                coordinator=pb.CoordinatorStatus(
                    address=str(self._member.address),
                    version=collective.__version__,
                    uptime_s=self._clock.monotonic_s() - self._started_s,
                ),
                local_nodes=self._nodes(outlook, left),
                peers=[],
                remote_nodes=[],
                files=pb.FileTotals(total=totals.files, bytes=totals.file_bytes),
                chunks=None if totals.health is None else chunk_totals(totals.health),
                storage=_storage(nodes),
                you=you,
                node_join_code=await self._join_code_status(caller),
                warnings=told,
                workers=[worker_status(one) for one in self._workers()] if is_admin else [],
            )

    async def list_nodes(self, message: pb.ListNodesRequest) -> pb.ListNodesResponse:  # noqa: ARG002
        """Return the nodes in order of id, to admins with the copies that keep each of them."""
        async with self._calls.call("list_nodes", "") as caller:
            left: Mapping[NodeId, int] = {}
            if await self._catalog.is_admin(caller):
                left = (await self._figures.survey()).copies_left
            return pb.ListNodesResponse(nodes=self._nodes(self._table.outlook(), left))

    async def add_grant(self, message: pb.AddGrantRequest) -> pb.Grant:
        """Give rights on a path to a user."""
        async with self._calls.call("add_grant", message.path) as caller:
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
        async with self._calls.call("list_grants", "") as caller:
            page = await self._catalog.grants(caller, token=message.page_token)
            return pb.ListGrantsResponse(
                grants=[grant_message(grant) for grant in page], next_page_token=page.next_token
            )

    async def remove_grant(self, message: pb.RemoveGrantRequest) -> pb.RemoveGrantResponse:
        """End a grant."""
        async with self._calls.call("remove_grant", message.id) as caller:
            await self._catalog.remove_grant(caller, message.id)
            return pb.RemoveGrantResponse()

    async def renew_certificate(
        self, message: pb.RenewCertificateRequest
    ) -> pb.RenewCertificateResponse:
        """Exchange the peer's certificate; any role of this member may, for itself."""
        peer = await self._calls.own()
        if len(message.csr_der) > _CSR_MAX_BYTES:
            raise UsageError("The certificate request is too large.")
        certificate_der = await self._certificates.renew(peer, message.csr_der)
        trusted = self._certificates.trusted()
        return pb.RenewCertificateResponse(
            certificate_der=certificate_der,
            ca_certificate_der=trusted[0],
            trusted_ca_ders=trusted,
            ca_link_ders=self._certificates.links(),
        )

    async def get_trust(self, message: pb.GetTrustRequest) -> pb.GetTrustResponse:  # noqa: ARG002
        """Tell which CAs count; anyone with a certificate of this member may ask."""
        await self._calls.own()
        return pb.GetTrustResponse(
            trusted_ca_ders=self._certificates.trusted(), ca_link_ders=self._certificates.links()
        )

    async def approve_nodes(self, message: pb.ApproveNodesRequest) -> pb.ApproveNodesResponse:
        """Let nodes count fully, and note that they were seen; admins only."""
        target = " ".join(message.node_ids)[:_TARGET_MAX]
        async with self._calls.call("approve_nodes", target) as caller:
            done = await self._standing.approve(
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
        async with self._calls.call("drain_node", message.node_id) as caller:
            left = await self._removal.drain(
                caller, parse_node_id(message.node_id), stop=message.stop
            )
            return pb.DrainNodeResponse(copies_left=left)

    async def remove_node(self, message: pb.RemoveNodeRequest) -> pb.RemoveNodeResponse:
        """Shut a node out for good; admins only."""
        async with self._calls.call("remove_node", message.node_id) as caller:
            epoch = await self._removal.remove(
                caller, parse_node_id(message.node_id), force=message.force
            )
            return pb.RemoveNodeResponse(revocation_epoch=epoch)

    async def rotate_authority(
        self, message: pb.RotateAuthorityRequest
    ) -> pb.RotateAuthorityResponse:
        """Begin or finish the CA's replacement, or tell how far it is; the operator only."""
        async with self._calls.call("rotate_authority", "") as caller:
            if not caller.is_operator:
                raise PermissionDeniedError(
                    "Only the operator may replace the CA; use the coordinator's certificate."
                )
            if message.force and not message.finish:
                raise UsageError("--force belongs to --finish.")
            if message.status and message.finish:
                raise UsageError("Give --status or --finish, not both.")
            if message.status:
                progress = await self._rotation.progress()
            elif message.finish:
                progress = await self._rotation.finish(caller, force=message.force)
            else:
                progress = await self._rotation.begin(caller)
            return pb.RotateAuthorityResponse(
                phase=progress.phase.value,
                waiting=list(progress.waiting),
                ca_certificate_der=certificate_der(progress.newest),
                begun_ms=progress.begun_ms,
            )

    async def adopt_nodes(self, message: pb.AdoptNodesRequest) -> pb.AdoptNodesResponse:
        """Have nodes obey this catalogue in the place of what they obeyed; the operator only."""
        target = " ".join(message.node_ids)[:_TARGET_MAX] or "all"
        async with self._calls.call("adopt_nodes", target) as caller:
            done = await self._adoption.adopt(caller, message.node_ids, everything=message.all)
            return pb.AdoptNodesResponse(
                enrolled=list(done.enrolled),
                replaced=done.replaced,
                confirmed=done.confirmed,
                epoch=done.epoch,
            )

    async def discard_copies(self, message: pb.DiscardCopiesRequest) -> pb.DiscardCopiesResponse:
        """Let quarantined copies go; admins only."""
        target = " ".join(message.node_ids)[:_TARGET_MAX] or "all"
        async with self._calls.call("discard_copies", target) as caller:
            found = await self._adoption.discard(caller, message.node_ids)
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

    def _nodes(self, outlook: Outlook, left: Mapping[NodeId, int]) -> list[pb.NodeStatus]:
        """Return the nodes, then those that wait for their adoption; ``left``: copies, by node."""
        return [
            *(
                node_status(
                    live,
                    outlook.states.get(live.record.node, NodeState.SUSPECT),
                    left.get(live.record.node, 0),
                )
                for live in self._table.all()
            ),
            *(waiting_status(claim) for claim in self._adoption.waiting()),
        ]

    async def _caller_status(self, caller: Call) -> pb.CallerStatus:
        """Return who the caller is and what he may, as far as there is room in a status."""
        found = await self._catalog.own_grants(caller)
        shown: list[pb.Grant] = []
        size = 0
        for grant in found:
            message = grant_message(grant)
            size += len(bytes(message)) + 8
            if size > _GRANTS_SHOWN_BYTES:
                break
            shown.append(message)
        return pb.CallerStatus(
            global_id=str(caller.principal.global_id or caller.principal),
            grants=shown,
            grants_left=len(found) - len(shown),
        )

    async def _join_code_status(self, caller: Call) -> pb.JoinCodeStatus:
        """Return the newest node join code, to the operator; zeros to others."""
        if caller.is_operator:
            code = await self._catalog.newest_node_code()
            if code is not None:
                return pb.JoinCodeStatus(
                    uses_left=code.uses_left,
                    expires_ms=int(code.expires_s * 1000),
                    enrolled_count=code.uses_total - code.uses_left,
                )
        return pb.JoinCodeStatus()

    def _principal(self, text: str) -> SpiffeId:
        """Return a user's SPIFFE id from that or from a global id."""
        if text.startswith("spiffe://"):
            principal = SpiffeId.parse(text)
        else:
            principal = SpiffeId.user(self._member.domain, GlobalId.parse(text))
        if principal.role != "user":
            raise UsageError("Grants are given to users, by name@domain.")
        return principal


def _storage(nodes: Sequence[LiveNode]) -> pb.StorageTotals:
    """Return the space of the approved nodes: anybody on probation may claim any figure."""
    total, used = space_of(nodes)
    return pb.StorageTotals(
        total_bytes=total, used_bytes=used, available_bytes=max(0, total - used)
    )
