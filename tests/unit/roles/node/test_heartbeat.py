from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from collective.chunking.store import ChunkStore
from collective.core.clock import ManualClock
from collective.core.disk_errors import DiskState
from collective.core.errors import CollectiveError, ConflictError, UnreachableError
from collective.core.ids import ChunkId, Domain, Generation, SpiffeId
from collective.core.limits import MIB
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.core.work import IDLE
from collective.model.nodes import Whereabouts
from collective.pki.revocation import RevocationSet
from collective.pki.succession import Told
from collective.roles.node.bad_copies import Problems
from collective.roles.node.coordinator_channel import CoordinatorChannel
from collective.roles.node.coordinator_keys import CoordinatorKeys
from collective.roles.node.durable_memory import DurableMemory
from collective.roles.node.heartbeat import INTERVAL_MOST_S, Heartbeat
from collective.roles.node.heartbeat_effects import HeartbeatEffects
from collective.roles.node.heartbeat_facts import HeartbeatFacts, OwnFacts
from collective.roles.node.inventory_report import InventoryReport
from collective.roles.node.metrics import NodeMetrics
from collective.roles.runtime.metrics import Metrics
from collective.rpc.conversions.node_registry import stated_from
from collective.rpc.gen.collective.v1 import Address as Message
from collective.rpc.gen.collective.v1 import node as pb
from collective.transfer.tickets.adoptions import sign_adoption
from collective.transfer.tickets.keys import TicketKey
from tests.faults.disk import FaultDisk
from tests.worlds import REAL, world_of


class Coordinator:
    """Answers heartbeats as it is told to; stands for channel and stub alike."""

    def __init__(self) -> None:
        self.heard: list[pb.HeartbeatRequest] = []
        self.inventory: list[pb.InventoryPage] = []
        self.problems: list[pb.CopyTrouble] = []
        self.answer = pb.HeartbeatResponse(interval_s=2.0)
        self.failure: CollectiveError | None = None
        self.holds: asyncio.Event | None = None
        """Set when an inventory may be taken; None: at once."""
        self.verdict: CollectiveError | None = None
        """What becomes of the answer to an inventory that was taken."""
        self.opened = 0
        self.closed = 0
        self.shown: list[str] = []
        """The certificate of each channel that was opened."""

    peer = None

    def channel(self, addresses: Sequence[Address], *, credentials: Any, **_: Any) -> Any:
        """Stand for links too."""
        assert addresses == (WHERE,)
        self.opened += 1
        self.shown.append(credentials.certificate)
        return self

    def stub(self, _: Callable[..., Any]) -> Coordinator:
        return self

    async def aclose(self) -> None:
        self.closed += 1

    async def heartbeat(self, message: pb.HeartbeatRequest, **_: float) -> pb.HeartbeatResponse:
        self.heard.append(message)
        if self.failure is not None:
            raise self.failure
        return self.answer

    async def report_inventory(
        self, messages: AsyncIterator[pb.InventoryPage], **_: float
    ) -> pb.InventoryVerdict:
        if self.holds is not None:
            await self.holds.wait()
        self.inventory = [page async for page in messages]
        if self.verdict is not None:
            raise self.verdict
        return pb.InventoryVerdict()

    async def report_problems(
        self, message: pb.ReportProblemsRequest, **_: float
    ) -> pb.ReportProblemsResponse:
        self.problems += message.copies
        return pb.ReportProblemsResponse()


OWN = SpiffeId.parse("spiffe://home.alice/node/n1")


WHERE = Address("127.0.0.1", 8001)


@dataclass
class Shown:
    """Credentials with a certificate by name."""

    certificate: str
    domain: Domain = OWN.trust_domain


@dataclass
class Who:
    """Stands for the node's identity."""

    credentials: Shown = field(default_factory=lambda: Shown("first"))


class Where:
    """Hears where the coordinator is."""

    coordinator = (WHERE,)

    def __init__(self) -> None:
        self.told: list[Whereabouts] = []

    async def hear(self, told: Whereabouts) -> None:
        self.told.append(told)


class Bench:
    """All that a heartbeat needs; stands for gate, renewal, disk and bootstrap as well."""

    def __init__(self, folder: Path, store: ChunkStore) -> None:
        self.store = store
        self.coordinator = Coordinator()
        self.who = Who()
        self.memory = DurableMemory(str(folder / "memory.json"), REAL)
        self.clock = ManualClock()
        self.keys = CoordinatorKeys(self.clock, self.memory)
        self.problems = Problems()
        self.revoked: list[RevocationSet] = []
        self.told: list[Told] = []
        self.peers_digest = b""
        self.trusted_digests = [b"a CA"]
        self.peers: list[tuple[Domain, Sequence[bytes], Sequence[str]]] = []
        self.where = Where()
        self.asked = 0
        self.why = ""
        self.state = DiskState.OK
        self.make()

    def make(self) -> None:
        me: Any = self
        links: Any = self.coordinator
        own = OwnFacts(OWN, "i1", (Address("127.0.0.1", 8101),), "0.1")
        channel = CoordinatorChannel(me.who, me, me.where, me, links)
        facts = HeartbeatFacts(own, self.store, self.keys, self.memory, self.problems, self)
        self.inventory = InventoryReport(channel, facts)
        self.heartbeat = Heartbeat(
            channel,
            facts,
            HeartbeatEffects(OWN, self.keys, self.memory, self, self, self.inventory),
            NodeMetrics(Metrics()),
            self.clock,
            interval_s=2.0,
        )

    def take_peers(
        self, digest: bytes, named: Sequence[tuple[Domain, Sequence[bytes], Sequence[str]]]
    ) -> None:
        self.peers_digest, self.peers = digest, list(named)

    def replace(self, *, revocations: RevocationSet) -> int:
        self.revoked.append(revocations)
        return 0

    def hear(self, told: Told) -> None:
        self.told.append(told)

    async def beat(self) -> CollectiveError | None:
        """Do one step of each as the runner does; return how one failed."""
        try:
            assert await self.heartbeat.work() == IDLE
            assert await self.inventory.work() == IDLE
        except CollectiveError as error:
            return error
        return None

    async def why_refused(self) -> str:
        self.asked += 1
        return self.why


def accepted(bench: Bench) -> bool:
    return bench.heartbeat.is_accepted


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await ChunkStore.open(
        str(tmp_path / "store"),
        world_of(randomness=SeededRandomness(1)),
        capacity_bytes=64 * MIB,
        threads=2,
    )
    async with store:
        made = Bench(tmp_path, store)
        yield made
        await made.memory.close()


async def test_a_heartbeat_tells_which_cas_are_trusted(bench: Bench) -> None:
    await bench.beat()
    bench.trusted_digests = [b"a CA", b"its successor"]
    await bench.beat()
    told = [list(message.trusted_digests) for message in bench.coordinator.heard]
    assert told == [[b"a CA"], [b"a CA", b"its successor"]]


async def test_an_answer_says_where_the_coordinator_is(bench: Bench) -> None:
    bench.coordinator.answer = pb.HeartbeatResponse(
        coordinator_addresses=[Message(host="nas.lan", port=8001)],
        bootstrap_addresses=[Message(host="nas.lan", port=9001)],
        interval_s=2.0,
    )
    await bench.beat()
    assert bench.where.told == [
        Whereabouts((Address("nas.lan", 8001),), (Address("nas.lan", 9001),))
    ]


async def test_an_answer_brings_keys_time_position_and_revocations(bench: Bench) -> None:
    bench.coordinator.answer = pb.HeartbeatResponse(
        coordinator_time_ms=7_000_000,
        keys=[pb.TicketKey(key_id=5, key=bytes(32))],
        position=pb.CatalogPosition(catalog_id="c1", epoch=1, sequence=9),
        revocation_epoch=3,
        revoked=["serial:ab"],
        interval_s=1.5,
    )
    assert await bench.beat() is None
    assert bench.heartbeat.backoff.most_s == 1.5
    assert bench.keys.key_ids == [5]
    assert bench.keys.coordinator_now_ms() == 7_000_000
    assert bench.memory.kept.sequence == 9
    assert bench.revoked == [RevocationSet.of(3, ["serial:ab"])]
    await bench.beat()
    second = bench.coordinator.heard[1]
    assert (second.key_ids, second.revoked) == ([5], ["serial:ab"])
    assert second.highest_position is not None
    assert second.highest_position.sequence == 9
    assert len(bench.revoked) == 1, "connections are swept only when something changed"


async def test_revocations_travel_only_when_the_mac_does_not_say_it_all(bench: Bench) -> None:
    told = pb.HeartbeatResponse(
        revocation_epoch=3, revoked=["serial:ab"], revocation_mac=b"s3", interval_s=2.0
    )
    bench.coordinator.answer = told
    await bench.beat()
    told.mac_is_newest = True
    await bench.beat()
    assert bench.coordinator.heard[-1].revoked == ["serial:ab"]
    told.revoked = []
    await bench.beat()
    last = bench.coordinator.heard[-1]
    assert (last.revoked, last.revoked_left_out, last.revocation_mac) == ([], True, b"s3")
    assert bench.memory.kept.revocations == RevocationSet.of(3, ["serial:ab"])
    bench.coordinator.answer = pb.HeartbeatResponse(  # of a coordinator that was restored
        revocation_epoch=1, revoked=["serial:cd"], revocation_mac=b"s1", interval_s=2.0
    )
    await bench.beat()
    await bench.beat()
    last = bench.coordinator.heard[-1]
    assert (last.revoked, last.revoked_left_out, last.revocation_mac) == (
        ["serial:ab"],
        False,
        b"s3",
    )
    assert bench.memory.kept.revocations == RevocationSet.of(3, ["serial:ab", "serial:cd"])
    assert len(bench.revoked) == 2


async def test_the_node_is_ready_only_when_its_inventory_is_known(bench: Bench) -> None:
    for number in range(3):
        content = bytes([number]) * 1000
        await bench.store.put(ChunkId(blake3(content).digest()), Generation(number + 1), content)
    assert not accepted(bench)
    bench.coordinator.answer = pb.HeartbeatResponse(send_inventory=True)
    await bench.beat()
    assert accepted(bench)
    *pages, last = bench.coordinator.inventory
    assert last.last
    assert not any(page.last for page in pages)
    reported = [copy for page in pages for copy in page.copies]
    assert sorted(copy.generation for copy in reported) == [1, 2, 3]


async def test_a_node_is_ready_though_the_answer_to_its_inventory_was_lost(bench: Bench) -> None:
    bench.coordinator.answer = pb.HeartbeatResponse(send_inventory=True)
    bench.coordinator.verdict = UnreachableError("The connection broke.")
    await bench.beat()
    assert not accepted(bench)
    bench.coordinator.answer = pb.HeartbeatResponse(send_inventory=False)
    await bench.beat()
    assert accepted(bench)


async def test_heartbeats_and_the_word_of_a_stop_go_on_while_an_inventory_is_told(
    bench: Bench,
) -> None:
    bench.coordinator.answer = pb.HeartbeatResponse(send_inventory=True)
    bench.coordinator.holds = asyncio.Event()
    await bench.heartbeat.work()
    telling = asyncio.create_task(bench.inventory.work())
    await asyncio.sleep(0)
    for _ in range(2):
        assert await bench.heartbeat.work() == IDLE
    await asyncio.wait_for(bench.heartbeat.announce_drain(), 5)
    assert bench.coordinator.heard[-1].draining
    assert not accepted(bench)
    bench.coordinator.holds.set()
    await telling
    assert accepted(bench)
    bench.coordinator.inventory.clear()
    await bench.inventory.work()
    assert bench.coordinator.inventory == [], "one that was asked for meanwhile was this one"


async def test_an_inventory_that_nobody_waits_for_any_more_is_no_failure(bench: Bench) -> None:
    bench.coordinator.answer = pb.HeartbeatResponse(send_inventory=True)
    bench.coordinator.verdict = ConflictError("No inventory of this node is awaited now.")
    assert await bench.beat() is None
    assert not accepted(bench)
    bench.coordinator.answer = pb.HeartbeatResponse()
    assert await bench.beat() is None
    assert accepted(bench)


async def test_a_lost_coordinator_is_connected_to_anew(bench: Bench) -> None:
    await bench.beat()
    bench.coordinator.failure = UnreachableError("gone")
    assert await bench.beat() == bench.coordinator.failure
    assert 0 < bench.heartbeat.backoff.most_s <= 2.0
    assert bench.coordinator.closed == 1
    bench.coordinator.failure = None
    await bench.beat()
    assert bench.coordinator.opened == 2


async def test_the_next_beat_after_a_renewal_shows_the_new_certificate(bench: Bench) -> None:
    await bench.beat()
    await bench.beat()
    assert bench.coordinator.shown == ["first"]
    bench.who.credentials = Shown("first")  # other CAs were learnt
    await bench.beat()
    assert bench.coordinator.closed == 0
    bench.who.credentials = Shown("renewed")
    bench.problems.add(ChunkId(bytes(32)), Generation(4), corrupt=True)
    await bench.beat()
    assert bench.coordinator.shown == ["first", "renewed"]
    assert bench.coordinator.closed == 1
    assert len(bench.coordinator.problems) == 1


async def test_what_an_answer_says_of_cas_is_for_the_renewal_to_judge(bench: Bench) -> None:
    bench.coordinator.answer = pb.HeartbeatResponse(trusted_ca_ders=[b"ca"], ca_link_ders=[b"link"])
    assert await bench.beat() is None
    assert bench.told == [Told([b"ca"], [b"link"], b"")]


async def test_the_peers_that_an_answer_names_count_until_another_names_others(
    bench: Bench,
) -> None:
    named = pb.PeerAuthorities(domain="garage.bob", ca_ders=[b"ca"], revoked=["key:00"])
    bench.coordinator.answer = pb.HeartbeatResponse(peers=[named], peers_digest=b"d1")
    assert await bench.beat() is None
    assert bench.peers == [(Domain("garage.bob"), [b"ca"], ["key:00"])]
    bench.coordinator.answer = pb.HeartbeatResponse(peers_digest=b"d1")  # what has been named
    assert await bench.beat() is None
    assert bench.coordinator.heard[-1].peers_digest == b"d1"
    assert bench.peers == [(Domain("garage.bob"), [b"ca"], ["key:00"])]
    bench.coordinator.answer = pb.HeartbeatResponse()
    assert await bench.beat() is None
    assert bench.peers == []


async def test_a_refused_clone_is_not_ready(bench: Bench) -> None:
    bench.coordinator.answer = pb.HeartbeatResponse(send_inventory=True)
    await bench.beat()
    assert accepted(bench)
    bench.coordinator.failure = ConflictError("Another process already runs as this node.")
    await bench.beat()
    assert not accepted(bench)
    bench.coordinator.failure = None
    await bench.beat()
    assert accepted(bench)


async def test_a_node_that_was_shut_out_is_not_ready_and_says_why(bench: Bench) -> None:
    bench.coordinator.answer = pb.HeartbeatResponse(send_inventory=True)
    await bench.beat()
    assert accepted(bench)
    bench.coordinator.failure = UnreachableError("gone")
    for _ in range(5):
        await bench.beat()
    assert bench.asked == 1
    assert accepted(bench)  # out of reach is not shut out: tickets are honoured still
    bench.why = "Step 9: revoked."
    for _ in range(30):
        await bench.beat()
    assert bench.asked == 2
    assert not accepted(bench)
    assert bench.heartbeat.refusal == "Step 9: revoked."
    bench.coordinator.failure = None
    await bench.beat()
    assert accepted(bench)
    assert bench.heartbeat.refusal == ""


async def test_problems_are_told_until_they_were_heard(bench: Bench) -> None:
    bench.problems.add(ChunkId(bytes(32)), Generation(4), corrupt=True)
    bench.coordinator.failure = UnreachableError("gone")
    await bench.beat()
    assert bench.coordinator.problems == []
    bench.coordinator.failure = None
    await bench.beat()
    await bench.beat()
    assert bench.coordinator.problems == [
        pb.CopyTrouble(chunk_id=bytes(32), generation=4, corrupt=True)
    ]


async def test_a_drain_is_announced_and_a_dead_coordinator_does_not_stop_it(bench: Bench) -> None:
    bench.coordinator.failure = UnreachableError("gone")
    await bench.heartbeat.announce_drain()
    assert bench.coordinator.heard[-1].draining


@pytest.mark.parametrize("asked", [1e9, 0.0, -5.0, float("nan")])
async def test_a_senseless_interval_does_not_silence_the_node(bench: Bench, asked: float) -> None:
    bench.coordinator.answer = pb.HeartbeatResponse(interval_s=asked)
    assert await bench.beat() is None
    assert 0 < bench.heartbeat.backoff.least_s <= bench.heartbeat.backoff.most_s <= INTERVAL_MOST_S


async def obey(bench: Bench, catalog_id: str, epoch: int, sequence: int) -> None:
    position = pb.CatalogPosition(
        catalog_id=catalog_id, epoch=epoch, sequence=sequence, mac=b"s" * 32
    )
    bench.coordinator.answer = pb.HeartbeatResponse(interval_s=2.0, position=position)
    assert await bench.beat() is None


@pytest.mark.parametrize(
    ("replaced", "node", "is_taken"),
    [
        (("a" * 32, 3, 9), OWN, True),
        (("a" * 32, 3, 8), OWN, False),
        (("c" * 32, 3, 9), OWN, False),
        (("a" * 32, 3, 9), SpiffeId.parse("spiffe://home.alice/node/n2"), False),
    ],
)
async def test_another_catalogue_is_obeyed_only_by_an_adoption_of_exactly_what_is_kept(
    bench: Bench, replaced: tuple[str, int, int], node: SpiffeId, is_taken: bool
) -> None:
    await obey(bench, "a" * 32, 3, 9)
    await obey(bench, "b" * 32, 1, 2)
    assert bench.memory.kept.catalog_id == "a" * 32, "without an adoption it is not taken"
    new = pb.CatalogPosition(catalog_id="b" * 32, epoch=1, sequence=2, mac=b"t" * 32)
    with pytest.raises(ConflictError):
        await bench.memory.admit(stated_from(new))
    key = TicketKey(5, b"k" * 32)
    catalog_id, epoch, sequence = replaced
    adoption = pb.Adoption(
        node=str(node),
        replaced=pb.CatalogPosition(catalog_id=catalog_id, epoch=epoch, sequence=sequence),
        successor=new,
    )
    bench.coordinator.answer = pb.HeartbeatResponse(
        interval_s=2.0,
        position=new,
        keys=[pb.TicketKey(key_id=5, key=key.secret)],
        adoption=sign_adoption(key, adoption),
    )
    assert await bench.beat() is None
    assert (bench.memory.kept.catalog_id == "b" * 32) is is_taken
    if is_taken:
        await bench.memory.admit(stated_from(new))
        assert bench.memory.kept.mac == b"t" * 32
    else:
        with pytest.raises(ConflictError):
            await bench.memory.admit(stated_from(new))


async def test_a_full_disk_silences_no_heartbeat(bench: Bench, tmp_path: Path) -> None:
    disk = FaultDisk()
    disk.make_dir("/node")
    await bench.memory.close()
    bench.memory = DurableMemory("/node/memory.json", world_of(disk=disk))
    bench.state = DiskState.FULL
    bench.make()
    disk.faults.write_errno = errno.ENOSPC
    bench.coordinator.answer = pb.HeartbeatResponse(
        keys=[pb.TicketKey(key_id=5, key=bytes(32))],
        position=pb.CatalogPosition(catalog_id="c1", epoch=1, sequence=9),
        revocation_epoch=3,
        revoked=["serial:ab"],
        send_inventory=True,
    )
    for _ in range(2):
        assert await bench.beat() is None
    assert accepted(bench)
    assert bench.keys.key_ids == [5]
    assert bench.revoked == [RevocationSet.of(3, ["serial:ab"])]
    last = bench.coordinator.heard[-1]
    assert last.disk == "full"
    assert last.highest_position is not None
    assert last.highest_position.sequence == 0, "it is not flushed"
