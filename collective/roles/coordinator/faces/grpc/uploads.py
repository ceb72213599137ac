"""The Uploads service: takes files in by the chunk stream."""

from __future__ import annotations

from collective.core.ids import UploadId
from collective.core.paths import FilePath
from collective.member.files.member_directory import MemberDirectory
from collective.model.writing import Precondition
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.entries import attributes_from, entry_message
from collective.rpc.conversions.extents import extent_message, extents_from, holes_from
from collective.rpc.conversions.transfers import (
    chunk_plan_message,
    nodes_from,
    receipts_from,
    route_mode_from,
)
from collective.rpc.gen.collective import v1 as pb
from collective.rpc.gen.collective.v1 import uploads as uploads_pb


class UploadsService(uploads_pb.UploadsBase):
    """Adapts uploads; tickets are for the caller's own connection."""

    def __init__(self, owners: MemberDirectory, admission: Admission) -> None:
        """Serve the files that ``owners`` know."""
        self._owners = owners
        self._admission = admission

    async def open_upload(
        self, message: uploads_pb.OpenUploadRequest
    ) -> uploads_pb.OpenUploadResponse:
        """Begin an upload and answer with the routes of its first batch."""
        async with self._admission.call("open_upload", message.path) as call:
            path = FilePath.parse(message.path)
            opened = await self._owners.of_path(call, path).uploads.open_upload(
                call,
                path,
                attributes_from(message.attributes),
                Precondition(if_version=message.if_version, if_absent=message.if_absent),
                extents_from(message.chunks),
                holes_from(message.holes),
                mode=route_mode_from(message.mode),
            )
            return uploads_pb.OpenUploadResponse(
                upload_id=str(opened.id), plans=[chunk_plan_message(one) for one in opened.plans]
            )

    async def allocate_chunks(
        self, message: uploads_pb.AllocateChunksRequest
    ) -> uploads_pb.AllocateChunksResponse:
        """Answer with the routes of a further batch, or with other routes for the same chunks."""
        async with self._admission.call("allocate", message.upload_id) as call:
            upload = UploadId.parse(message.upload_id)
            plans = await self._owners.of_id(call, upload).uploads.allocate(
                call,
                upload,
                extents_from(message.chunks),
                holes_from(message.holes),
                mode=route_mode_from(message.mode),
                exclude=nodes_from(message.exclude_nodes),
            )
            return uploads_pb.AllocateChunksResponse(
                plans=[chunk_plan_message(plan) for plan in plans]
            )

    async def record_extents(
        self, message: uploads_pb.RecordExtentsRequest
    ) -> uploads_pb.RecordExtentsResponse:
        """Count receipts and record extents."""
        async with self._admission.call("record", message.upload_id) as call:
            upload = UploadId.parse(message.upload_id)
            recorded = await self._owners.of_id(call, upload).uploads.record_extents(
                call,
                upload,
                extents_from(message.extents),
                receipts_from(message.receipts),
            )
            return uploads_pb.RecordExtentsResponse(recorded_bytes=recorded)

    async def commit_upload(self, message: uploads_pb.CommitUploadRequest) -> pb.Entry:
        """Make the upload the current version."""
        async with self._admission.call("commit", message.upload_id) as call:
            upload = UploadId.parse(message.upload_id)
            entry = await self._owners.of_id(call, upload).uploads.commit_upload(
                call,
                upload,
                extents_from(message.extents),
                receipts_from(message.receipts),
                message.size_bytes,
                holes_from(message.holes),
            )
            return entry_message(entry)

    async def abort_upload(
        self, message: uploads_pb.AbortUploadRequest
    ) -> uploads_pb.AbortUploadResponse:
        """Forget the upload."""
        async with self._admission.call("abort", message.upload_id) as call:
            upload = UploadId.parse(message.upload_id)
            await self._owners.of_id(call, upload).uploads.abort_upload(call, upload)
            return uploads_pb.AbortUploadResponse()

    async def get_upload(
        self, message: uploads_pb.GetUploadRequest
    ) -> uploads_pb.GetUploadResponse:
        """Return what is recorded, for resumption."""
        async with self._admission.call("get_upload", message.upload_id) as call:
            upload = UploadId.parse(message.upload_id)
            page = await self._owners.of_id(call, upload).uploads.recorded(
                call, upload, from_offset=message.from_offset
            )
            return uploads_pb.GetUploadResponse(
                extents=[extent_message(extent) for extent in page.extents], more=page.is_more
            )
