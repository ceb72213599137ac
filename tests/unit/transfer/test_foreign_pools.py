"""Memory for what passes between members: each has its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from collective.core.ids import Domain, SpiffeId
from collective.core.limits import MIB
from collective.rpc.gen.collective.v1.transfer import Ticket
from collective.transfer.buffers import BufferPool
from collective.transfer.stream.serving import ForeignPools, Serving

POOL_BYTES = 20 * MIB
LARGE_BYTES = 16 * MIB
OWN = SpiffeId.coordinator(Domain("home.alice"))
UNA = "spiffe://home.alice/user/home.alice/una"
BOB = "spiffe://home.bob/coordinator"
CAROL = "spiffe://home.carol/coordinator"


def serving(foreign: ForeignPools | None) -> Serving:
    nothing = cast("Any", None)
    return Serving(
        identity=OWN,
        store=None,
        keys=nothing,
        client=nothing,
        pool=BufferPool(POOL_BYTES),
        limits=nothing,
        storing=nothing,
        counts=nothing,
        foreign_pools=foreign,
    )


@dataclass
class Case:
    holder: str
    next_node: str = ""

    @property
    def ticket(self) -> Ticket:
        return Ticket(holder=self.holder, next_node=self.next_node)


def test_what_comes_from_a_peer_or_goes_to_one_is_in_that_peers_memory() -> None:
    pools = ForeignPools(POOL_BYTES, 8)
    here = serving(pools)
    own = here.pool_for(Case(UNA, "spiffe://home.alice/node/n1").ticket)
    assert own is here.pool
    assert here.pool_for(Case(UNA, BOB).ticket) is pools.of(Domain("home.bob"))
    assert here.pool_for(Case(BOB, "spiffe://home.alice/node/n1").ticket) is pools.of(
        Domain("home.bob")
    )
    assert pools.of(Domain("home.bob")) is not pools.of(Domain("home.carol"))


def test_a_peer_that_fills_its_memory_takes_nothing_from_others() -> None:
    here = serving(ForeignPools(POOL_BYTES, 8))
    assert here.pool_for(Case(BOB).ticket).try_acquire(LARGE_BYTES) is not None
    assert here.pool_for(Case(BOB).ticket).try_acquire(LARGE_BYTES) is None
    assert here.pool_for(Case(CAROL).ticket).try_acquire(LARGE_BYTES) is not None
    assert here.pool_for(Case(UNA).ticket).try_acquire(LARGE_BYTES) is not None


def test_only_so_many_members_are_remembered_the_newest() -> None:
    pools = ForeignPools(POOL_BYTES, 2)
    first, second = pools.of(Domain("a.one")), pools.of(Domain("b.two"))
    assert pools.of(Domain("a.one")) is first
    pools.of(Domain("c.three"))
    assert pools.of(Domain("a.one")) is first
    assert pools.of(Domain("b.two")) is not second
