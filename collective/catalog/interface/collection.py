"""What the catalogue promises about what nothing needs any more, and what this catalogue never gave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collective.catalog.interface.values import Claimed
from collective.core.ids import NodeId
from collective.model.calls import Call
from collective.model.copies import CopyKey
from collective.model.nodes import Discarded


class Collection(Protocol):
    """Chunks and copies that nothing needs, handed out to be deleted."""

    async def claim(
        self, limit: int, grace_s: float, nodes: frozenset[NodeId] | None = None
    ) -> Claimed:
        """Go one bounded step on with collection; return up to ``limit`` copies to delete, by node.

        Chunks that no file, lease, pin or repair needs are marked deleting.  Nothing is, and nothing
        is returned, while the catalogue is ``restored`` and not confirmed.  Also returns orphans that
        an inventory showed, and copies taken out of use.  Each of ``nodes`` (None: all)
        has its share of the copies, so that one which is away keeps none from the others; a copy is
        returned again only some time later.
        """
        ...

    async def finish(self, node: NodeId, copies: Sequence[CopyKey]) -> None:
        """Forget copies of which the node said that they are deleted, or not there."""
        ...


class Quarantine(Protocol):
    """Copies that this catalogue never gave out; they are kept until an operator discards them."""

    async def discard(self, actor: Call, nodes: Sequence[NodeId] | None) -> Sequence[Discarded]:
        """Let copies go that this catalogue never gave out, and that were kept for seven days.

        None: on every node that has any.  Admins only; ConflictError where none may go yet.
        """
        ...

    async def discard_step(self) -> bool:
        """Hand a bounded number of discarded copies to collection; True if more is to be done now."""
        ...
