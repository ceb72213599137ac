"""Somebody sets a clock by an hour: tickets neither end early nor live on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collective.catalog.interface.values import Allocation
from collective.core.clock import ManualClock, SteadyClock
from collective.core.ids import NodeId
from collective.core.limits import TICKET_LIFE_S
from collective.model.routes import SignedTicket
from collective.roles.node.coordinator_keys import CoordinatorKeys
from collective.roles.node.durable_memory import DurableMemory
from collective.rpc.gen.collective.v1 import transfer as pb
from collective.transfer.tickets.checking import check_ticket
from collective.transfer.tickets.refusals import TicketExpiredError
from tests.unit.member.cluster import CHUNK, USER, World, copies
from tests.worlds import REAL

HOUR_S = 3600.0
JUMPS = [HOUR_S, -HOUR_S, 20 * 365 * 24 * HOUR_S]


class Hop:
    """A node with a clock of its own that has heard a heartbeat's answer."""

    def __init__(self, world: World, folder: Path, wrong_by_s: float) -> None:
        self.world = world
        self.identity = world.table.identity(NodeId("a"))
        self.clock = ManualClock(world.clock.wall_s() + wrong_by_s)
        self.memory = DurableMemory(str(folder / "memory.json"), REAL)
        self.keys = CoordinatorKeys(self.clock, self.memory)
        self.hear()

    def hear(self) -> None:
        handed = self.world.keys.hand_out(self.identity, frozenset(self.keys.key_ids))
        self.keys.learn((key.key_id, key.secret) for key in handed)
        now_s = self.clock.monotonic_s()
        self.keys.synchronise(self.world.keys.coordinator_now_ms(), sent_s=now_s, received_s=now_s)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.world.clock.advance(seconds)

    def check(self, signed: SignedTicket) -> pb.Ticket:
        return check_ticket(
            self.keys,
            signed,
            operation=pb.ChunkOperation.PUT,
            chunk=CHUNK,
            length=100,
            node=self.identity,
            holder=USER,
            now_ms=self.keys.coordinator_now_ms(),
            revocation_epoch=0,
        )


def ticket(world: World) -> SignedTicket:
    allocation = Allocation(CHUNK, 100, stored=False, held=(), targets=copies("a", "b", "c"))
    (route,) = world.routes.put(allocation, holder=USER, transfer_id="0" * 32, relay=False)
    return route.hops[0]


@pytest.fixture(params=[0.0, *JUMPS])
async def hop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hop]:
    made = Hop(World(), tmp_path, request.param)
    yield made
    await made.memory.close()


def test_a_nodes_wrong_clock_does_not_matter(hop: Hop) -> None:
    signed = ticket(hop.world)
    hop.pass_time(TICKET_LIFE_S - 1)
    hop.check(signed)
    hop.pass_time(2)
    with pytest.raises(TicketExpiredError):
        hop.check(signed)


@pytest.mark.parametrize("jump_s", JUMPS)
def test_the_coordinators_clock_is_set_while_tickets_are_out(hop: Hop, jump_s: float) -> None:
    before = ticket(hop.world)
    hop.world.clock.jump_wall(jump_s)
    after = ticket(hop.world)
    for _ in range(2):  # before and after the node's next heartbeat
        hop.check(before)
        hop.check(after)
        hop.hear()
    hop.pass_time(TICKET_LIFE_S + 1)
    for signed in (before, after):
        with pytest.raises(TicketExpiredError):
            hop.check(signed)


@pytest.mark.parametrize("jump_s", JUMPS)
def test_the_nodes_clock_is_set_between_heartbeats(hop: Hop, jump_s: float) -> None:
    signed = ticket(hop.world)
    hop.clock.jump_wall(jump_s)
    hop.check(signed)
    hop.pass_time(TICKET_LIFE_S + 1)
    with pytest.raises(TicketExpiredError):
        hop.check(signed)


def test_steady_time_goes_on_as_time_does() -> None:
    clock = ManualClock(100.0)
    clock.advance(5)
    steady = SteadyClock(clock)
    clock.jump_wall(-50)
    clock.advance(7)
    assert steady.wall_s() == 112.0
    assert steady.monotonic_s() == 12.0
