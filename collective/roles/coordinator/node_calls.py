"""Calls to nodes: one kept channel for each, dropped when a node's addresses change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from collective.core.errors import UnreachableError
from collective.core.ids import NodeId, SpiffeId
from collective.core.units import Address
from collective.member.nodes.live_nodes import LiveNodes
from collective.rpc.deadlines import call
from collective.rpc.gen.collective.v1 import node as pb
from collective.rpc.links import Channel

T = TypeVar("T")
ChannelOpener = Callable[[Sequence[Address], SpiffeId], Channel]

CALL_S: Final = 15.0
COPY_S: Final = 60.0
CHALLENGE_S: Final = 20.0


class NodeCaller:
    """Calls the Node service of this member's nodes."""

    def __init__(self, table: LiveNodes, opener: ChannelOpener) -> None:
        """Open channels by ``opener``, which verifies the node's identity."""
        self._table = table
        self._opener = opener
        self._channels: dict[NodeId, tuple[tuple[Address, ...], Channel]] = {}
        self._calls: dict[Channel, int] = {}
        self._retired: set[Channel] = set()

    async def delete_copies(
        self, node: NodeId, request: pb.DeleteCopiesRequest
    ) -> pb.DeleteCopiesResponse:
        """Have copies deleted."""
        return await self._call(
            node, lambda stub, t: stub.delete_copies(request, timeout=t), CALL_S
        )

    async def copy_chunk(self, node: NodeId, request: pb.CopyChunkRequest) -> pb.CopyChunkResponse:
        """Have ``node`` send one of its copies along a route."""
        return await self._call(node, lambda stub, t: stub.copy_chunk(request, timeout=t), COPY_S)

    async def challenge_copies(
        self, node: NodeId, request: pb.ChallengeCopiesRequest
    ) -> pb.ChallengeCopiesResponse:
        """Have copies read, and proved to be there."""
        return await self._call(
            node, lambda stub, t: stub.challenge_copies(request, timeout=t), CHALLENGE_S
        )

    def drop(self, node: NodeId) -> None:
        """Close the channel of a node that was removed; its calls fail."""
        kept = self._channels.pop(node, None)
        if kept is not None:
            kept[1].close()

    def renew_channels(self) -> None:
        """Open new channels from now on; those that stand close when their calls have ended."""
        kept, self._channels = self._channels, {}
        for _, channel in kept.values():
            if self._calls.get(channel):
                self._retired.add(channel)
            else:
                channel.close()

    async def close(self) -> None:
        """Close every channel."""
        while self._retired:
            await self._retired.pop().aclose()
        while self._channels:
            _, (_, channel) = self._channels.popitem()
            await channel.aclose()

    async def _call(
        self, node: NodeId, start: Callable[[pb.NodeStub, float], Awaitable[T]], timeout_s: float
    ) -> T:
        channel = self._channel(node)
        stub = channel.stub(pb.NodeStub)
        self._calls[channel] = self._calls.get(channel, 0) + 1
        try:
            return await call(lambda t: start(stub, t), timeout_s)
        finally:
            self._calls[channel] -= 1
            if not self._calls[channel]:
                del self._calls[channel]
                if channel in self._retired:
                    self._retired.discard(channel)
                    channel.close()

    def _channel(self, node: NodeId) -> Channel:
        live = self._table.get(node)
        if live is None or not live.reachable:
            raise UnreachableError(
                f"Node {node} was not found yet at any of the addresses that it says."
            )
        kept = self._channels.get(node)
        if kept is not None:
            if kept[0] == live.reachable:
                return kept[1]
            kept[1].close()
        channel = self._opener(live.reachable, self._table.identity(node))
        self._channels[node] = (live.reachable, channel)
        return channel
