"""What a member tells its nodes to do.

An interface: its implementation has the connections.  A node that cannot be reached, or refuses, is a
CollectiveError; cancelling a call leaves open whether the node did what it was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import CopyKey
from collective.model.nodes import StatedPosition
from collective.model.routes import PutAnswer, Route
from collective.placement.challenges import Answer

CopyOnNode = tuple[ChunkId, Generation]
"""Names a copy where the node is said beside it."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a node answered for when it was told to delete copies."""

    deleted: frozenset[CopyOnNode]
    absent: frozenset[CopyOnNode]
    """Those that were not there."""


class NodeCommands(Protocol):
    """Commands to nodes, each with a deadline of its own."""

    async def delete_copies(
        self, node: NodeId, position: StatedPosition, copies: Sequence[CopyKey]
    ) -> Deleted:
        """Have ``copies`` deleted; a node that has seen a later ``position`` refuses."""
        ...

    async def copy_chunk(
        self, node: NodeId, chunk: ChunkId, generation: Generation, route: Route
    ) -> PutAnswer | None:
        """Have ``node`` send its copy ``generation`` of ``chunk`` along ``route``."""
        ...

    def drop(self, node: NodeId) -> None:
        """Have nothing to do with a node any more that was removed; calls under way fail."""
        ...

    async def challenge_copies(
        self, node: NodeId, nonce: bytes, copies: Sequence[CopyKey]
    ) -> Mapping[CopyOnNode, Answer]:
        """Have ``copies`` read and answered for, with a ``nonce`` of 32 bytes that is never used again."""
        ...
