"""What a member tells its nodes to do.

An interface: whoever calls nodes has the connections.  A node that cannot be reached, or refuses, is a
CollectiveError; cancelling a call leaves open whether the node did what it was told.
"""

from __future__ import annotations

from typing import Protocol

from collective.core.ids import NodeId
from collective.rpc.gen.collective.v1 import node as pb


class NodeCommands(Protocol):
    """Commands to nodes, each with a deadline of its own."""

    async def delete_copies(
        self, node: NodeId, request: pb.DeleteCopiesRequest
    ) -> pb.DeleteCopiesResponse:
        """Have copies deleted."""
        ...

    async def copy_chunk(self, node: NodeId, request: pb.CopyChunkRequest) -> pb.CopyChunkResponse:
        """Have ``node`` send one of its copies along a route."""
        ...

    async def challenge_copies(
        self, node: NodeId, request: pb.ChallengeCopiesRequest
    ) -> pb.ChallengeCopiesResponse:
        """Have copies read, and proved to be there."""
        ...
