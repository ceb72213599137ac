"""The channels to nodes that a coordinator keeps: which of them serves the next call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from collective.core.errors import UnreachableError
from collective.core.ids import NodeId, SpiffeId
from collective.core.units import Address
from collective.model.nodes import Position, StatedPosition
from collective.roles.coordinator.node_calls import NodeCaller
from collective.rpc.gen.collective.v1 import node as pb
from collective.rpc.links import Keeper
from tests.unit.member.cluster import World, report

NODE = NodeId("a")
WHERE = StatedPosition(Position("c", 1, 1), b"")


@dataclass(eq=False)
class Channel:
    """Answers when ``answers`` is set."""

    addresses: Sequence[Address]
    credentials: object
    expect: SpiffeId
    answers: asyncio.Event
    calls: int = 0
    closed: list[str] = field(default_factory=list)

    @property
    def is_closed(self) -> bool:
        return bool(self.closed)

    def stub(self, _: object) -> Self:
        return self

    async def delete_copies(
        self, _: pb.DeleteCopiesRequest, **__: object
    ) -> pb.DeleteCopiesResponse:
        self.calls += 1
        await self.answers.wait()
        return pb.DeleteCopiesResponse()

    def close(self) -> None:
        self.closed.append("closed")

    async def aclose(self) -> None:
        self.close()


@dataclass
class Caller:
    """A caller with a certificate of its own, over links that remember what was opened."""

    world: World = field(default_factory=World)
    credentials: Any = "first"
    gate: Any = None
    opened: list[Channel] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    keepers: list[Keeper] = field(default_factory=list)

    def __post_init__(self) -> None:
        links: Any = self
        self.nodes = NodeCaller(self.world.table, self, links)
        self.answers.set()

    def channel(
        self, addresses: Sequence[Address], *, credentials: object, gate: object, expect: SpiffeId
    ) -> Channel:
        del gate
        self.opened.append(Channel(addresses, credentials, expect, self.answers))
        return self.opened[-1]

    def attach(self, keeper: Keeper) -> None:
        self.keepers.append(keeper)

    async def call(self) -> None:
        await self.nodes.delete_copies(NODE, WHERE, [])


async def test_a_channel_serves_until_the_certificate_is_renewed_and_ends_after_its_calls() -> None:
    caller = Caller()
    await caller.call()
    caller.answers.clear()
    under_way = asyncio.create_task(caller.call())
    await asyncio.sleep(0)
    caller.credentials = "renewed"
    other = asyncio.create_task(caller.call())
    await asyncio.sleep(0)
    old, new = caller.opened
    assert (old.credentials, new.credentials) == ("first", "renewed")
    assert (old.calls, new.calls) == (2, 1)
    assert old.closed == [], "a call is under way on it"
    caller.answers.set()
    await under_way
    await other
    assert len(old.closed) == 1
    await caller.call()
    assert len(caller.opened) == 2
    await caller.nodes.close()
    assert len(new.closed) == 1


async def test_an_idle_channel_ends_at_once_when_the_certificate_is_renewed() -> None:
    caller = Caller()
    await caller.call()
    caller.nodes.retire()
    assert [one.is_closed for one in caller.opened] == [False], "it shows the present one"
    caller.credentials = "renewed"
    caller.nodes.retire()
    assert [one.is_closed for one in caller.opened] == [True]
    await caller.call()
    assert [one.is_closed for one in caller.opened] == [True, False]


async def test_a_node_found_elsewhere_gets_another_channel_and_one_found_nowhere_none() -> None:
    caller = Caller()
    await caller.call()
    caller.world.table.heard(NODE, report("a", port=9000))
    await caller.call()
    assert len(caller.opened) == 1, "it was not found there yet"
    caller.world.table.proved(NODE, Address("127.0.0.1", 9000))
    await caller.call()
    assert [one.is_closed for one in caller.opened] == [True, False]
    assert caller.opened[1].addresses == (Address("127.0.0.1", 9000),)
    caller.world.table.disproved(NODE, Address("127.0.0.1", 9000))
    with pytest.raises(UnreachableError, match="not found yet"):
        await caller.call()
