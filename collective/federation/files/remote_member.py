"""A peer's files as :class:`~collective.member.files.interface.Files`: each method one call to its coordinator.

A path here is ``/@DOMAIN/…``; its owner hears of ``/…``, and what it answers is put below ``/@DOMAIN``
again.  The caller is named, and the owner decides by its own grants.  Nothing is kept, and nothing tried
again: whoever calls knows whether that is right.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from collective.core import limits
from collective.core.clock import Clock
from collective.core.errors import RejectedError
from collective.core.ids import ChunkId, LeaseId, SpiffeId, UploadId
from collective.core.paths import FilePath
from collective.federation.files.relayed_routes import RelayedRoutes
from collective.federation.links.forwarding import Forwarding
from collective.federation.links.peer_link import PeerLink
from collective.model.calls import Call
from collective.model.changes import Since
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.pages import EntryPage
from collective.model.rights import Right
from collective.model.routes import Operation, RouteMode, SignedReceipt
from collective.model.transfers import (
    ChunkPlan,
    CopyProblem,
    ExtentPlan,
    OpenedRead,
    OpenedUpload,
    ReadPlan,
    RecordedExtents,
)
from collective.model.writing import Attributes, Precondition, Removed
from collective.rpc.remote.names import RemoteNames
from collective.rpc.remote.transfers import RemoteTransfers


class RemoteMember:
    """The files of one peer."""

    def __init__(self, link: PeerLink, routes: RelayedRoutes, clock: Clock) -> None:
        """Reach them over ``link``; their bytes pass this member by ``routes``."""
        forwarding = Forwarding(link, clock)
        self.names: Final = PeerNames(forwarding)
        self.changes: Final = PeerChanges(forwarding)
        self.uploads: Final = PeerUploads(forwarding, routes)
        self.reads: Final = PeerReads(forwarding, routes)


class PeerNames:
    """The tree of names of a peer."""

    def __init__(self, forwarding: Forwarding) -> None:
        """Ask by ``forwarding``."""
        self._forwarding = forwarding

    async def stat(self, call: Call, path: FilePath) -> Entry:
        """Return what ``path`` names."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            found = await RemoteNames.over(channel, control).stat(call, to.paths.at_owner(path))
        return to.paths.answered(found, path)

    async def rights(self, call: Call, path: FilePath) -> Right:
        """Return what the caller may do at ``path``."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            return await RemoteNames.over(channel, control).rights(call, to.paths.at_owner(path))

    async def list(
        self, call: Call, path: FilePath, *, recursive: bool, page_size: int, token: str
    ) -> EntryPage:
        """Return one page of what is below ``path``."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            page = await RemoteNames.over(channel, control).list(
                call,
                to.paths.at_owner(path),
                recursive=recursive,
                page_size=page_size,
                token=token,
            )
        return to.paths.listed(page, path)

    async def make_directory(
        self,
        call: Call,
        path: FilePath,
        *,
        parents: bool,
        attributes: Attributes | None = None,
    ) -> Entry:
        """Make a directory, or a datastore at top level."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            made = await RemoteNames.over(channel, control).make_directory(
                call, to.paths.at_owner(path), parents=parents, attributes=attributes
            )
        return to.paths.answered(made, path)

    async def make_link(
        self,
        call: Call,
        path: FilePath,
        target: bytes,
        attributes: Attributes,
        condition: Precondition,
    ) -> Entry:
        """Make a symbolic link."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            made = await RemoteNames.over(channel, control).make_link(
                call, to.paths.at_owner(path), target, attributes, condition
            )
        return to.paths.answered(made, path)

    async def set_attributes(
        self,
        call: Call,
        path: FilePath,
        *,
        modified_ns: int | None,
        mode: int | None,
        condition: Precondition,
    ) -> Entry:
        """Change time and mode."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            changed = await RemoteNames.over(channel, control).set_attributes(
                call,
                to.paths.at_owner(path),
                modified_ns=modified_ns,
                mode=mode,
                condition=condition,
            )
        return to.paths.answered(changed, path)

    async def remove(
        self,
        call: Call,
        path: FilePath,
        *,
        recursive: bool,
        condition: Precondition,
        budget_s: float | None = None,  # noqa: ARG002 - the owner has its own
    ) -> Removed:
        """Remove; of a large tree a part."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            return await RemoteNames.over(channel, control).remove(
                call, to.paths.at_owner(path), recursive=recursive, condition=condition
            )

    async def move(
        self, call: Call, source: FilePath, target: FilePath, *, condition: Precondition
    ) -> Entry:
        """Rename."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            moved = await RemoteNames.over(channel, control).move(
                call, to.paths.at_owner(source), to.paths.at_owner(target), condition=condition
            )
        return to.paths.answered(moved, target)


class PeerChanges:
    """What changes among the names of a peer."""

    def __init__(self, forwarding: Forwarding) -> None:
        """Ask by ``forwarding``."""
        self._forwarding = forwarding

    async def since(
        self, call: Call, folder: FilePath, cursor: str, *, wait_s: float, page_size: int
    ) -> Since:
        """Return what changed since ``cursor``; the owner waits, judges, and knows the cursor."""
        to = self._forwarding
        async with to.to_owner(call, waits_s=max(0.0, wait_s)) as (channel, control):
            found = await RemoteNames.over(channel, control).changes(
                call,
                to.paths.at_owner(folder),
                cursor,
                wait_s=max(0.0, wait_s),
                page_size=page_size,
            )
        return to.paths.changed(found, folder)


class PeerUploads:
    """Files on their way to a peer."""

    def __init__(self, forwarding: Forwarding, routes: RelayedRoutes) -> None:
        """Ask by ``forwarding``; bytes pass this member by ``routes``."""
        self._forwarding = forwarding
        self._routes = routes

    async def open_upload(
        self,
        call: Call,
        path: FilePath,
        attributes: Attributes,
        condition: Precondition,
        extents: Sequence[Extent],
        holes: Sequence[Hole] = (),
        *,
        mode: RouteMode,
    ) -> OpenedUpload:
        """Begin to write ``path``, and plan the first of it."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            opened = await RemoteTransfers.over(channel, control).open_upload(
                call,
                to.paths.at_owner(path),
                attributes,
                condition,
                extents,
                holes,
                mode=_mode_of(call, mode),
            )
        if opened.id.domain != to.paths.domain:
            raise RejectedError(f"{to.paths.domain} answers with an upload of {opened.id.domain}.")
        return OpenedUpload(opened.id, self._plans(call, opened.plans, str(opened.id.key)))

    async def allocate(
        self,
        call: Call,
        upload: UploadId,
        extents: Sequence[Extent],
        holes: Sequence[Hole] = (),
        *,
        mode: RouteMode,
        exclude: Collection[SpiffeId] = (),
    ) -> Sequence[ChunkPlan]:
        """Record holes, and return where extents go."""
        async with self._forwarding.to_owner(call) as (channel, control):
            plans = await RemoteTransfers.over(channel, control).allocate(
                call, upload, extents, holes, mode=_mode_of(call, mode), exclude=exclude
            )
        return self._plans(call, plans, str(upload.key))

    def _plans(
        self, call: Call, plans: Sequence[ChunkPlan], transfer_id: str
    ) -> Sequence[ChunkPlan]:
        return [
            plan._replace(
                routes=self._routes.of(call, plan.routes, Operation.PUT, plan.chunk, transfer_id)
            )
            for plan in plans
        ]

    async def record_extents(
        self,
        call: Call,
        upload: UploadId,
        extents: Sequence[Extent],
        receipts: Sequence[SignedReceipt],
    ) -> int:
        """Count receipts and record extents."""
        async with self._forwarding.to_owner(call) as (channel, control):
            return await RemoteTransfers.over(channel, control).record_extents(
                call, upload, extents, receipts
            )

    async def commit_upload(
        self,
        call: Call,
        upload: UploadId,
        extents: Sequence[Extent],
        receipts: Sequence[SignedReceipt],
        size_bytes: int,
        holes: Sequence[Hole] = (),
    ) -> Entry:
        """Make a file current."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            entry = await RemoteTransfers.over(channel, control).commit_upload(
                call, upload, extents, receipts, size_bytes, holes
            )
        return to.paths.here(entry)

    async def check_upload(self, call: Call, upload: UploadId) -> None:
        """Return if ``call`` may still go on with an open upload."""
        await self.recorded(call, upload, from_offset=limits.FILE_MAX_BYTES)

    async def abort_upload(self, call: Call, upload: UploadId) -> None:
        """Have an upload forgotten."""
        async with self._forwarding.to_owner(call) as (channel, control):
            await RemoteTransfers.over(channel, control).abort_upload(call, upload)

    async def recorded(self, call: Call, upload: UploadId, *, from_offset: int) -> RecordedExtents:
        """Return what is recorded, for resumption."""
        async with self._forwarding.to_owner(call) as (channel, control):
            return await RemoteTransfers.over(channel, control).recorded(
                call, upload, from_offset=from_offset
            )


class PeerReads:
    """Files on their way from a peer."""

    def __init__(self, forwarding: Forwarding, routes: RelayedRoutes) -> None:
        """Ask by ``forwarding``; bytes pass this member by ``routes``."""
        self._forwarding = forwarding
        self._routes = routes

    async def open_read(
        self,
        call: Call,
        path: FilePath,
        *,
        offset: int,
        length: int,
        if_version: int = 0,
        mode: RouteMode,
    ) -> OpenedRead:
        """Lease a version, and plan the first of a range."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            opened = await RemoteTransfers.over(channel, control).open_read(
                call,
                to.paths.at_owner(path),
                offset=offset,
                length=length,
                if_version=if_version,
                mode=_mode_of(call, mode),
            )
        if opened.lease.domain != to.paths.domain:
            raise RejectedError(f"{to.paths.domain} answers with a lease of {opened.lease.domain}.")
        plan = self._plan(call, opened.plan, str(opened.lease.key))
        return OpenedRead(to.paths.answered(opened.entry, path), opened.lease, plan)

    async def plan_read(
        self, call: Call, lease: LeaseId, *, offset: int, length: int, mode: RouteMode
    ) -> ReadPlan:
        """Renew the lease, and plan on."""
        async with self._forwarding.to_owner(call) as (channel, control):
            plan = await RemoteTransfers.over(channel, control).plan_read(
                call, lease, offset=offset, length=length, mode=_mode_of(call, mode)
            )
        return self._plan(call, plan, str(lease.key))

    def _plan(self, call: Call, plan: ReadPlan, transfer_id: str) -> ReadPlan:
        pieces = [
            piece
            if isinstance(piece, Hole)
            else ExtentPlan(
                piece.extent,
                self._routes.of(call, piece.routes, Operation.GET, piece.extent.chunk, transfer_id),
            )
            for piece in plan.pieces
        ]
        return ReadPlan(pieces, plan.is_more)

    async def report_copy(
        self, call: Call, lease: LeaseId, chunk: ChunkId, node: SpiffeId, problem: CopyProblem
    ) -> None:
        """Say that a copy is bad."""
        async with self._forwarding.to_owner(call) as (channel, control):
            await RemoteTransfers.over(channel, control).report_copy(
                call, lease, chunk, node, problem
            )

    async def close_reads(self, call: Call, leases: Sequence[LeaseId]) -> None:
        """Give leases back."""
        async with self._forwarding.to_owner(call) as (channel, control):
            await RemoteTransfers.over(channel, control).close_reads(call, leases)


def _mode_of(call: Call, mode: RouteMode) -> RouteMode:
    """Return the mode that the owner is asked for: what the coordinator carries goes by its own connection."""
    return mode if call.carrier is None else RouteMode.RELAY
