"""The catalogue's promises about nodes, and the copies on them: inventory, repair, collection."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from collective.catalog.interface.values import ChunkPage, Claimed, RepairTask, Settled
from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId, StoreUuid
from collective.model.calls import Call
from collective.model.copies import (
    ChunkCopies,
    Copy,
    CopyKey,
    CopyName,
    GivenUp,
    Judged,
    VerifiedReceipt,
)
from collective.model.nodes import Approval, Discarded, NodeRecord
from collective.model.status import Survey, Totals
from collective.placement.healing import GiveUp, MakeCopy, NodeFacts


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

    async def set_refused(self, refused: Mapping[NodeId, str]) -> None:
        """Write why nodes are refused ("": not any more).  Copies on refused nodes do not count."""
        ...

    async def drain_node(self, actor: Call, node: NodeId, *, draining: bool) -> None:
        """Begin or end a drain: copies there do not count for repair, and get no company."""
        ...

    async def remove_node(
        self, actor: Call, node: NodeId, identity: SpiffeId, *, force: bool
    ) -> int:
        """Take a node away for good and revoke its ``identity``; return the revocation epoch.

        ConflictError, unless ``force``, while the node has a stored copy of a chunk in use (by a
        file, an old version that is kept, or an open upload): none loses anything by it then.  The
        copies of a doubted node count for nothing: there, while a chunk has no quorum elsewhere.
        """
        ...

    async def approve_nodes(
        self, actor: Call, nodes: Sequence[NodeId], *, even_doubted: bool
    ) -> Sequence[Approval]:
        """Approve nodes, and note that they were seen; admins only.

        All or none: NotFoundError for one that is not enrolled or was removed, ConflictError for one
        that is doubted, unless ``even_doubted``.  Repeating changes nothing.
        """
        ...

    def doubts(self) -> int:
        """Return how often a node was put in doubt since the start.

        Where it differs after an operation, the nodes are to be read anew.
        """
        ...

    async def doubt_node(self, node: NodeId, reason: str) -> bool:
        """Put a node in doubt; return whether that is new.

        Nothing is placed there any more and its copies count for nothing, but are read where no
        other is left, and are not given up.
        """
        ...

    async def discard_quarantined(
        self, actor: Call, nodes: Sequence[NodeId] | None
    ) -> Sequence[Discarded]:
        """Let copies go that this catalogue never gave out, and that were kept for seven days.

        None: on every node that has any.  Admins only; ConflictError where none may go yet.
        """
        ...

    async def discard_step(self) -> bool:
        """Hand a bounded number of discarded copies to collection; True if more is to be done now."""
        ...

    async def clear_doubt(self, node: NodeId) -> bool:
        """Give a doubted node the standing that it had before; return whether it was doubted."""
        ...

    async def compare_inventory(
        self,
        node: NodeId,
        copies: Sequence[CopyKey],
        *,
        after: bytes,
        last: bool,
        spare: AbstractSet[tuple[ChunkId, Generation]] = frozenset(),
    ) -> Sequence[CopyKey]:
        """Compare one page of a node's inventory (ascending chunk id, beginning after ``after``).

        The page says something of that node's copies and of no other's.  What it lacks of the page's
        key range becomes *missing*.  A missing copy that is back, and one of another length than its
        chunk's, is *doubted* until a challenge clears it.  Intents stay intents.  Copies in ``spare``
        were stored after the page may have been made, and stay what they are; the set may grow while
        the page is compared.

        Returns the copies that the catalogue knew nothing of; they are noted as doomed, guarded
        where their chunk is known.  Works in bounded steps: one that is cut off is done again by the
        next inventory.
        """
        ...

    async def mark_copies(
        self, node: NodeId, copies: Sequence[tuple[ChunkId, Generation]], *, lost: bool
    ) -> None:
        """Take copies of ``node`` out of use because they are missing (``lost``) or corrupt.

        A missing one stays known.  A corrupt one is given up: it is deleted once another copy is
        confirmed.
        """
        ...

    async def short_counts(self) -> frozenset[int]:
        """Return the numbers of stored copies for which `short_chunks` may find something."""
        ...

    async def short_by_standing(self) -> frozenset[NodeId]:
        """Return nodes on probation among whose chunks are some with enough copies, too few of which count."""
        ...

    async def short_chunks(self, stored: int, after: int, limit: int) -> ChunkPage:
        """Return chunks in use that want more than the ``stored`` copies they have.

        This and the next three return up to ``limit`` chunks in one order, beginning behind ``after``
        (0: the first), and say where to go on; chunks that a repair has claimed are left out.  Each
        looks at a bounded number of copies, so that a page may be empty although more follows.
        """
        ...

    async def surplus_chunks(self, after: int, limit: int) -> ChunkPage:
        """Return chunks in use that have more copies than they want."""
        ...

    async def chunks_on(self, node: NodeId, after: int, limit: int) -> ChunkPage:
        """Return chunks in use with a stored copy on ``node``."""
        ...

    async def doubted_on(self, node: NodeId, after: int, limit: int) -> ChunkPage:
        """Return chunks in use whose copy on ``node`` is doubted."""
        ...

    async def sample_on(self, node: NodeId, at: float, limit: int) -> Sequence[ChunkCopies]:
        """Return up to ``limit`` chunks with a stored copy on ``node``, from ``at`` (0 to 1) on.

        It looks at a bounded number of copies; where none of them is stored, at as many of the first.
        """
        ...

    async def chunk_copies(self, chunk: ChunkId) -> Sequence[ChunkCopies]:
        """Return what is known of the copies of ``chunk``, for each stored length that was named."""
        ...

    async def note_verdicts(self, verdicts: Sequence[Judged]) -> Sequence[NodeId]:
        """Write down what challenges and reads proved; return the nodes that are in doubt by it."""
        ...

    async def give_up(self, acts: Sequence[GiveUp], facts: Mapping[NodeId, NodeFacts]) -> int:
        """Take surplus copies out of use, each under a guard; return how many.

        Each is decided again on what is known by now.  A restored catalogue gives up nothing.
        """
        ...

    async def claim_given_up(self, limit: int) -> Sequence[tuple[ChunkCopies, GivenUp]]:
        """Return guarded copies whose turn it is to be settled; each comes again, less and less often."""
        ...

    async def settle_given_up(
        self,
        chunk: ChunkCopies,
        given: GivenUp,
        confirmed: AbstractSet[CopyName],
        facts: Mapping[NodeId, NodeFacts],
        *,
        lacks_room: bool,
    ) -> Settled:
        """Have a guarded copy deleted, take it back or keep it, by the copies just ``confirmed``.

        Decided in one transaction on what is known by now (``placement.healing``).
        """
        ...

    async def copies_in_doubt(self) -> tuple[int, int]:
        """Count the doubted copies of chunks in use, and those that are given up and guarded."""
        ...

    async def claim_repairs(self, acts: Sequence[MakeCopy]) -> Sequence[RepairTask]:
        """Claim chunks to be copied, and write the intents of the new copies.

        A chunk that is not any more what was decided on is left out.
        """
        ...

    async def finish_repair(self, task: RepairTask, receipt: VerifiedReceipt | None) -> None:
        """Record the new copy, or (None) give the claim up; the intent's remains are collected.

        No other copy goes by that.
        """
        ...

    async def copies_left(self) -> Mapping[NodeId, int]:
        """Count the copies on each node that keep it from being removed.

        Those are the stored ones of chunks in use, by open uploads too, and missing and doubted ones
        where fewer than a quorum are elsewhere: they may be the last.  What was removed counts until
        collection has cleared it; :meth:`remove_node` decides exactly.
        """
        ...

    async def repair_backlog(self, usable: frozenset[NodeId], lost: frozenset[NodeId]) -> int:
        """Count chunks of files that are short of copies; what is being sent counts when it is quiet."""
        ...

    async def settle_copies(self) -> bool:
        """Go one bounded step on with what moves and policies left; True if something is left.

        A chunk wants as many copies as the datastore asks for that asks for most of those which
        hold a file with it.
        """
        ...

    async def claim_collection(
        self, limit: int, grace_s: float, nodes: frozenset[NodeId] | None = None
    ) -> Claimed:
        """Go one bounded step on with collection; return up to ``limit`` copies to delete, by node.

        Chunks that no file, lease, pin or repair needs are marked deleting.  Nothing is, and nothing
        is returned, while the catalogue is ``restored`` and not confirmed.  Also returns orphans that
        :meth:`compare_inventory` found, and copies taken out of use.  Each of ``nodes`` (None: all)
        has its share of the copies, so that one which is away keeps none from the others; a copy is
        returned again only some time later.
        """
        ...

    async def finish_collection(self, node: NodeId, copies: Sequence[CopyKey]) -> None:
        """Forget copies of which the node said that they are deleted, or not there."""
        ...

    async def copies_of(self, chunk: ChunkId) -> Sequence[Copy]:
        """Return the stored copies of a chunk."""
        ...

    def survey(
        self, usable: frozenset[NodeId], lost: frozenset[NodeId]
    ) -> Coroutine[Any, Any, Survey]:
        """Return :meth:`totals` of everything and the other figures, all of one moment."""
        ...

    async def totals(self, caller: Call | None, usable: frozenset[NodeId]) -> Totals:
        """Count the files that the caller may read, and the chunks of datastores that it may read whole.

        None counts everything.
        """
        ...
