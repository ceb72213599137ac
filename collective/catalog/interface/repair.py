"""What the catalogue promises about chunks with too few copies, and copies that are too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from collective.catalog.interface.values import ChunkPage, RepairTask, Settled
from collective.core.ids import NodeId
from collective.model.copies import ChunkCopies, CopyName, GivenUp, VerifiedReceipt
from collective.placement.healing import GiveUp, MakeCopy, NodeFacts


class Repair(Protocol):
    """Chunks whose copies are too few, too many or in the wrong place, and who makes new ones.

    A search returns up to ``limit`` chunks in one order, beginning behind ``after`` (0: the first), and
    says where to go on; chunks that a repair has claimed are left out.  Each looks at a bounded number
    of copies, so that a page may be empty although more follows.
    """

    async def short_counts(self) -> frozenset[int]:
        """Return the numbers of stored copies for which `short_chunks` may find something."""
        ...

    async def short_by_standing(self) -> frozenset[NodeId]:
        """Return nodes on probation among whose chunks are some with enough copies, too few of which count."""
        ...

    async def short_chunks(self, stored: int, after: int, limit: int) -> ChunkPage:
        """Return chunks in use that want more than the ``stored`` copies they have."""
        ...

    async def surplus_chunks(self, after: int, limit: int) -> ChunkPage:
        """Return chunks in use that have more copies than they want."""
        ...

    async def chunks_on(self, node: NodeId, after: int, limit: int) -> ChunkPage:
        """Return chunks in use with a stored copy on ``node``."""
        ...

    async def claim(self, acts: Sequence[MakeCopy]) -> Sequence[RepairTask]:
        """Claim chunks to be copied, and write the intents of the new copies.

        A chunk that is not any more what was decided on is left out.
        """
        ...

    async def finish(self, task: RepairTask, receipt: VerifiedReceipt | None) -> None:
        """Record the new copy, or (None) give the claim up; the intent's remains are collected.

        No other copy goes by that.
        """
        ...


class GuardedCopies(Protocol):
    """Copies that are given up: out of use, and deleted only once others are confirmed."""

    async def give_up(self, acts: Sequence[GiveUp], facts: Mapping[NodeId, NodeFacts]) -> int:
        """Take surplus copies out of use, each under a guard; return how many.

        Each is decided again on what is known by now.  A restored catalogue gives up nothing.
        """
        ...

    async def claim(self, limit: int) -> Sequence[tuple[ChunkCopies, GivenUp]]:
        """Return guarded copies whose turn it is to be settled; each comes again, less and less often."""
        ...

    async def settle(
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
