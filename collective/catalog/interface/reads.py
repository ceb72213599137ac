"""What the catalogue promises about files going out."""

from __future__ import annotations

from typing import Protocol

from collective.catalog.interface.values import ReadView
from collective.core.ids import ChunkId, LeaseKey, NodeId
from collective.core.paths import FilePath
from collective.model.calls import Call


class Reads(Protocol):
    """Files going out."""

    async def open(
        self,
        caller: Call,
        path: FilePath,
        *,
        offset: int,
        length: int,
        if_version: int,
        batch: int,
    ) -> ReadView:
        """Lease the current version and return the first batch of pieces that touch the range.

        They follow one another without gaps: extents and holes.
        """
        ...

    async def plan(
        self, caller: Call, lease: LeaseKey, *, offset: int, length: int, batch: int
    ) -> ReadView:
        """Renew the lease and return the pieces that touch the range."""
        ...

    async def is_read_from(
        self, caller: Call, lease: LeaseKey, chunk: ChunkId, node: NodeId
    ) -> bool:
        """Tell whether the leased version holds ``chunk``, of which ``node`` has a copy."""
        ...

    async def close(self, caller: Call, lease: LeaseKey) -> None:
        """Give a lease back; unknown leases are ignored."""
        ...
