"""What the engine asks of a member once an upload or a read has begun.

All methods take the :class:`Call` that is judged.  They raise the classes of ``core/errors.py``; what may
be tried again is tried again behind this interface, so an error is final.  Cancelling a call leaves open
whether it was made.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from collective.core.ids import ChunkId, LeaseId, SpiffeId, UploadId
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.routes import RouteMode, SignedReceipt
from collective.model.transfers import ChunkPlan, CopyProblem, ReadPlan, RecordedExtents


class UploadControl(Protocol):
    """Uploads that have begun."""

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
        """Record ``holes``, and return where each of ``extents`` goes, in their order.

        ``exclude`` are nodes that do not answer; NotEnoughCopiesError where the others are too few.
        """
        ...

    async def record_extents(
        self,
        call: Call,
        upload: UploadId,
        extents: Sequence[Extent],
        receipts: Sequence[SignedReceipt],
    ) -> int:
        """Count ``receipts``, record ``extents`` whose chunks have a quorum; return bytes recorded."""
        ...

    async def commit_upload(
        self,
        call: Call,
        upload: UploadId,
        extents: Sequence[Extent],
        receipts: Sequence[SignedReceipt],
        size_bytes: int,
        holes: Sequence[Hole] = (),
    ) -> Entry:
        """Record the last pieces and make the file of ``size_bytes`` current."""
        ...

    async def abort_upload(self, call: Call, upload: UploadId) -> None:
        """Forget an upload."""
        ...

    async def recorded(self, call: Call, upload: UploadId, *, from_offset: int) -> RecordedExtents:
        """Return what an upload has recorded from ``from_offset`` on."""
        ...


class ReadControl(Protocol):
    """Versions that are leased."""

    async def plan_read(
        self, call: Call, lease: LeaseId, *, offset: int, length: int, mode: RouteMode
    ) -> ReadPlan:
        """Renew a lease, and plan ``length`` bytes from ``offset`` on; perhaps not all of them."""
        ...

    async def report_copy(
        self, call: Call, lease: LeaseId, chunk: ChunkId, node: SpiffeId, problem: CopyProblem
    ) -> None:
        """Say that a copy is bad: a hint, which is looked into."""
        ...

    async def close_reads(self, call: Call, leases: Sequence[LeaseId]) -> None:
        """Give leases back."""
        ...
