"""What every catalogue engine promises; ``tests/contract/catalog`` is this page as a test suite.

Semantics common to all methods:

* A method that changes something returns only after its transaction is durable (flushed); the audit
  row is part of the same transaction.  Cancelling a waiting caller does not undo the change.
* Methods that take a :class:`Caller` check his grants inside the transaction, by ``access``: outside
  all grants :class:`PermissionDeniedError`, whatever exists; inside, :class:`NotFoundError`.
* ``now`` comes from the clock that the engine was made with.
* A full disk raises :class:`NoSpaceError` and changes nothing; the engine stays usable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from collective.access.model import Caller, Grant, Right
from collective.catalog.model import (
    Allocation,
    Attributes,
    AuditRow,
    ChunkIntent,
    CodeRecord,
    Copy,
    CopyKey,
    DatastoreRecord,
    Entry,
    EntryPage,
    Extent,
    IdentityRecord,
    IssuedCertificate,
    NodeRecord,
    PlaceFunction,
    Position,
    Precondition,
    ReadView,
    Redemption,
    Refusal,
    RepairTask,
    Totals,
    Upload,
    VerifiedReceipt,
)
from collective.core.ids import ChunkId, Generation, LeaseId, NodeId, SpiffeId, StoreUuid, UploadId
from collective.core.paths import FilePath


class Names(Protocol):
    """The tree of names."""

    async def make_directory(self, caller: Caller, path: FilePath, *, parents: bool) -> Entry:
        """Make a directory, or a datastore at top level (needs ``write``).

        A missing parent is NotFoundError "Parent directory does not exist" with the mkdir to run,
        unless ``parents``; an existing name is ConflictError, unless ``parents`` and a directory.
        """
        ...

    async def stat(self, caller: Caller, path: FilePath) -> Entry:
        """Return one entry; folders above a grant can be seen too (only as a way to it)."""
        ...

    async def list(
        self, caller: Caller, path: FilePath, *, recursive: bool, page_size: int, token: str
    ) -> EntryPage:
        """Return one page below ``path`` (a file lists itself), only what the caller may see."""
        ...

    async def remove(
        self, caller: Caller, path: FilePath, *, recursive: bool, condition: Precondition
    ) -> int:
        """Remove a file, an empty directory, or a tree; return how many entries went."""
        ...

    async def move(
        self, caller: Caller, source: FilePath, target: FilePath, *, condition: Precondition
    ) -> Entry:
        """Rename; an existing file at the target is replaced, anything else there is a conflict.

        Rights: read+write at the source, write at the destination, and share at the source where
        anyone would gain access by it.  Moving a directory into itself is a conflict.
        """
        ...


class Uploads(Protocol):
    """Files coming in."""

    async def open_upload(
        self,
        caller: Caller,
        path: FilePath,
        attributes: Attributes,
        condition: Precondition,
        intents: Sequence[ChunkIntent],
        place: PlaceFunction,
        *,
        absent: frozenset[NodeId] = frozenset(),
    ) -> Upload:
        """Begin an upload and allocate its first batch, in one transaction.

        Copies on nodes in ``absent`` (down, lost, refused) are not counted by deduplication.
        Raises NotEnoughCopiesError when ``place`` cannot give quorum copies, naming the setting.
        """
        ...

    async def allocate(
        self,
        caller: Caller,
        upload: UploadId,
        intents: Sequence[ChunkIntent],
        place: PlaceFunction,
        *,
        absent: frozenset[NodeId] = frozenset(),
    ) -> Sequence[Allocation]:
        """Write intent rows for a batch (at most BATCH_MAX_CHUNKS), pin deduplicated chunks.

        ``absent`` is as for :meth:`open_upload`.
        Repeating a chunk of the same upload asks for the copies still missing, elsewhere.
        """
        ...

    async def record_extents(
        self,
        caller: Caller,
        upload: UploadId,
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
        caller: Caller,
        upload: UploadId,
        extents: Sequence[Extent],
        receipts: Sequence[VerifiedReceipt],
        size_bytes: int,
        *,
        absent: frozenset[NodeId] = frozenset(),
    ) -> Entry:
        """Flip the current version; repeating a commit that succeeded returns the same entry.

        The extents must cover ``size_bytes`` exactly, and every chunk have a quorum of receipts
        (or of copies that the caller may use, but for those on nodes in ``absent``).
        """
        ...

    async def abort_upload(self, caller: Caller, upload: UploadId) -> None:
        """Forget an upload; its chunks become collectable."""
        ...

    async def get_upload(
        self, caller: Caller, upload: UploadId, *, from_offset: int, limit: int
    ) -> tuple[Upload, Sequence[Extent], bool]:
        """Return an upload of this caller, a page of its extents, and whether more follow.

        As every call about an upload does, this keeps it and its reservation alive.
        """
        ...

    async def check_upload(self, caller: Caller, upload: UploadId) -> None:
        """Raise unless the upload is there still and the caller may write where it goes.

        Asked while an upload runs through the coordinator; it is no progress.
        """
        ...


class Reads(Protocol):
    """Files going out."""

    async def open_read(
        self,
        caller: Caller,
        path: FilePath,
        *,
        offset: int,
        length: int,
        if_version: int,
        batch: int,
    ) -> ReadView:
        """Lease the current version and return the first batch of extents that touch the range."""
        ...

    async def plan_read(
        self, caller: Caller, lease: LeaseId, *, offset: int, length: int, batch: int
    ) -> ReadView:
        """Renew the lease and return the extents that touch the range."""
        ...

    async def close_read(self, caller: Caller, lease: LeaseId) -> None:
        """Give a lease back; unknown leases are ignored."""
        ...


class Nodes(Protocol):
    """Nodes and the copies on them."""

    async def nodes(self) -> Sequence[NodeRecord]:
        """Return every node ever enrolled, in order of id."""
        ...

    async def add_node(self, record: NodeRecord) -> None:
        """Enrol or replace the record of a node (keeps a store uuid that is known already)."""
        ...

    async def bind_store(self, node: NodeId, store: StoreUuid) -> None:
        """Fix the store of a node at its first heartbeat; another store later is ConflictError."""
        ...

    async def update_nodes(self, records: Sequence[NodeRecord]) -> None:
        """Write what heartbeats said, for many nodes in one transaction; not audited."""
        ...

    async def set_node_flags(
        self, actor: Caller, node: NodeId, *, draining: bool | None, removed: bool | None
    ) -> None:
        """Begin or end a drain, or remove a node."""
        ...

    async def compare_inventory(
        self,
        node: NodeId,
        copies: Sequence[CopyKey],
        *,
        after: bytes,
        last: bool,
        spare: frozenset[tuple[ChunkId, Generation]] = frozenset(),
    ) -> Sequence[CopyKey]:
        """Compare one page of a node's inventory (ascending chunk id, beginning after ``after``).

        Copies in ``spare`` were stored after the page may have been made: they stay what they are.
        Catalogued copies in the page's key range that the node lacks lose their ``stored`` state;
        intents that are present become ``stored`` only if their upload knows the receipt, else stay.
        Returns copies that the catalogue knows nothing of (orphans by state, never by age).
        """
        ...

    async def mark_copies(
        self, node: NodeId, copies: Sequence[tuple[ChunkId, Generation]], *, lost: bool
    ) -> None:
        """Take copies out of use because they are corrupt or missing; they are repaired."""
        ...

    async def claim_repairs(
        self, limit: int, place: PlaceFunction, usable: frozenset[NodeId], lost: frozenset[NodeId]
    ) -> Sequence[RepairTask]:
        """Claim up to ``limit`` chunks short of copies, fewest copies first, and write intents.

        A copy on a node in ``lost`` does not count; one on a node neither usable nor lost counts,
        but is no source.
        """
        ...

    async def finish_repair(self, task: RepairTask, receipt: VerifiedReceipt | None) -> None:
        """Record the new copy, or (None) give the claim up; the intent's remains are collected."""
        ...

    async def copies_left(self) -> Mapping[NodeId, int]:
        """Count the stored copies of chunks in use on each node that has any."""
        ...

    async def copies_only_on(self, node: NodeId) -> int:
        """Count the chunks in use whose only stored copy, among nodes not removed, is there."""
        ...

    async def repair_backlog(self, usable: frozenset[NodeId], lost: frozenset[NodeId]) -> int:
        """Count chunks that are short of copies."""
        ...

    async def settle_copies(self) -> bool:
        """Go one bounded step on with what moves and policies left; True if something is left.

        A chunk wants as many copies as the datastore asks for that asks for most of those which
        hold a file with it.
        """
        ...

    async def claim_collection(
        self, limit: int, grace_s: float
    ) -> Sequence[tuple[NodeId, CopyKey]]:
        """Mark unreferenced, unpinned, unleased chunks deleting; return copies to delete, by node.

        Returns nothing while the catalogue is ``restored`` and not confirmed.  Also returns orphans
        that :meth:`compare_inventory` found, and copies taken out of use.
        """
        ...

    async def finish_collection(self, node: NodeId, copies: Sequence[CopyKey]) -> None:
        """Forget copies whose node has deleted them."""
        ...

    async def copies_of(self, chunk: ChunkId) -> Sequence[Copy]:
        """Return the stored copies of a chunk."""
        ...

    async def totals(self, caller: Caller | None, usable: frozenset[NodeId]) -> Totals:
        """Count files and chunks that the caller may read; None counts everything."""
        ...


class Trust(Protocol):
    """Codes, certificates, revocations, grants, audit."""

    async def add_code(self, actor: Caller, code: CodeRecord) -> CodeRecord:
        """Store a new join code; return it as stored.

        A USER code needs ``share`` and each right on each of its paths; its life and its grants'
        end with the rights that they come from.  A DEVICE code must be bound to its maker.  Other
        kinds need an admin.
        """
        ...

    async def code(self, code_id: str) -> CodeRecord:
        """Return a code, or NotFoundError."""
        ...

    async def codes(self) -> Sequence[CodeRecord]:
        """Return all codes, newest first."""
        ...

    async def invites(self, caller: Caller, *, only_open: bool) -> Sequence[CodeRecord]:
        """Return the codes that ``caller`` made (an admin: all), newest first, with their uses."""
        ...

    async def revoke_code(self, actor: Caller, code_id: str) -> CodeRecord:
        """Make a code unusable from now on; ConflictError if it is already.

        Only its maker or an admin may.
        """
        ...

    async def redeem(
        self,
        code_id: str,
        key_digest: bytes,
        issue: Callable[[CodeRecord], IssuedCertificate],
        *,
        display_name: str = "",
        request_id: str = "",
    ) -> Redemption:
        """Count one use and store certificate, identity, key and grants, in one transaction.

        ``issue`` runs only when the code is good.  The same key redeeming the same code again gets
        the stored answer and uses nothing.  Expired, revoked, used-up and void codes raise
        ConflictError, each with its own sentence; so does a USER code redeemed for an identity that
        belongs to another key, and any redemption for a revoked identity or by a revoked key.  A
        node's record is written, too.
        """
        ...

    async def identities(self, caller: Caller) -> Sequence[IdentityRecord]:
        """Return who joined, in order of name: all to an admin, himself to anybody else."""
        ...

    async def require_admin(self, caller: Caller, action: str) -> None:
        """Raise PermissionDeniedError unless ``caller`` is an admin; ``action``: "read the audit"."""
        ...

    async def next_node_number(self) -> int:
        """Return a number for ``<member>-node-NN`` that was never given before (1, 2, …)."""
        ...

    async def add_issued(
        self, identity: SpiffeId, serial: str, expires_ms: int, key_digest: bytes
    ) -> None:
        """Remember a certificate that renews one; ConflictError if identity or key is revoked."""
        ...

    async def see_certificate(
        self,
        issuer: SpiffeId,
        identity: SpiffeId,
        serial: str,
        expires_ms: int,
        key_digest: bytes,
    ) -> None:
        """Take note of a certificate in use, of which the trust rule was checked; repeats are free.

        One that ``issuer`` signed offline binds its key to a user's identity.  ConflictError where
        the key is revoked, or an invite bound another one that is not: then it does not count.
        """
        ...

    async def key_of(self, serial: str) -> bytes | None:
        """Return the SHA-256 of the key of a certificate, or None where that is not known."""
        ...

    async def revoke(self, actor: Caller, what: str) -> int:
        """Revoke ``spiffe://…``, ``key:HEX``, or ``serial:HEX`` with its key where that is known.

        Open codes made by a revoked identity or key end.  Returns the new revocation epoch.
        """
        ...

    async def learn_revocations(self, revoked: Sequence[str], *, epoch: int = 0) -> None:
        """Take back revocations that nodes remember and a restored catalogue does not.

        The epoch never falls behind ``epoch``, the highest that a node has seen.
        """
        ...

    async def has_redeemed(self, identity: SpiffeId, key_digest: bytes) -> bool:
        """Tell whether ``identity`` was given by a code to the key of that SHA-256."""
        ...

    async def certificate_holders(self) -> Sequence[SpiffeId]:
        """Return who was issued a certificate that has not run out, each once."""
        ...

    async def revocations(self) -> tuple[int, Sequence[str]]:
        """Return the revocation epoch and everything revoked."""
        ...

    async def add_grant(
        self,
        caller: Caller,
        path: FilePath,
        rights: Right,
        principal: SpiffeId,
        expires_s: float | None,
    ) -> Grant:
        """Give rights; needs ``share`` and at most one's own rights, or the operator."""
        ...

    async def grants(self, caller: Caller) -> Sequence[Grant]:
        """Return the caller's live grants and what came from them; all live ones for an admin."""
        ...

    async def remove_grant(self, caller: Caller, grant_id: str) -> None:
        """End a grant."""
        ...

    def note_denial(self, refusal: Refusal) -> None:
        """Note a refusal for the audit; equal ones are joined, and written together later."""
        ...

    async def audit(self, *, since_ms: int, limit: int) -> Sequence[AuditRow]:
        """Return audit rows in order of time."""
        ...


class Datastores(Protocol):
    """Top-level paths with owner and policy; ``make_directory`` makes them with the default policy.

    A quota counts the bytes of current files.  It is enforced inside the transaction when an upload
    is opened, when it allocates (what other uploads allocated lately counts too), when it commits,
    and when a move brings files in: NoSpaceError, and nothing changes.
    """

    async def create_datastore(
        self,
        caller: Caller,
        path: FilePath,
        *,
        copies: int,
        quota_bytes: int,
        owner: SpiffeId | None,
    ) -> DatastoreRecord:
        """Make a datastore with a policy; admins only.  ``copies`` 0: the setting.

        An owner other than the member (None) gets every right on it.
        """
        ...

    async def datastores(self, caller: Caller) -> Sequence[DatastoreRecord]:
        """Return the datastores that the caller may read, in order of path."""
        ...

    async def set_datastore(
        self,
        caller: Caller,
        path: FilePath,
        *,
        copies: int | None = None,
        quota_bytes: int | None = None,
        owner: SpiffeId | Literal["member"] | None = None,
    ) -> DatastoreRecord:
        """Change a policy; admins only, None leaves as it is.  Copies count for new writes."""
        ...


class Upkeep(Protocol):
    """The catalogue's own life."""

    async def position(self) -> Position:
        """Return catalogue id, epoch and commit sequence."""
        ...

    async def observe_position(self, seen: Position) -> bool:
        """Learn what a node has seen; True if this catalogue is behind and is now *restored*."""
        ...

    async def is_restored(self) -> bool:
        """Tell whether collection waits for the operator."""
        ...

    async def confirm_restore(self, actor: Caller) -> int:
        """Let collection go on; return the epoch."""
        ...

    async def expire(self) -> None:
        """End uploads, leases and pins whose time has passed."""
        ...

    async def snapshot(self) -> str:
        """Write a consistent, checksummed snapshot into the data dir; return its path."""
        ...

    async def close(self) -> None:
        """Finish what was accepted and release the files."""
        ...


class Catalog(Names, Uploads, Reads, Nodes, Trust, Datastores, Upkeep, Protocol):
    """The whole catalogue."""
