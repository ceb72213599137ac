"""Values that go in and out of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, Generation, LeaseId, NodeId, SpiffeId, StoreUuid, UploadId
from collective.core.paths import FilePath
from collective.model.entries import Entry
from collective.model.extents import Hole
from collective.placement.challenges import Verdict
from collective.placement.choose import Held
from collective.placement.evidence import Standing
from collective.placement.healing import ChunkCopies

T = TypeVar("T")


class Page(list[T]):
    """One page of a listing, bounded in bytes, with the token of the next; empty at the end."""

    next_token: str = ""


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One page of a listing in order of path."""

    entries: Sequence[Entry]
    next_token: str
    """Opaque; empty at the end."""


@dataclass(frozen=True, slots=True)
class ChunkIntent:
    """A piece of a file that an upload wants to store."""

    chunk: ChunkId
    stored_length: int
    offset: int
    length: int
    format: int = 0
    plain_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Extent:
    """A piece of a file and the chunk that holds it."""

    offset: int
    length: int
    chunk: ChunkId
    stored_length: int
    format: int = 0
    plain_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Copy:
    """One stored copy of a chunk, as the catalogue knows it."""

    node: NodeId
    generation: Generation
    is_doubted: bool = field(default=False, compare=False)
    """It does not count; a reader, who checks what comes, may use it where no other is to be had."""


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt whose MAC has been checked by the caller of the catalogue."""

    chunk: ChunkId
    node: NodeId
    generation: Generation
    stored_length: int
    transfer_id: str


@dataclass(frozen=True, slots=True)
class PlacementNeed:
    """What the catalogue asks a placement function for, inside its transaction."""

    chunk: ChunkId
    stored_length: int
    copies_missing: int
    held_by: frozenset[NodeId]
    """Nodes that have, or may have, a copy already: never choose these."""
    held: Held
    """The copies that there are or that are being made, by their nodes' standing."""


PlaceFunction = Callable[[PlacementNeed], Sequence[NodeId]]
"""Pure and quick; returns up to ``copies_missing`` distinct nodes, first hop first."""


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

    id: UploadId
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
    lease: LeaseId
    lease_expires_ms: int
    extents: Sequence[LocatedExtent | Hole]
    """In order of offset; without gaps."""
    more: bool


@dataclass(frozen=True, slots=True)
class Position:
    """Where a catalogue stands: which one, which life of it, how many commits."""

    catalog_id: str
    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Health:
    """Whether changes get through, at one moment."""

    waiting_s: float = 0.0
    """For how long the oldest change waits that is not durable yet; 0: none waits."""
    trouble: CollectiveError | None = None
    """Why the last change was not made durable; None since one was."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node that was enrolled."""

    node: NodeId
    store_uuid: StoreUuid | None
    """None until the first heartbeat; fixed from then on."""
    capacity_bytes: int
    used_bytes: int
    chunk_count: int
    addresses: Sequence[str]
    last_seen_ms: int
    draining: bool = False
    removed: bool = False
    certificate_serial: str = ""
    certificate_expires_ms: int = 0
    standing: Standing = Standing.APPROVED
    standing_reason: str = ""
    """Why it is not approved; empty where it is."""
    refused: str = ""
    """Why its heartbeats are refused; empty where they are not."""
    is_new: bool = False
    """No operator has acknowledged its enrolment yet."""
    is_founder: bool = False
    """It enrolled while the member was being founded."""
    quarantined_bytes: int = 0
    """Bytes of copies there that this catalogue never gave out; kept by the catalogue alone."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What approving a node changed."""

    node: NodeId
    was: Standing
    was_new: bool


@dataclass(frozen=True, slots=True)
class NodeClaim:
    """A node that the catalogue does not know, as it came with a certificate that counts."""

    identity: SpiffeId
    key_digest: bytes
    """SHA-256 of the SubjectPublicKeyInfo."""
    serial: str
    expires_ms: int
    store_uuid: StoreUuid
    capacity_bytes: int
    used_bytes: int
    chunk_count: int
    addresses: Sequence[str]
    obeys: str = ""
    """Id of the catalogue that it obeyed last."""

    @property
    def node(self) -> NodeId:
        """The id in its certificate."""
        return self.identity.node_id


@dataclass(frozen=True, slots=True)
class Adoption:
    """What adopting did."""

    enrolled: Sequence[NodeId]
    """Nodes that the catalogue did not know before."""
    replaced: int
    """Other catalogues whose place it took."""
    confirmed: bool
    """It was restored from a backup, and counts as the newest from now on."""
    epoch: int


@dataclass(frozen=True, slots=True)
class Discarded:
    """What discarding quarantined copies did on one node."""

    node: NodeId
    copies: int
    size_bytes: int
    may_ms: int
    """When the first may be discarded, where none may be yet; 0: none is there."""


@dataclass(frozen=True, slots=True)
class CopyKey:
    """Names one copy on one node, for inventories, collection and repair."""

    chunk: ChunkId
    generation: Generation
    stored_length: int


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
class Judged:
    """What was proved of one copy."""

    chunk: ChunkId
    node: NodeId
    generation: Generation
    verdict: Verdict
    why: str = ""
    """Of a lie: what the node said."""


@dataclass(frozen=True, slots=True)
class ChunkHealth:
    """How many chunks there are, and how many lack copies, in what a caller may read whole."""

    chunks: int
    under_replicated: int
    unavailable: int
    covers: tuple[FilePath, ...]
    """The datastores that were counted, or ``/``; a chunk of two datastores counts in each."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over the files that a caller may read."""

    files: int
    file_bytes: int
    health: ChunkHealth | None
    """None: there is no datastore that the caller may read whole."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to know of the whole, at one moment."""

    totals: Totals
    backlog: int
    """Chunks of files that are short of copies."""
    copies_left: Mapping[NodeId, int]
    """By node, the copies that keep it from being removed."""
    doubted: int
    """Copies."""
    guarded: int
    """Copies that are given up, and kept until others are confirmed."""


class CodeKind(Enum):
    """What a join code admits."""

    USER = "user"
    NODE = "node"
    PEER = "peer"
    DEVICE = "device"
    """A further key of the identity that made the code."""


@dataclass(frozen=True, slots=True)
class CodeUse:
    """One redemption, as ``invite list`` shows it."""

    identity: SpiffeId
    at_ms: int


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """A join code as the server keeps it: never the secret."""

    id: str
    kind: CodeKind
    verifier: bytes
    """32 bytes: the Ed25519 public key derived from the secret."""
    uses_left: int
    uses_total: int
    expires_s: float
    created_by: SpiffeId
    description: str = ""
    grants: Sequence[tuple[FilePath, int]] = ()
    """Path and rights (``access.Right`` as int) that a user code gives."""
    revoked: bool = False
    created_s: float = 0.0
    bound: SpiffeId | None = None
    """The one identity that a DEVICE code is for."""
    grants_expire_s: float | None = None
    """When the first of the grants ends because its giver's does (set by the catalogue)."""
    void: bool = False
    """A right that it passes on has ended, or its maker or his key is revoked (told by the catalogue)."""
    approves: bool = False
    """A NODE code for one node, which is approved by it: an admin made it, and knows for which."""
    uses: Sequence[CodeUse] = ()
    """Who redeemed it; filled in by ``invites`` only."""

    def state(self, now_s: float) -> str:
        """Return ``open``, or why it cannot be redeemed: revoked, expired, used up, void."""
        if self.revoked:
            return "revoked"
        if self.expires_s <= now_s:
            return "expired"
        if self.uses_left <= 0:
            return "used up"
        return "void" if self.void else "open"


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


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate that was issued to an identity."""

    serial: str
    expires_ms: int
    revoked: bool
    """By its serial, its key or its identity."""


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A key that acts for an identity: one machine."""

    key_digest: bytes
    """SHA-256 of the SubjectPublicKeyInfo; empty for certificates whose key was not seen yet."""
    added_ms: int
    """When it was bound to the identity; 0 where that is not known."""
    vouched: bool
    """It goes back to a certificate that the operator signed offline, not to an invite."""
    revoked: bool
    certificates: Sequence[CertificateRecord]


@dataclass(frozen=True, slots=True)
class Consequences:
    """What ends with an identity, a key or a certificate, and what stays."""

    losers: tuple[SpiffeId, ...] = ()
    """Others whose rights came from it, in order of name."""
    invites: int = 0
    """Open codes that nobody can redeem any more."""
    datastores: tuple[FilePath, ...] = ()
    """Those that the identity owns, and goes on owning until an admin gives them another."""


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """A user who joined by a code, or was seen with a certificate of the operator's."""

    principal: SpiffeId
    display_name: str
    invited_by: SpiffeId
    joined_ms: int
    keys: int
    """How many keys (devices) act for it."""
    revoked: bool
    certificates: Sequence[CertificateRecord]
    devices: Sequence[DeviceRecord] = ()


@dataclass(frozen=True, slots=True)
class DatastoreRecord:
    """A top-level path with its owner and policy."""

    path: FilePath
    owner: SpiffeId | None
    """None: the member."""
    copies: int
    """0: the coordinator's setting."""
    quota_bytes: int
    """Of what files, their rows in the catalogue and open uploads count for; 0: none."""
    used_bytes: int
    """Of current files, without their holes."""
    files: int
    catalog_bytes: int = 0
    """What names, extents, holes and attributes count for."""
    reserved_bytes: int = 0
    """What open uploads have reserved."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change or denial."""

    at_ms: int
    actor: str
    action: str
    target: str
    detail: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One call or connection that was denied, for the audit."""

    actor: str
    action: str
    target: str
    """What it was about, as the caller named it."""
    why: str = ""
    source: str = ""
    """The host that it came from."""
    request_id: str = ""
