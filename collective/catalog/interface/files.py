"""The catalogue's promises about files: names, uploads and reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collective.catalog.interface.values import Allocation, ReadView, Upload
from collective.core.ids import ChunkId, LeaseKey, NodeId, UploadKey
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.changes import Attributes, Precondition
from collective.model.copies import VerifiedReceipt
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.pages import EntryPage
from collective.placement.node_choice import Offers


class Names(Protocol):
    """The tree of names."""

    async def make_directory(
        self,
        caller: Call,
        path: FilePath,
        *,
        parents: bool,
        attributes: Attributes | None = None,
    ) -> Entry:
        """Make a directory, or a datastore at top level (needs ``write``).

        ``attributes``: its time and mode, if it is made by this call; parents get the defaults.

        A missing parent is NotFoundError "Parent directory does not exist" with the mkdir to run,
        unless ``parents``; an existing name is ConflictError, unless ``parents`` and a directory.
        """
        ...

    async def make_link(
        self,
        caller: Call,
        path: FilePath,
        target: bytes,
        attributes: Attributes,
        condition: Precondition,
    ) -> Entry:
        """Make a symbolic link (needs ``write``), in the place of a file or link that may be there.

        It counts in quotas as a name and its target, and for no file.  Nothing ever follows it: a
        path that leads through it does not exist, and reading it is ConflictError.
        """
        ...

    async def set_attributes(
        self,
        caller: Call,
        path: FilePath,
        *,
        modified_ns: int | None,
        mode: int | None,
        condition: Precondition,
    ) -> Entry:
        """Change time and mode (None: as it is) of what is at ``path`` (needs ``write``).

        A file or link has a new version afterwards, with the same content.  A link has no mode, and
        ``/`` has neither.
        """
        ...

    async def stat(self, caller: Call, path: FilePath) -> Entry:
        """Return one entry; folders above a grant can be seen too (only as a way to it)."""
        ...

    async def list(
        self, caller: Call, path: FilePath, *, recursive: bool, page_size: int, token: str
    ) -> EntryPage:
        """Return one page below ``path`` (a file lists itself), only what the caller may see."""
        ...

    async def remove(
        self, caller: Call, path: FilePath, *, recursive: bool, condition: Precondition
    ) -> int:
        """Remove a file, a link, an empty directory, or a tree; return how many entries went."""
        ...

    async def move(
        self, caller: Call, source: FilePath, target: FilePath, *, condition: Precondition
    ) -> Entry:
        """Rename; a file or link at the target is replaced by one, anything else is a conflict.

        Rights: read+write at the source, write at the destination, and share at the source where
        anyone would gain access by it.  Moving a directory into itself is a conflict.
        """
        ...


class Uploads(Protocol):
    """Files coming in."""

    async def open_upload(
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

        ``absent`` is as for :meth:`open_upload`.  ``holes`` (as many at most) are recorded at once; the
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

    async def commit_upload(
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

    async def abort_upload(self, caller: Call, upload: UploadKey) -> None:
        """Forget an upload; its chunks become collectable."""
        ...

    async def get_upload(
        self, caller: Call, upload: UploadKey, *, from_offset: int, limit: int
    ) -> tuple[Upload, Sequence[Extent], bool]:
        """Return an upload of this caller, a page of its extents, and whether more follow.

        As every call about an upload does, this keeps it and its reservation alive.
        """
        ...

    async def check_upload(self, caller: Call, upload: UploadKey) -> None:
        """Raise unless the upload is there still and the caller may write where it goes.

        Asked while an upload runs through the coordinator; it is no progress.
        """
        ...


class Reads(Protocol):
    """Files going out."""

    async def open_read(
        self,
        caller: Call,
        path: FilePath,
        *,
        offset: int,
        length: int,
        if_version: int,
        batch: int,
    ) -> ReadView:
        """Lease the current version and return the first batch of pieces that touch the range.

        They follow one another without gaps: extents and holes.
        """
        ...

    async def plan_read(
        self, caller: Call, lease: LeaseKey, *, offset: int, length: int, batch: int
    ) -> ReadView:
        """Renew the lease and return the pieces that touch the range."""
        ...

    async def is_read_from(
        self, caller: Call, lease: LeaseKey, chunk: ChunkId, node: NodeId
    ) -> bool:
        """Tell whether the leased version holds ``chunk``, of which ``node`` has a copy."""
        ...

    async def close_read(self, caller: Call, lease: LeaseKey) -> None:
        """Give a lease back; unknown leases are ignored."""
        ...
