"""Readers' complaints about copies."""

from __future__ import annotations

from typing import Protocol

from collective.core.ids import ChunkId, NodeId, SpiffeId


class TakesComplaints(Protocol):
    """Where readers' reports go; they are verified before they are believed."""

    def complain(self, node: NodeId, chunk: ChunkId, who: SpiffeId) -> bool:
        """Have the copy of ``chunk`` on ``node`` looked at; return whether it will be for ``who``."""
        ...
