"""The Reads service: gives files out by the chunk stream."""

from __future__ import annotations

from collections.abc import Sequence

from collective.core import limits
from collective.core.errors import UsageError
from collective.core.ids import Domain, LeaseId, parse_chunk_id
from collective.core.paths import FilePath
from collective.core.tasks import all_of
from collective.member.files.member_directory import MemberDirectory
from collective.model.calls import Call
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.entries import entry_message
from collective.rpc.conversions.transfers import (
    node_from,
    piece_message,
    problem_from,
    route_mode_from,
)
from collective.rpc.gen.collective.v1 import reads as reads_pb


class ReadsService(reads_pb.ReadsBase):
    """Adapts reads; tickets are for the caller's own connection."""

    def __init__(self, owners: MemberDirectory, admission: Admission) -> None:
        """Serve the files that ``owners`` know."""
        self._owners = owners
        self._admission = admission

    async def open_read(self, message: reads_pb.OpenReadRequest) -> reads_pb.OpenReadResponse:
        """Lease a version and answer with the routes of the first extents."""
        async with self._admission.call("open_read", message.path) as call:
            path = FilePath.parse(message.path)
            opened = await self._owners.of_path(call, path).reads.open_read(
                call,
                path,
                offset=message.offset,
                length=message.length,
                if_version=message.if_version,
                mode=route_mode_from(message.mode),
            )
            return reads_pb.OpenReadResponse(
                entry=entry_message(opened.entry),
                lease_id=str(opened.lease),
                plans=[piece_message(piece) for piece in opened.plan.pieces],
                more=opened.plan.is_more,
            )

    async def plan_read(self, message: reads_pb.PlanReadRequest) -> reads_pb.PlanReadResponse:
        """Renew the lease and answer with fresh routes."""
        async with self._admission.call("plan_read", message.lease_id) as call:
            lease = LeaseId.parse(message.lease_id)
            plan = await self._owners.of_id(call, lease).reads.plan_read(
                call,
                lease,
                offset=message.offset,
                length=message.length,
                mode=route_mode_from(message.mode),
            )
            return reads_pb.PlanReadResponse(
                plans=[piece_message(piece) for piece in plan.pieces], more=plan.is_more
            )

    async def close_read(self, message: reads_pb.CloseReadRequest) -> reads_pb.CloseReadResponse:
        """Give leases back."""
        async with self._admission.call("close_read", message.lease_id) as call:
            if len(message.further_lease_ids) > limits.BATCH_MAX_CHUNKS:
                raise UsageError(
                    f"At most {limits.BATCH_MAX_CHUNKS} further leases are closed at once."
                )
            names = (message.lease_id, *message.further_lease_ids)
            of_members: dict[Domain, list[LeaseId]] = {}
            for lease in map(LeaseId.parse, names):
                of_members.setdefault(lease.domain, []).append(lease)
            await all_of(*(self._close(call, leases) for leases in of_members.values()))
            return reads_pb.CloseReadResponse()

    async def _close(self, call: Call, leases: Sequence[LeaseId]) -> None:
        """Give back leases of one member, in one call where they are passed on."""
        await self._owners.of_id(call, leases[0]).reads.close_reads(call, leases)

    async def report_copy(self, message: reads_pb.ReportCopyRequest) -> reads_pb.ReportCopyResponse:
        """Take a reader's hint."""
        async with self._admission.call("report_copy", message.node) as call:
            lease = LeaseId.parse(message.lease_id)
            await self._owners.of_id(call, lease).reads.report_copy(
                call,
                lease,
                parse_chunk_id(message.chunk_id),
                node_from(message.node),
                problem_from(message.problem),
            )
            return reads_pb.ReportCopyResponse()
