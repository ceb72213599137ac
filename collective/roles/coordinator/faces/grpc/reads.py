"""The Reads service: gives files out by the chunk stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.catalog.interface import Reads
from collective.catalog.interface.values import LocatedExtent
from collective.core import limits
from collective.core.errors import UsageError
from collective.core.ids import LeaseKey, SpiffeId, parse_chunk_id, parse_hex_id
from collective.member.files.complaints import TakesComplaints
from collective.member.files.routes import RouteMaker
from collective.model.extents import Hole
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.files import entry_message, extent_message
from collective.rpc.conversions.paths import local_path
from collective.rpc.gen.collective.v1 import reads as reads_pb
from collective.rpc.gen.collective.v1 import transfer as transfer_pb

_PROBLEMS: Final = frozenset((reads_pb.CopyProblem.CORRUPT, reads_pb.CopyProblem.MISSING))
FIRST_BATCH: Final = 16
"""Extents of an open's answer: few, so that the first byte comes soon."""


class ReadsService(reads_pb.ReadsBase):
    """Adapts reads to the catalogue; tickets are for the caller's own connection."""

    def __init__(
        self, reads: Reads, routes: RouteMaker, complaints: TakesComplaints, calls: Admission
    ) -> None:
        """Serve from ``reads``."""
        self._reads = reads
        self._routes = routes
        self._complaints = complaints
        self._calls = calls

    async def open_read(self, message: reads_pb.OpenReadRequest) -> reads_pb.OpenReadResponse:
        """Lease a version and answer with the routes of the first extents."""
        async with self._calls.call("open_read", message.path) as caller:
            view = await self._reads.open_read(
                caller,
                local_path(message.path),
                offset=message.offset,
                length=message.length,
                if_version=message.if_version,
                batch=FIRST_BATCH,
            )
            return reads_pb.OpenReadResponse(
                entry=entry_message(view.entry),
                lease_id=view.lease,
                lease_expires_ms=view.lease_expires_ms,
                plans=self._plans(view.extents, view.lease, caller.holder, message.mode),
                more=view.more,
            )

    async def plan_read(self, message: reads_pb.PlanReadRequest) -> reads_pb.PlanReadResponse:
        """Renew the lease and answer with fresh routes."""
        async with self._calls.call("plan_read", message.lease_id) as caller:
            view = await self._reads.plan_read(
                caller,
                LeaseKey(parse_hex_id(message.lease_id)),
                offset=message.offset,
                length=message.length,
                batch=limits.BATCH_MAX_CHUNKS,
            )
            return reads_pb.PlanReadResponse(
                plans=self._plans(view.extents, view.lease, caller.holder, message.mode),
                more=view.more,
                lease_expires_ms=view.lease_expires_ms,
            )

    async def close_read(self, message: reads_pb.CloseReadRequest) -> reads_pb.CloseReadResponse:
        """Give leases back."""
        async with self._calls.call("close_read", message.lease_id) as caller:
            if len(message.further_lease_ids) > limits.BATCH_MAX_CHUNKS:
                raise UsageError(
                    f"At most {limits.BATCH_MAX_CHUNKS} further leases are closed at once."
                )
            for lease_id in (message.lease_id, *message.further_lease_ids):
                await self._reads.close_read(caller, LeaseKey(parse_hex_id(lease_id)))
            return reads_pb.CloseReadResponse()

    async def report_copy(self, message: reads_pb.ReportCopyRequest) -> reads_pb.ReportCopyResponse:
        """Take a reader's hint, if the lease is the caller's and its version has such a copy.

        The hint is a reason to look at the copy, no more.
        """
        async with self._calls.call("report_copy", message.node) as caller:
            lease = LeaseKey(parse_hex_id(message.lease_id))
            await self._reads.plan_read(caller, lease, offset=0, length=1, batch=1)
            node = SpiffeId.parse(message.node).node_id
            chunk = parse_chunk_id(message.chunk_id)
            if message.problem not in _PROBLEMS:
                raise UsageError("A report must say what is wrong with the copy.")
            if await self._reads.is_read_from(caller, lease, chunk, node):
                self._complaints.complain(node, chunk, caller.principal)
            return reads_pb.ReportCopyResponse()

    def _plans(
        self,
        pieces: Sequence[LocatedExtent | Hole],
        lease: LeaseKey,
        holder: SpiffeId,
        mode: transfer_pb.RouteMode,
    ) -> list[reads_pb.ExtentPlan]:
        return [
            reads_pb.ExtentPlan(hole=transfer_pb.Hole(offset=piece.offset, length=piece.length))
            if isinstance(piece, Hole)
            else reads_pb.ExtentPlan(
                extent=extent_message(piece.extent),
                routes=self._routes.get(
                    piece.extent.chunk,
                    piece.extent.stored_length,
                    piece.copies,
                    holder=holder,
                    transfer_id=lease,
                    relay=mode == transfer_pb.RouteMode.RELAY,
                ),
            )
            for piece in pieces
        ]
