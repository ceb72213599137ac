"""Uploads with placement: the catalogue's decisions, turned into routes for one holder.

Shared by the chunk-stream calls (the client is the holder) and by streaming ``Write`` (the
coordinator itself is).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from collective.catalog.interface import Catalog, Uploads
from collective.catalog.interface.values import Allocation, Upload
from collective.core.errors import NotEnoughCopiesError
from collective.core.ids import NodeId, SpiffeId, UploadKey
from collective.core.paths import FilePath
from collective.member.files.receipts import ReceiptChecker
from collective.member.files.routes import RouteMaker
from collective.member.nodes.live_nodes import LiveNode, LiveNodes
from collective.model.calls import Call
from collective.model.changes import Attributes, Precondition
from collective.model.entries import Entry
from collective.model.extents import ChunkIntent, Extent, Hole
from collective.model.nodes import NodeState, Standing
from collective.placement.evidence import counted, quorum_of
from collective.placement.node_choice import waiting_for_approval
from collective.rpc.gen.collective.v1 import transfer as transfer_pb
from collective.rpc.gen.collective.v1 import uploads as uploads_pb

NAMED_MAX: Final = 5
"""Nodes that one sentence names."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Copies of each chunk, and how many of them an acknowledged write needs."""

    copies: int

    @property
    def quorum(self) -> int:
        """More than half of the copies of the setting, whatever nodes there are."""
        return quorum_of(self.copies)


def by_standing(
    nodes: Sequence[LiveNode],
    states: Mapping[NodeId, NodeState],
    exclude: frozenset[NodeId] = frozenset(),
) -> tuple[int, list[NodeId]]:
    """Return how many approved nodes are up, and which on probation are."""
    up = [
        live.record
        for live in nodes
        if states.get(live.record.node) is NodeState.UP and live.record.node not in exclude
    ]
    approved = sum(1 for record in up if record.standing is Standing.APPROVED)
    return approved, [one.node for one in up if one.standing is Standing.PROBATION]


def shortage_sentence(
    policy: Policy, enrolled: int, healthy: int, on_probation: Sequence[NodeId] = ()
) -> str | None:
    """Return why too few nodes are there for a write, or None if their number is not why.

    Args:
        policy: how many copies are wanted.
        enrolled: nodes, whatever their state.
        healthy: nodes that are up and approved.
        on_probation: nodes that are up and on probation.
    """
    needed = policy.quorum
    if counted(healthy, len(on_probation)) < needed <= healthy + len(on_probation):
        return approve_sentence(on_probation)
    if enrolled < needed:
        return (
            f"COLLECTIVE_COPIES={policy.copies} needs {needed} nodes for a write, and {enrolled} "
            f"{'is' if enrolled == 1 else 'are'} enrolled; enrol more nodes or lower "
            "COLLECTIVE_COPIES."
        )
    if healthy < needed:
        return (
            f"A write needs {needed} healthy nodes, and {healthy} of {enrolled} can be used now; "
            "start the others (collective node list shows them) and try again."
        )
    return None


def approve_sentence(nodes: Sequence[NodeId]) -> str:
    """Return what to do where a write fails since only nodes on probation could take it."""
    named = " ".join(nodes[:NAMED_MAX])
    return (
        f"Too few approved nodes can take this; {listed(nodes)} could, on probation. If you know"
        f" {'it' if len(nodes) == 1 else 'them'}: collective node approve {named}"
    )


def listed(nodes: Sequence[NodeId]) -> str:
    """Return the names of the first few nodes, and how many more there are."""
    more = len(nodes) - NAMED_MAX
    return ", ".join(nodes[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


class UploadDesk:
    """Opens uploads, allocates and commits, with routes."""

    def __init__(
        self,
        catalog: Catalog,
        table: LiveNodes,
        routes: RouteMaker,
        receipts: ReceiptChecker,
        policy: Policy,
    ) -> None:
        """Place by ``table`` and sign by ``routes``."""
        self._catalog = catalog
        self._uploads: Uploads = catalog
        self._table = table
        self._routes = routes
        self._receipts = receipts
        self.policy = policy

    async def open(
        self,
        caller: Call,
        path: FilePath,
        attributes: Attributes,
        condition: Precondition,
        intents: Sequence[ChunkIntent],
        holes: Sequence[Hole] = (),
    ) -> Upload:
        """Begin an upload; see :meth:`Uploads.open_upload`."""
        await self._table.write_refusals()
        async with self._explaining(frozenset(), intents):
            upload = await self._uploads.open_upload(
                caller,
                path,
                attributes,
                condition,
                intents,
                self._table.placer(),
                absent=self._table.absent(),
                holes=holes,
            )
        self._promise(upload.allocations)
        return upload

    async def allocate(
        self,
        caller: Call,
        upload: UploadKey,
        intents: Sequence[ChunkIntent],
        exclude: frozenset[NodeId] = frozenset(),
        holes: Sequence[Hole] = (),
    ) -> Sequence[Allocation]:
        """Record holes, and allocate a batch outside of the nodes in ``exclude``."""
        await self._table.write_refusals()
        async with self._explaining(exclude, intents):
            allocations = await self._uploads.allocate(
                caller,
                upload,
                intents,
                self._table.placer(exclude),
                absent=self._table.absent(),
                holes=holes,
            )
            if exclude:
                allocations = [self._without(one, exclude) for one in allocations]
        self._promise(allocations)
        return allocations

    def plans(
        self,
        allocations: Sequence[Allocation],
        *,
        upload: UploadKey,
        holder: SpiffeId,
        relay: bool,
    ) -> list[uploads_pb.ChunkPlan]:
        """Return where to send each chunk, with tickets for ``holder``."""
        return [
            uploads_pb.ChunkPlan(
                chunk_id=allocation.chunk,
                stored=allocation.stored,
                routes=[]
                if allocation.stored
                else self._routes.put(allocation, holder=holder, transfer_id=upload, relay=relay),
                quorum=allocation.quorum,
                copies_held=len(allocation.held),
            )
            for allocation in allocations
        ]

    async def record(
        self,
        caller: Call,
        upload: UploadKey,
        extents: Sequence[Extent],
        receipts: Sequence[transfer_pb.SignedReceipt],
    ) -> int:
        """Check receipts and record extents; return bytes recorded."""
        checked = self._receipts.check_all(receipts, upload)
        self._table.note_stored(checked)
        await self._table.write_refusals()
        async with self._following_doubts():
            return await self._uploads.record_extents(
                caller, upload, extents, checked, absent=self._table.absent()
            )

    async def commit(
        self,
        caller: Call,
        upload: UploadKey,
        extents: Sequence[Extent],
        receipts: Sequence[transfer_pb.SignedReceipt],
        size_bytes: int,
        holes: Sequence[Hole] = (),
    ) -> Entry:
        """Check receipts and make the new version current."""
        checked = self._receipts.check_all(receipts, upload)
        self._table.note_stored(checked)
        await self._table.write_refusals()
        async with self._following_doubts():
            return await self._uploads.commit_upload(
                caller,
                upload,
                extents,
                checked,
                size_bytes,
                absent=self._table.absent(),
                holes=holes,
            )

    async def abort(self, caller: Call, upload: UploadKey) -> None:
        """Forget an upload."""
        await self._uploads.abort_upload(caller, upload)

    async def get(
        self, caller: Call, upload: UploadKey, *, from_offset: int, limit: int
    ) -> tuple[Upload, Sequence[Extent], bool]:
        """Return what an upload has recorded."""
        return await self._uploads.get_upload(caller, upload, from_offset=from_offset, limit=limit)

    async def check(self, caller: Call, upload: UploadKey) -> None:
        """Raise unless the upload goes on and the caller may still write there."""
        await self._uploads.check_upload(caller, upload)

    def shortage(self, exclude: frozenset[NodeId] = frozenset()) -> str | None:
        """Return why writes cannot reach their quorum now, or None if they can."""
        states = self._table.states()
        approved, on_probation = by_standing(self._table.all(), states, exclude)
        return shortage_sentence(self.policy, len(states), approved, on_probation)

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
        before = self._catalog.doubts()
        try:
            yield
        finally:
            if self._catalog.doubts() != before:
                await self._table.reload()

    @asynccontextmanager
    async def _explaining(
        self, exclude: frozenset[NodeId], intents: Sequence[ChunkIntent]
    ) -> AsyncIterator[None]:
        """Say what is really the matter where the catalogue only knows that placement failed."""
        try:
            yield
        except NotEnoughCopiesError as error:
            waiting = waiting_for_approval(
                self._table.candidates(exclude),
                length_bytes=max((intent.stored_length for intent in intents), default=1),
                exclude=exclude,
            )
            sentence = approve_sentence(waiting) if waiting else self.shortage(exclude)
            if sentence is None:
                raise
            raise NotEnoughCopiesError(sentence) from error
