"""What the catalogue promises about its own past, and what nodes have seen of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from collective.core.ids import NodeId
from collective.model.calls import Call
from collective.model.nodes import Adoption, NodeClaim, Position


class Restores(Protocol):
    """Where this catalogue stands in its own past, and beside what nodes have seen."""

    async def position(self) -> Position:
        """Return catalogue id, epoch, commit sequence and life."""
        ...

    async def has_been_at(self, seen: Position) -> bool:
        """Tell whether :meth:`observe` has nothing to learn: it is this catalogue's own past.

        False for a position of another catalogue, a higher one, and one of a life that this
        catalogue did not have, or not as far.
        """
        ...

    async def observe(self, seen: Position) -> bool:
        """Learn what a node has seen; True if this catalogue lost a future and is now *restored*.

        What shows it is what :meth:`has_been_at` denies.  Once is enough in each life of the catalogue, unless
        a position is higher than its own.  Open codes end with it, since they may have been used up.  The position of another catalogue
        is noted once: that this one was made anew does not make it restored.
        """
        ...

    async def is_restored(self) -> bool:
        """Tell whether collection waits for the operator."""
        ...

    async def is_replaced(self, node: NodeId, seen: Position) -> bool:
        """Tell whether this catalogue was adopted in the place of what ``node`` obeys.

        That is another catalogue, whichever node obeys it; or this one, where ``node`` was brought back
        from exactly ``seen``, and has shown nothing else since.
        """
        ...

    async def showed(self, node: NodeId, seen: Position) -> None:
        """Take note of what ``node`` holds now: where it was brought back from something else, that is over.

        The word of the operator was for that one occasion.  Should the node ever hold the same again, it takes another.
        """
        ...

    async def adopt(
        self,
        actor: Call,
        nodes: AbstractSet[NodeId] | None,
        *,
        obeyed: Mapping[NodeId, Position],
        claims: Sequence[NodeClaim],
    ) -> Adoption:
        """Have nodes obey this catalogue in the place of what they obeyed; admins only.

        ``nodes`` None: all, and a restored catalogue goes on collecting.  ``obeyed``: what these nodes say
        that they hold; those ahead of this catalogue are brought back, and its position stays what it is.
        The nodes of ``claims`` are enrolled, approved if they are named, else on probation.  Nothing is
        deleted.  ConflictError where there is nothing to adopt.
        """
        ...
