"""Values that pass between the catalogue and the member alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, LeaseKey, NodeId, SpiffeId, UploadKey
from collective.core.paths import FilePath
from collective.model.copies import ChunkCopies, Copy, CopyKey
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole


@dataclass(frozen=True, slots=True)
class Allocation:
    """What was decided for one intent, committed before it is returned."""

    chunk: ChunkId
    stored_length: int
    stored: bool
    """Enough healthy copies exist, and are pinned for this upload: send nothing."""
    held: Sequence[Copy]
    """Copies counted so far (receipts of this upload, or of an authorised deduplication)."""
    targets: Sequence[Copy]
    """Intent rows just written: where to send, with the generation that each copy will have."""
    quorum: int = 0
    """Copies that a write of this upload needs (by its datastore)."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An open upload."""

    id: UploadKey
    path: FilePath
    copies: int
    quorum: int
    expires_ms: int
    allocations: Sequence[Allocation]


@dataclass(frozen=True, slots=True)
class LocatedExtent:
    """An extent and the copies a reader may use."""

    extent: Extent
    copies: Sequence[Copy]


@dataclass(frozen=True, slots=True)
class ReadView:
    """A leased version and one batch of its extents."""

    entry: Entry
    lease: LeaseKey
    lease_expires_ms: int
    extents: Sequence[LocatedExtent | Hole]
    """In order of offset; without gaps."""
    more: bool


@dataclass(frozen=True, slots=True)
class Health:
    """Whether changes get through, at one moment."""

    waiting_s: float = 0.0
    """For how long the oldest change waits that is not durable yet; 0: none waits."""
    trouble: CollectiveError | None = None
    """Why the last change was not made durable; None since one was."""


class Claimed(list[tuple[NodeId, CopyKey]]):
    """Copies to delete, by node."""

    is_more: bool = False
    """Collection has more to do than it did for this."""


@dataclass(frozen=True, slots=True)
class RepairTask:
    """A claimed chunk that is short of copies; the new copy's intent row is committed."""

    chunk: ChunkId
    stored_length: int
    sources: Sequence[Copy]
    target: Copy
    repair_id: str
    """32 hex digits; the transfer id of its tickets and receipt."""


@dataclass(frozen=True, slots=True)
class ChunkPage:
    """Chunks in use that one bounded search found; perhaps none, and more behind them."""

    chunks: Sequence[ChunkCopies]
    after: int | None
    """Where the next search goes on; None at the end, and only there."""


class Settled(Enum):
    """What became of a copy that was given up."""

    DELETED = "deleted"
    """Its node is asked to delete it."""
    TAKEN_BACK = "taken back"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """What a redemption issued, as the issuer hands it to the catalogue."""

    identity: SpiffeId
    serial: str
    """Lower-case hex."""
    expires_ms: int
    der: bytes


@dataclass(frozen=True, slots=True)
class Redemption:
    """A certificate that a code produced; the same key redeeming again gets the same one."""

    code_id: str
    key_digest: bytes
    """SHA-256 of the SubjectPublicKeyInfo."""
    identity: SpiffeId
    certificate_der: bytes
