"""Commands to nodes over gRPC: one kept channel for each, dropped when a node's addresses change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from collective.core.errors import UnreachableError
from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId
from collective.core.units import Address
from collective.member.nodes.commands import CopyOnNode, Deleted
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.copies import CopyKey
from collective.model.nodes import StatedPosition
from collective.placement.challenges import Answer
from collective.rpc.conversions.nodes import (
    answers_from,
    copy_message,
    names_from,
    position_message,
)
from collective.rpc.deadlines import call
from collective.rpc.gen.collective.v1 import node as pb
from collective.rpc.gen.collective.v1 import transfer as transfer_pb
from collective.rpc.links import Channel

T = TypeVar("T")
ChannelOpener = Callable[[Sequence[Address], SpiffeId], Channel]

CALL_S: Final = 15.0
COPY_S: Final = 60.0
CHALLENGE_S: Final = 20.0


class NodeCaller:
    """Tells this member's nodes what to do; a ``NodeCommands``."""

    def __init__(self, table: LiveNodes, opener: ChannelOpener) -> None:
        """Open channels by ``opener``, which verifies the node's identity."""
        self._table = table
        self._opener = opener
        self._channels: dict[NodeId, tuple[tuple[Address, ...], Channel]] = {}
        self._calls: dict[Channel, int] = {}
        self._retired: set[Channel] = set()

    async def delete_copies(
        self, node: NodeId, position: StatedPosition, copies: Sequence[CopyKey]
    ) -> Deleted:
        """Have copies deleted."""
        request = pb.DeleteCopiesRequest(
            position=position_message(position), copies=[copy_message(copy) for copy in copies]
        )
        answer = await self._call(
            node, lambda stub, t: stub.delete_copies(request, timeout=t), CALL_S
        )
        return Deleted(names_from(answer.deleted), names_from(answer.absent))

    async def copy_chunk(
        self, node: NodeId, chunk: ChunkId, generation: Generation, route: transfer_pb.Route
    ) -> transfer_pb.PutResult | None:
        """Have ``node`` send one of its copies along a route."""
        request = pb.CopyChunkRequest(chunk_id=chunk, generation=generation, route=route)
        answer = await self._call(node, lambda stub, t: stub.copy_chunk(request, timeout=t), COPY_S)
        return answer.result

    async def challenge_copies(
        self, node: NodeId, nonce: bytes, copies: Sequence[CopyKey]
    ) -> Mapping[CopyOnNode, Answer]:
        """Have copies read, and proved to be there."""
        request = pb.ChallengeCopiesRequest(
            nonce=nonce, copies=[copy_message(copy) for copy in copies]
        )
        answer = await self._call(
            node, lambda stub, t: stub.challenge_copies(request, timeout=t), CHALLENGE_S
        )
        return answers_from(answer.answers)

    async def meet(self, identity: SpiffeId, address: Address) -> None:
        """Find a node at ``address`` by a handshake; CollectiveError where it is not there."""
        async with self._opener((address,), identity) as channel:
            await channel.connect()

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
