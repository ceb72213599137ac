"""Commands to nodes over gRPC: one kept channel for each.

It gives way to another when the node is found elsewhere, or when our certificate was renewed since.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from collective.core.errors import UnreachableError
from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId
from collective.core.units import Address
from collective.member.nodes.commands import CopyOnNode, Deleted
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.copies import CopyKey
from collective.model.nodes import StatedPosition
from collective.model.routes import PutAnswer, Route
from collective.pki.credentials import Credentials
from collective.placement.challenges import Answer
from collective.rpc.conversions.node_registry import (
    answers_from,
    copy_message,
    names_from,
    position_message,
)
from collective.rpc.conversions.transfers import answer_from, route_message
from collective.rpc.deadlines import call
from collective.rpc.gen.collective.v1 import node as pb
from collective.rpc.links import Channel, Links, OwnCredentials

T = TypeVar("T")

CALL_S: Final = 15.0
COPY_S: Final = 60.0
CHALLENGE_S: Final = 20.0


@dataclass(slots=True, eq=False)
class _Kept:
    """A channel, what it was opened with, and how many calls are under way on it."""

    channel: Channel
    addresses: Sequence[Address]
    credentials: Credentials
    calls: int = 0


class NodeCaller:
    """Tells this member's nodes what to do; a ``NodeCommands``."""

    def __init__(self, table: LiveNodes, own: OwnCredentials, links: Links) -> None:
        """Call the nodes of ``table`` as ``own``."""
        self._table = table
        self._own = own
        self._links = links
        self._kept: dict[NodeId, _Kept] = {}
        self._retired: list[_Kept] = []
        """Those with a former certificate whose calls have not ended."""
        own.attach(self)

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
        self, node: NodeId, chunk: ChunkId, generation: Generation, route: Route
    ) -> PutAnswer | None:
        """Have ``node`` send one of its copies along a route."""
        request = pb.CopyChunkRequest(
            chunk_id=chunk, generation=generation, route=route_message(route)
        )
        answer = await self._call(node, lambda stub, t: stub.copy_chunk(request, timeout=t), COPY_S)
        return None if answer.result is None else answer_from(answer.result)

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
        async with self._open((address,), identity) as channel:
            await channel.connect()

    def drop(self, node: NodeId) -> None:
        """Close the channel of a node that was removed; its calls fail."""
        kept = self._kept.pop(node, None)
        if kept is not None:
            kept.channel.close()

    def retire(self) -> None:
        """Close channels that show a former certificate, once their calls have ended."""
        former = [
            node
            for node, kept in self._kept.items()
            if kept.credentials is not self._own.credentials
        ]
        for node in former:
            self._retire(self._kept.pop(node))

    def _retire(self, kept: _Kept) -> None:
        if kept.calls:
            self._retired.append(kept)
        else:
            kept.channel.close()

    async def close(self) -> None:
        """Close every channel."""
        while self._retired:
            await self._retired.pop().channel.aclose()
        while self._kept:
            _, kept = self._kept.popitem()
            await kept.channel.aclose()

    async def _call(
        self, node: NodeId, start: Callable[[pb.NodeStub, float], Awaitable[T]], timeout_s: float
    ) -> T:
        kept = self._channel(node)
        stub = kept.channel.stub(pb.NodeStub)
        kept.calls += 1
        try:
            return await call(lambda t: start(stub, t), timeout_s)
        finally:
            kept.calls -= 1
            if not kept.calls and kept in self._retired:
                self._retired.remove(kept)
                kept.channel.close()

    def _channel(self, node: NodeId) -> _Kept:
        live = self._table.get(node)
        if live is None or not live.reachable:
            raise UnreachableError(
                f"Node {node} was not found yet at any of the addresses that it says."
            )
        kept = self._kept.get(node)
        if kept is not None:
            if kept.addresses != live.reachable:
                kept.channel.close()  # who answers there may be another by now
            elif kept.credentials is self._own.credentials:
                return kept
            else:
                self._retire(kept)
        channel = self._open(live.reachable, self._table.identity(node))
        kept = self._kept[node] = _Kept(channel, live.reachable, self._own.credentials)
        return kept

    def _open(self, addresses: Sequence[Address], node: SpiffeId) -> Channel:
        own = self._own
        return self._links.channel(
            addresses, credentials=own.credentials, gate=own.gate, expect=node
        )
