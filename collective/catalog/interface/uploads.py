"""What the catalogue promises about files coming in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collective.catalog.interface.values import Allocation, Upload
from collective.core.ids import NodeId, UploadKey
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.copies import VerifiedReceipt
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.writing import Attributes, Precondition
from collective.placement.node_choice import Offers


class Uploads(Protocol):
    """Files coming in."""

    async def open(
        self,
        caller: Call,
        path: FilePath,
        attributes: Attributes,
        condition: Precondition,
        intents: Sequence[Extent],
        offers: Offers,
        *,
        absent: frozenset[NodeId] = frozenset(),
        holes: Sequence[Hole] = (),
    ) -> Upload:
        """Begin an upload and allocate its first batch, in one transaction.

        ``holes`` are as for :meth:`allocate`.  Copies on nodes in ``absent`` (down, lost, refused) are not counted by deduplication.
        Raises NotEnoughCopiesError when the nodes in ``offers`` are too few for a quorum, naming the setting.
        """
        ...

    async def allocate(
        self,
        caller: Call,
        upload: UploadKey,
        intents: Sequence[Extent],
        offers: Offers,
        *,
        absent: frozenset[NodeId] = frozenset(),
        holes: Sequence[Hole] = (),
    ) -> Sequence[Allocation]:
        """Write intent rows for a batch (at most BATCH_MAX_CHUNKS), pin deduplicated chunks.

        ``absent`` is as for :meth:`open`.  ``holes`` (as many at most) are recorded at once; the
        same one again is no error, one that overlaps anything else is a conflict.  What lies before
        the end of a batch and is declared as a hole counts for no quota.
        Repeating a chunk of the same upload asks for the copies still missing, elsewhere.
        """
        ...

    async def record_extents(
        self,
        caller: Call,
        upload: UploadKey,
        extents: Sequence[Extent],
        receipts: Sequence[VerifiedReceipt],
        *,
        absent: frozenset[NodeId] = frozenset(),
    ) -> int:
        """Count receipts and record extents whose chunks have quorum; return bytes recorded.

        Of the copies on nodes in ``absent`` only those count whose receipt this upload has shown.
        """
        ...

    async def commit(
        self,
        caller: Call,
        upload: UploadKey,
        extents: Sequence[Extent],
        receipts: Sequence[VerifiedReceipt],
        size_bytes: int,
        *,
        absent: frozenset[NodeId] = frozenset(),
        holes: Sequence[Hole] = (),
    ) -> Entry:
        """Flip the current version; repeating a commit that succeeded returns the same entry.

        The extents and holes must cover ``size_bytes`` exactly, and every chunk have a quorum of receipts
        (or of copies that the caller may use, but for those on nodes in ``absent``).
        """
        ...

    async def abort(self, caller: Call, upload: UploadKey) -> None:
        """Forget an upload; its chunks become collectable."""
        ...

    async def get(
        self, caller: Call, upload: UploadKey, *, from_offset: int, limit: int
    ) -> tuple[Upload, Sequence[Extent], bool]:
        """Return an upload of this caller, a page of its extents, and whether more follow.

        As every call about an upload does, this keeps it and its reservation alive.
        """
        ...

    async def check(self, caller: Call, upload: UploadKey) -> None:
        """Raise unless the upload is there still and the caller may write where it goes.

        Asked while an upload runs through the coordinator; it is no progress.
        """
        ...
