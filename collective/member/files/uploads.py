"""Uploads with placement: the catalogue's decisions, turned into routes for the bytes.

The same for a client, which holds its tickets itself, and for a whole file through the coordinator.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import structlog

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import Allocation
from collective.core.errors import NotEnoughCopiesError
from collective.core.ids import Domain, NodeId, SpiffeId, UploadId, UploadKey
from collective.core.paths import FilePath
from collective.member.files.receipts import ReceiptChecker
from collective.member.files.routes import RouteMaker
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.nodes import NodeState
from collective.model.routes import RouteMode, SignedReceipt
from collective.model.transfers import ChunkPlan, OpenedUpload, RecordedExtents
from collective.model.writing import Attributes, Precondition
from collective.placement.node_choice import Offers, waiting_for_approval
from collective.placement.shortage import Policy, approve_sentence, nodes_shortage

EXTENTS_PAGE: Final = 1000
"""Recorded extents of one page."""


class MemberUploads:
    """Opens uploads, allocates and commits, with routes."""

    def __init__(
        self,
        domain: Domain,
        catalog: Catalog,
        table: LiveNodes,
        routes: RouteMaker,
        receipts: ReceiptChecker,
        policy: Policy,
    ) -> None:
        """Serve the member of ``domain``; place by ``table`` and sign by ``routes``."""
        self._domain = domain
        self._uploads = catalog.uploads
        self._records = catalog.nodes
        self._table = table
        self._routes = routes
        self._receipts = receipts
        self.policy = policy
        self._log = structlog.get_logger("coordinator.uploads")

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
        """Begin an upload, and plan the first of it; see :meth:`Uploads.open_upload`."""
        await self._table.write_refusals()
        async with self._explaining(frozenset(), extents):
            upload = await self._uploads.open(
                call,
                path,
                attributes,
                condition,
                extents,
                self._offers(extents),
                absent=self._table.absent(),
                holes=holes,
            )
        plans = self._plans(call, upload.id, upload.allocations, mode)
        return OpenedUpload(UploadId(upload.id, self._domain), plans)

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
        """Record holes, and plan a batch outside of the nodes in ``exclude``."""
        key = upload.key
        excluded = frozenset(node.node_id for node in exclude)
        if excluded:
            self._log.info("nodes_excluded_by_client", upload=key, nodes=sorted(excluded))
        await self._table.write_refusals()
        async with self._explaining(excluded, extents):
            allocations = await self._uploads.allocate(
                call,
                key,
                extents,
                self._offers(extents, excluded),
                absent=self._table.absent(),
                holes=holes,
            )
            if excluded:
                allocations = [self._without(one, excluded) for one in allocations]
        return self._plans(call, key, allocations, mode)

    def _offers(
        self, extents: Sequence[Extent], exclude: frozenset[NodeId] = frozenset()
    ) -> Offers:
        chunks = dict.fromkeys((extent.chunk, extent.stored_length) for extent in extents)
        return self._table.drawing(exclude).offers(chunks)

    def _plans(
        self, call: Call, key: UploadKey, allocations: Sequence[Allocation], mode: RouteMode
    ) -> Sequence[ChunkPlan]:
        """Return where to send each chunk, with tickets for the holder of ``call``."""
        self._promise(allocations)
        relay = mode is RouteMode.RELAY
        return [
            ChunkPlan(
                chunk=one.chunk,
                is_stored=one.stored,
                routes=[]
                if one.stored
                else self._routes.put(
                    one, holder=call.holder_by(relay=relay), transfer_id=key, relay=relay
                ),
                quorum=one.quorum,
                held=len(one.held),
            )
            for one in allocations
        ]

    async def record_extents(
        self,
        call: Call,
        upload: UploadId,
        extents: Sequence[Extent],
        receipts: Sequence[SignedReceipt],
    ) -> int:
        """Check receipts and record extents; return bytes recorded."""
        key = upload.key
        checked = self._receipts.check_all(receipts, key)
        self._table.note_stored(checked)
        await self._table.write_refusals()
        async with self._following_doubts():
            return await self._uploads.record_extents(
                call, key, extents, checked, absent=self._table.absent()
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
        """Check receipts and make the new version current."""
        key = upload.key
        checked = self._receipts.check_all(receipts, key)
        self._table.note_stored(checked)
        await self._table.write_refusals()
        async with self._following_doubts():
            return await self._uploads.commit(
                call, key, extents, checked, size_bytes, absent=self._table.absent(), holes=holes
            )

    async def abort_upload(self, call: Call, upload: UploadId) -> None:
        """Forget an upload."""
        await self._uploads.abort(call, upload.key)

    async def recorded(self, call: Call, upload: UploadId, *, from_offset: int) -> RecordedExtents:
        """Return what an upload has recorded, one page."""
        _, extents, is_more = await self._uploads.get(
            call, upload.key, from_offset=from_offset, limit=EXTENTS_PAGE
        )
        return RecordedExtents(extents, is_more)

    async def check_upload(self, call: Call, upload: UploadId) -> None:
        """Raise unless the upload goes on and the caller may still write there."""
        await self._uploads.check(call, upload.key)

    def shortage(self, exclude: frozenset[NodeId] = frozenset()) -> str | None:
        """Return why writes cannot reach their quorum now, or None if they can."""
        states = self._table.states()
        usable = [
            (live.record.node, live.record.standing)
            for live in self._table.all()
            if states.get(live.record.node) is NodeState.UP and live.record.node not in exclude
        ]
        return nodes_shortage(self.policy, len(states), usable)

    def _without(self, allocation: Allocation, exclude: frozenset[NodeId]) -> Allocation:
        """Leave out targets the holder cannot reach: the catalogue may name one again.

        Nodes that an upload was sent to before keep their intent rows, and are offered again where
        placement has no other node to give.
        """
        if allocation.stored:
            return allocation
        targets = [copy for copy in allocation.targets if copy.node not in exclude]
        if len(allocation.held) + len(targets) < allocation.quorum:
            raise NotEnoughCopiesError(
                f"Only {len(allocation.held) + len(targets)} of the {allocation.quorum} nodes "
                "that a write needs can be reached; see collective node list, and try again."
            )
        return replace(allocation, targets=targets)

    def _promise(self, allocations: Sequence[Allocation]) -> None:
        for allocation in allocations:
            for target in allocation.targets:
                self._table.promise(target.node, allocation.stored_length)

    @asynccontextmanager
    async def _following_doubts(self) -> AsyncIterator[None]:
        """Take a node that is doubted for its receipt out of placement at once."""
        before = self._records.doubts()
        try:
            yield
        finally:
            if self._records.doubts() != before:
                await self._table.reload()

    @asynccontextmanager
    async def _explaining(
        self, exclude: frozenset[NodeId], extents: Sequence[Extent]
    ) -> AsyncIterator[None]:
        """Say what is really the matter where the catalogue only knows that placement failed."""
        try:
            yield
        except NotEnoughCopiesError as error:
            waiting = waiting_for_approval(
                self._table.candidates(exclude),
                length_bytes=max((extent.stored_length for extent in extents), default=1),
                exclude=exclude,
            )
            sentence = approve_sentence(waiting) if waiting else self.shortage(exclude)
            if sentence is None:
                raise
            raise NotEnoughCopiesError(sentence) from error
