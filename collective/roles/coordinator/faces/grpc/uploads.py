"""The Uploads service: takes files in by the chunk stream."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from collective.core.errors import UsageError
from collective.core.ids import NodeId, SpiffeId, UploadKey, parse_hex_id
from collective.member.files.uploads import UploadDesk
from collective.model.changes import Precondition
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.files import (
    attributes_from,
    entry_message,
    extent_message,
    extents_from,
    holes_from,
    intents_from,
)
from collective.rpc.conversions.paths import local_path
from collective.rpc.gen.collective import v1 as pb
from collective.rpc.gen.collective.v1 import transfer as transfer_pb
from collective.rpc.gen.collective.v1 import uploads as uploads_pb

_EXCLUDE_MAX = 256
_EXTENTS_PAGE = 1000


def excluded_nodes(names: Sequence[str]) -> frozenset[NodeId]:
    """Return the nodes that a client found unresponsive; malformed names are refused."""
    if len(names) > _EXCLUDE_MAX:
        raise UsageError(f"At most {_EXCLUDE_MAX} nodes can be excluded.")
    return frozenset(SpiffeId.parse(name).node_id for name in names)


class UploadsService(uploads_pb.UploadsBase):
    """Adapts uploads to the desk; tickets are for the caller's own connection."""

    def __init__(self, uploads: UploadDesk, calls: Admission) -> None:
        """Serve from ``uploads``."""
        self._uploads = uploads
        self._calls = calls
        self._log = structlog.get_logger("coordinator.uploads")

    async def open_upload(
        self, message: uploads_pb.OpenUploadRequest
    ) -> uploads_pb.OpenUploadResponse:
        """Begin an upload and answer with the routes of its first batch."""
        async with self._calls.call("open_upload", message.path) as caller:
            upload = await self._uploads.open(
                caller,
                local_path(message.path),
                attributes_from(message.attributes),
                Precondition(if_version=message.if_version, if_absent=message.if_absent),
                intents_from(message.chunks),
                holes_from(message.holes),
            )
            return uploads_pb.OpenUploadResponse(
                upload_id=upload.id,
                expires_ms=upload.expires_ms,
                plans=self._uploads.plans(
                    upload.allocations,
                    upload=upload.id,
                    holder=caller.holder,
                    relay=message.mode == transfer_pb.RouteMode.RELAY,
                ),
            )

    async def allocate_chunks(
        self, message: uploads_pb.AllocateChunksRequest
    ) -> uploads_pb.AllocateChunksResponse:
        """Answer with the routes of a further batch, or with other routes for the same chunks."""
        async with self._calls.call("allocate", message.upload_id) as caller:
            upload = UploadKey(parse_hex_id(message.upload_id))
            exclude = excluded_nodes(message.exclude_nodes)
            if exclude:
                self._log.info("nodes_excluded_by_client", upload=upload, nodes=sorted(exclude))
            allocations = await self._uploads.allocate(
                caller,
                upload,
                intents_from(message.chunks),
                exclude,
                holes_from(message.holes),
            )
            return uploads_pb.AllocateChunksResponse(
                plans=self._uploads.plans(
                    allocations,
                    upload=upload,
                    holder=caller.holder,
                    relay=message.mode == transfer_pb.RouteMode.RELAY,
                )
            )

    async def record_extents(
        self, message: uploads_pb.RecordExtentsRequest
    ) -> uploads_pb.RecordExtentsResponse:
        """Count receipts and record extents."""
        async with self._calls.call("record", message.upload_id) as caller:
            recorded = await self._uploads.record(
                caller,
                UploadKey(parse_hex_id(message.upload_id)),
                extents_from(message.extents),
                message.receipts,
            )
            return uploads_pb.RecordExtentsResponse(recorded_bytes=recorded)

    async def commit_upload(self, message: uploads_pb.CommitUploadRequest) -> pb.Entry:
        """Make the upload the current version."""
        async with self._calls.call("commit", message.upload_id) as caller:
            entry = await self._uploads.commit(
                caller,
                UploadKey(parse_hex_id(message.upload_id)),
                extents_from(message.extents),
                message.receipts,
                message.size_bytes,
                holes_from(message.holes),
            )
            return entry_message(entry)

    async def abort_upload(
        self, message: uploads_pb.AbortUploadRequest
    ) -> uploads_pb.AbortUploadResponse:
        """Forget the upload."""
        async with self._calls.call("abort", message.upload_id) as caller:
            await self._uploads.abort(caller, UploadKey(parse_hex_id(message.upload_id)))
            return uploads_pb.AbortUploadResponse()

    async def get_upload(
        self, message: uploads_pb.GetUploadRequest
    ) -> uploads_pb.GetUploadResponse:
        """Return what is recorded, for resumption."""
        async with self._calls.call("get_upload", message.upload_id) as caller:
            upload, extents, more = await self._uploads.get(
                caller,
                UploadKey(parse_hex_id(message.upload_id)),
                from_offset=message.from_offset,
                limit=_EXTENTS_PAGE,
            )
            return uploads_pb.GetUploadResponse(
                expires_ms=upload.expires_ms,
                extents=[extent_message(extent) for extent in extents],
                more=more,
            )
