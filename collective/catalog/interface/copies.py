"""What the catalogue promises about the copies of chunks on nodes."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from collective.catalog.interface.values import ChunkPage
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import ChunkCopies, Copy, CopyKey, Judged


class Copies(Protocol):
    """Copies of chunks, as nodes tell of them and as they were proven."""

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

    async def mark(
        self, node: NodeId, copies: Sequence[tuple[ChunkId, Generation]], *, lost: bool
    ) -> None:
        """Take copies of ``node`` out of use because they are missing (``lost``) or corrupt.

        A missing one stays known.  A corrupt one is given up: it is deleted once another copy is
        confirmed.
        """
        ...

    async def stored(self, chunk: ChunkId) -> Sequence[Copy]:
        """Return the stored copies of a chunk."""
        ...

    async def known(self, chunk: ChunkId) -> Sequence[ChunkCopies]:
        """Return what is known of the copies of ``chunk``, for each stored length that was named."""
        ...

    async def sample_on(self, node: NodeId, at: float, limit: int) -> Sequence[ChunkCopies]:
        """Return up to ``limit`` chunks with a stored copy on ``node``, from ``at`` (0 to 1) on.

        It looks at a bounded number of copies; where none of them is stored, at as many of the first.
        """
        ...

    async def doubted_on(self, node: NodeId, after: int, limit: int) -> ChunkPage:
        """Return chunks in use whose copy on ``node`` is doubted: up to ``limit`` of them behind ``after``.

        It goes on and leaves out as the searches of :class:`Repair` do.
        """
        ...

    async def note_verdicts(self, verdicts: Sequence[Judged]) -> Sequence[NodeId]:
        """Write down what challenges and reads proved; return the nodes that are in doubt by it."""
        ...
