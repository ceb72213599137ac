"""Finding 9: a node makes nobody dial another host by the addresses that it says."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from collective.catalog.interface.values import Allocation
from collective.core.errors import RejectedError, UnreachableError
from collective.core.ids import NodeId, SpiffeId
from collective.core.units import Address
from collective.core.work import BUSY, IDLE
from collective.member.nodes.reachability import (
    ADDRESSES_MAX,
    DIALS_BURST,
    AddressProver,
    plausible,
)
from collective.member.wakes import Wakes
from tests.unit.member.cluster import CHUNK, World, copies, record, report

A, B = NodeId("a"), NodeId("b")
VICTIM = Address("198.51.100.7", 25)
LOOPBACK = Address("127.0.0.1", 22)
OWN = Address("192.168.1.5", 7101)
MOVED = Address("192.168.1.6", 7101)
HOUR_S = 3600.0


class Network:
    """Who answers where; stands for the opener and for its channels."""

    def __init__(self) -> None:
        self.answers: dict[Address, NodeId] = {}
        self.dialled: list[tuple[NodeId, Address]] = []
        self.silent: set[Address] = set()
        self.release = asyncio.Event()
        self.broken: set[Address] = set()

    async def meet(self, node: SpiffeId, address: Address) -> None:
        self.dialled.append((node.node_id, address))
        if address in self.silent:
            await self.release.wait()
        if address in self.broken:
            raise UnicodeError("label empty or too long")
        found = self.answers.get(address)
        if found is None:
            raise UnreachableError("Nobody is there.")
        if found != node.node_id:
            raise RejectedError("Somebody else is there.")


class Bench:
    def __init__(self) -> None:
        self.world = World()
        self.network = Network()
        self.prover = AddressProver(
            self.world.table, self.network.meet, Wakes(), self.world.clock, self.world.randomness
        )

    def say(self, node: NodeId, *addresses: Address) -> None:
        self.world.table.heard(node, replace(report(str(node)), addresses=addresses))

    async def prove(self) -> None:
        while await self.prover.work() == BUSY:
            pass

    def told(self, node: NodeId) -> tuple[Address, ...]:
        """Return where others are told to dial for ``node``."""
        route = self.world.routes.repair(
            CHUNK, 100, source=NodeId("c"), target=copies(str(node))[0], repair_id="r"
        )
        if route is None:
            return ()
        return route.addresses


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("host", "is_taken"),
    [
        ("192.168.1.5", True),
        ("127.0.0.1", True),
        ("fd00::1", True),
        ("fe80::1%eth0", True),
        ("nas.local", True),
        ("nas", True),
        ("alice-node-1", True),
        ("n1.local", True),
        ("node_1.example.", True),
        ("0.0.0.0", False),
        ("::", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("-nas", False),
        ("nas/..", False),
        ("a b", False),
        ("1.2.3", False),
        ("2130706433", False),
        ("0x7f.0x1", False),
        ("127.1", False),
        ("x" * 254, False),
        ("a..b", False),
        ("x" * 64 + ".local", False),
        ("", False),
    ],
)
def test_only_addresses_at_which_a_node_can_be_are_taken(host: str, is_taken: bool) -> None:
    address = Address(host, 7101)
    assert plausible([address]) == ((address,) if is_taken else ())


def test_addresses_are_taken_once_each_and_only_a_few() -> None:
    many = [Address(f"10.0.0.{number}", 7101) for number in range(1, 20)]
    assert plausible([many[0], *many]) == tuple(many[:ADDRESSES_MAX])


async def test_finding_9_addresses_of_others_are_handed_out_to_nobody(bench: Bench) -> None:
    bench.network.answers[OWN] = A
    bench.network.answers[MOVED] = B
    bench.say(A, VICTIM, LOOPBACK, MOVED, OWN)
    assert set(bench.told(A)).isdisjoint({VICTIM, LOOPBACK, MOVED})
    await bench.prove()
    assert bench.told(A) == (OWN,)
    live = bench.world.table.get(A)
    assert live is not None
    assert live.record.addresses == (str(OWN),), "nor after a restart"
    put = bench.world.routes.put(
        Allocation(CHUNK, 100, stored=False, held=(), targets=copies("a")), holder=SpiffeId.parse("spiffe://home.alice/user/home.alice/bob"),
        transfer_id="t", relay=False,
    )  # fmt: skip
    assert [one.port for one in put[0].addresses] == [OWN.port]


async def test_a_node_that_was_found_nowhere_is_given_nothing_and_asked_nothing(
    bench: Bench,
) -> None:
    bench.world.table.load([record(name) for name in ("a", "b", "c", "d")])
    new = NodeId("d")
    bench.say(new, VICTIM)
    live = bench.world.table.get(new)
    assert live is not None
    live.inventory.instance_id = live.instance_id
    await bench.prove()
    assert bench.told(new) == ()
    assert new not in {one.node for one in bench.world.table.candidates() if one.accepts}


async def test_finding_9_dials_of_what_a_node_says_are_few_and_become_rare(bench: Bench) -> None:
    for _ in range(24 * 60):
        bench.say(A, VICTIM)
        await bench.prove()
        bench.world.clock.advance(60.0)
    day = len(bench.network.dialled)
    assert 24 <= day <= 24 * 2 + 12, "about once an hour"


async def test_finding_9_a_node_that_says_ever_new_addresses_scans_no_network(
    bench: Bench,
) -> None:
    for number in range(1800):
        bench.say(
            A, *(Address(f"10.{number // 250}.{number % 250}.{host}", 22) for host in range(8))
        )
        await bench.prove()
        bench.world.clock.advance(2.0)
    assert len(bench.network.dialled) <= DIALS_BURST + HOUR_S / 60 + 1


async def test_where_it_was_found_counts_until_it_is_found_where_it_says_now(bench: Bench) -> None:
    before = bench.told(A)
    assert before
    bench.say(A, MOVED)
    assert bench.told(A) == before
    await bench.prove()
    assert bench.told(A) == before
    bench.network.answers[MOVED] = A
    bench.world.clock.advance(HOUR_S)
    bench.world.hear("a", "b", "c")
    bench.say(A, MOVED)
    await bench.prove()
    assert bench.told(A) == (MOVED,)


async def test_what_a_former_process_knew_counts_until_it_proves_wrong(bench: Bench) -> None:
    bench.world.table.load([record("b"), record("c")])
    kept = replace(record("a"), addresses=(str(OWN), str(VICTIM)))
    bench.world.table.load([kept, record("b"), record("c")])
    bench.say(A, VICTIM, OWN)
    assert set(bench.told(A)) == {OWN, VICTIM}
    bench.network.answers[OWN] = A
    await bench.prove()
    assert bench.told(A) == (OWN,)


async def test_an_address_belongs_to_who_was_found_there_last(bench: Bench) -> None:
    bench.network.answers[OWN] = A
    bench.say(A, OWN)
    await bench.prove()
    bench.network.answers[OWN] = B
    bench.say(B, OWN)
    await bench.prove()
    assert bench.told(B) == (OWN,)
    assert bench.told(A) == ()


async def test_addresses_that_do_not_answer_hold_up_no_other_node(bench: Bench) -> None:
    bench.network.silent.add(VICTIM)
    bench.network.answers[OWN] = B
    bench.say(A, VICTIM)
    bench.say(B, OWN)
    step = asyncio.create_task(bench.prover.work())
    while bench.told(B) != (OWN,):
        await asyncio.sleep(0)
    assert not step.done()
    bench.network.release.set()
    assert await step == BUSY


async def test_a_refused_node_has_nobody_dialled(bench: Bench) -> None:
    bench.say(A, VICTIM)
    bench.world.table.refuse(A, "it is another store.")
    assert await bench.prover.work() == IDLE
    assert bench.network.dialled == []


async def test_a_dial_that_breaks_keeps_no_other_node_from_being_found(bench: Bench) -> None:
    """Whatever a node says, and whatever a resolver raises for it: each dial fails alone."""
    bench.network.broken.add(VICTIM)
    bench.network.answers[OWN] = B
    bench.say(A, VICTIM)
    bench.say(B, OWN)
    await bench.prove()
    assert bench.told(B) == (OWN,)
    assert VICTIM not in bench.told(A)
    assert await bench.prover.work() == IDLE, "it is tried again later, as what fails otherwise"
