"""What the catalogue promises about counts of files, chunks and copies."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from collective.core.ids import NodeId
from collective.model.calls import Call
from collective.model.status import Survey, Totals


class Figures(Protocol):
    """Counts of what there is, for the operator and for one caller."""

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

    async def copies_left(self) -> Mapping[NodeId, int]:
        """Count the copies on each node that keep it from being removed.

        Those are the stored ones of chunks in use, by open uploads too, and missing and doubted ones
        where fewer than a quorum are elsewhere: they may be the last.  What was removed counts until
        collection has cleared it; ``nodes.remove`` decides exactly.
        """
        ...

    async def repair_backlog(self, usable: frozenset[NodeId], lost: frozenset[NodeId]) -> int:
        """Count chunks of files that are short of copies; what is being sent counts when it is quiet."""
        ...

    async def copies_in_doubt(self) -> tuple[int, int]:
        """Count the doubted copies of chunks in use, and those that are given up and guarded."""
        ...
