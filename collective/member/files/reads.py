"""Reads: the catalogue's leases with routes for the bytes, and readers' complaints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.catalog.interface import Reads
from collective.catalog.interface.values import LocatedExtent, ReadView
from collective.core import limits
from collective.core.ids import ChunkId, Domain, LeaseId, SpiffeId
from collective.core.paths import FilePath
from collective.member.files.interface import TakesComplaints
from collective.member.files.routes import RouteMaker
from collective.model.calls import Call
from collective.model.extents import Hole
from collective.model.routes import RouteMode
from collective.model.transfers import CopyProblem, ExtentPlan, OpenedRead, ReadPlan

FIRST_BATCH: Final = 4
"""Extents of an open's answer: few, so that the first byte comes soon."""


class MemberReads:
    """Reads of this member's files."""

    def __init__(
        self, domain: Domain, reads: Reads, routes: RouteMaker, complaints: TakesComplaints
    ) -> None:
        """Serve the member of ``domain``."""
        self._domain = domain
        self._reads = reads
        self._routes = routes
        self._complaints = complaints

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
        """Lease the current version (or ``if_version``), and plan the first of a range.

        ``length`` 0: to the end.
        """
        view = await self._reads.open(
            call, path, offset=offset, length=length, if_version=if_version, batch=FIRST_BATCH
        )
        plan = self._plan(call, view, mode)
        return OpenedRead(view.entry, LeaseId(view.lease, self._domain), plan)

    async def plan_read(
        self, call: Call, lease: LeaseId, *, offset: int, length: int, mode: RouteMode
    ) -> ReadPlan:
        """Renew a lease, and plan the first of a range."""
        view = await self._reads.plan(
            call,
            lease.key,
            offset=offset,
            length=length,
            batch=limits.BATCH_MAX_CHUNKS,
        )
        return self._plan(call, view, mode)

    async def report_copy(
        self, call: Call, lease: LeaseId, chunk: ChunkId, node: SpiffeId, _problem: CopyProblem
    ) -> None:
        """Take a reader's hint, if the lease is the caller's and its version has such a copy.

        The hint is a reason to look at the copy, no more.
        """
        key = lease.key
        await self._reads.plan(call, key, offset=0, length=1, batch=1)
        if await self._reads.is_read_from(call, key, chunk, node.node_id):
            self._complaints.complain(node.node_id, chunk, call.principal)

    async def close_reads(self, call: Call, leases: Sequence[LeaseId]) -> None:
        """Give leases back."""
        for lease in leases:
            await self._reads.close(call, lease.key)

    def _plan(self, call: Call, view: ReadView, mode: RouteMode) -> ReadPlan:
        relay = mode is RouteMode.RELAY

        def plan(piece: LocatedExtent | Hole) -> ExtentPlan | Hole:
            if isinstance(piece, Hole):
                return piece
            extent = piece.extent
            routes = self._routes.get(
                extent.chunk,
                extent.stored_length,
                piece.copies,
                holder=call.holder_by(relay=relay),
                transfer_id=view.lease,
                relay=relay,
            )
            return ExtentPlan(extent, routes)

        return ReadPlan([plan(piece) for piece in view.extents], view.more)
