"""Uploads and reads of a member, as its coordinator serves them.

Calls that may be made twice outlive a coordinator that restarts.  The connection says who calls, so the
:class:`Call` that each method takes is not sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from collective.core.ids import ChunkId, LeaseId, SpiffeId, UploadId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.routes import RouteMode, SignedReceipt
from collective.model.transfers import (
    ChunkPlan,
    CopyProblem,
    OpenedRead,
    OpenedUpload,
    ReadPlan,
    RecordedExtents,
)
from collective.model.writing import Attributes, Precondition
from collective.rpc.conversions.entries import attributes_message, entry_from
from collective.rpc.conversions.extents import extent_from, extent_message, hole_message
from collective.rpc.conversions.transfers import (
    chunk_plan_from,
    mode_message,
    problem_message,
    read_plan_from,
    receipt_message,
)
from collective.rpc.gen.collective.v1 import reads as reads_pb
from collective.rpc.gen.collective.v1 import uploads as uploads_pb
from collective.rpc.links import Channel
from collective.rpc.remote.answers import taken
from collective.rpc.remote.connection import Control


@dataclass(frozen=True, slots=True)
class RemoteTransfers:
    """Uploads and reads at one coordinator."""

    control: Control
    uploads: uploads_pb.UploadsStub
    reads: reads_pb.ReadsStub

    @classmethod
    def over(cls, channel: Channel, control: Control) -> Self:
        """Return what calls over ``channel`` with the deadlines of ``control``."""
        return cls(control, channel.stub(uploads_pb.UploadsStub), channel.stub(reads_pb.ReadsStub))

    # --- uploads -------------------------------------------------------------------------------

    async def open_upload(
        self,
        _call: Call,
        path: FilePath,
        attributes: Attributes,
        condition: Precondition,
        extents: Sequence[Extent],
        holes: Sequence[Hole] = (),
        *,
        mode: RouteMode,
    ) -> OpenedUpload:
        """Begin to write ``path``, and plan the first of it."""
        request = uploads_pb.OpenUploadRequest(
            path=str(path),
            attributes=attributes_message(attributes),
            if_version=condition.if_version,
            if_absent=condition.if_absent,
            chunks=[extent_message(extent) for extent in extents],
            mode=mode_message(mode),
            holes=[hole_message(hole) for hole in holes],
        )
        return taken(_opened_upload, await self.control.call(self.uploads.open_upload, request))

    async def allocate(
        self,
        _call: Call,
        upload: UploadId,
        extents: Sequence[Extent],
        holes: Sequence[Hole] = (),
        *,
        mode: RouteMode,
        exclude: Collection[SpiffeId] = (),
    ) -> Sequence[ChunkPlan]:
        """Record holes, and return where extents go."""
        request = uploads_pb.AllocateChunksRequest(
            upload_id=str(upload),
            chunks=[extent_message(extent) for extent in extents],
            mode=mode_message(mode),
            exclude_nodes=[str(node) for node in exclude],
            holes=[hole_message(hole) for hole in holes],
        )
        answer = await self.control.persist(self.uploads.allocate_chunks, request)
        return [taken(chunk_plan_from, plan) for plan in answer.plans]

    async def record_extents(
        self,
        _call: Call,
        upload: UploadId,
        extents: Sequence[Extent],
        receipts: Sequence[SignedReceipt],
    ) -> int:
        """Count receipts and record extents."""
        request = uploads_pb.RecordExtentsRequest(
            upload_id=str(upload),
            extents=[extent_message(extent) for extent in extents],
            receipts=[receipt_message(receipt) for receipt in receipts],
        )
        return (await self.control.persist(self.uploads.record_extents, request)).recorded_bytes

    async def commit_upload(
        self,
        _call: Call,
        upload: UploadId,
        extents: Sequence[Extent],
        receipts: Sequence[SignedReceipt],
        size_bytes: int,
        holes: Sequence[Hole] = (),
    ) -> Entry:
        """Make a file current."""
        request = uploads_pb.CommitUploadRequest(
            upload_id=str(upload),
            extents=[extent_message(extent) for extent in extents],
            receipts=[receipt_message(receipt) for receipt in receipts],
            size_bytes=size_bytes,
            holes=[hole_message(hole) for hole in holes],
        )
        return taken(entry_from, await self.control.persist(self.uploads.commit_upload, request))

    async def abort_upload(self, _call: Call, upload: UploadId) -> None:
        """Have an upload forgotten."""
        request = uploads_pb.AbortUploadRequest(upload_id=str(upload))
        await self.control.call(self.uploads.abort_upload, request)

    async def recorded(self, _call: Call, upload: UploadId, *, from_offset: int) -> RecordedExtents:
        """Return what an upload has recorded."""
        request = uploads_pb.GetUploadRequest(upload_id=str(upload), from_offset=from_offset)
        answer = await self.control.persist(self.uploads.get_upload, request)
        return RecordedExtents([taken(extent_from, one) for one in answer.extents], answer.more)

    # --- reads ---------------------------------------------------------------------------------

    async def open_read(
        self,
        _call: Call,
        path: FilePath,
        *,
        offset: int,
        length: int,
        if_version: int = 0,
        mode: RouteMode,
    ) -> OpenedRead:
        """Lease the current version of ``path``, and plan the first of it."""
        request = reads_pb.OpenReadRequest(
            path=str(path),
            offset=offset,
            length=length,
            mode=mode_message(mode),
            if_version=if_version,
        )
        return taken(_opened_read, await self.control.begin(self.reads.open_read, request))

    async def plan_read(
        self, _call: Call, lease: LeaseId, *, offset: int, length: int, mode: RouteMode
    ) -> ReadPlan:
        """Renew a lease and plan a range."""
        request = reads_pb.PlanReadRequest(
            lease_id=str(lease), offset=offset, length=length, mode=mode_message(mode)
        )
        answer = await self.control.persist(self.reads.plan_read, request)
        return taken(lambda one: read_plan_from(one.plans, is_more=one.more), answer)

    async def report_copy(
        self, _call: Call, lease: LeaseId, chunk: ChunkId, node: SpiffeId, problem: CopyProblem
    ) -> None:
        """Say that a copy is bad."""
        request = reads_pb.ReportCopyRequest(
            lease_id=str(lease),
            chunk_id=chunk,
            node=str(node),
            problem=problem_message(problem),
        )
        await self.control.call(self.reads.report_copy, request)

    async def close_reads(self, _call: Call, leases: Sequence[LeaseId]) -> None:
        """Give leases back."""
        names = [str(lease) for lease in leases]
        request = reads_pb.CloseReadRequest(lease_id=names[0], further_lease_ids=names[1:])
        await self.control.call(self.reads.close_read, request)


def _opened_upload(message: uploads_pb.OpenUploadResponse) -> OpenedUpload:
    plans = [chunk_plan_from(plan) for plan in message.plans]
    return OpenedUpload(UploadId.parse(message.upload_id), plans)


def _opened_read(message: reads_pb.OpenReadResponse) -> OpenedRead:
    return OpenedRead(
        entry_from(message.entry),
        LeaseId.parse(message.lease_id),
        read_plan_from(message.plans, is_more=message.more),
    )
