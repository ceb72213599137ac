"""A member's coordinator parts over fakes, for the tests of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from collective.catalog.interface import Nodes
from collective.core.clock import ManualClock
from collective.core.ids import ChunkId, Domain, Generation, NodeId, SpiffeId, StoreUuid
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.member.files.receipts import ReceiptChecker
from collective.member.files.routes import RouteMaker
from collective.member.nodes.live_nodes import LiveNodes, Report
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.model.copies import Copy
from collective.model.nodes import NodeRecord
from collective.model.routes import SignedReceipt
from collective.placement.node_states import Timers
from collective.rpc.gen.collective.v1 import transfer as pb
from collective.transfer.tickets.key_ring import KeyRing
from collective.transfer.tickets.receipts import sign_receipt
from tests.roots import Roots

DOMAIN = Domain("home.alice")
OWN = SpiffeId.coordinator(DOMAIN)
USER = SpiffeId.parse("spiffe://home.alice/user/home.alice/ann")
CHUNK = ChunkId(b"\x07" * 32)
GIB = 1 << 30


def instance(number: int) -> str:
    return f"{number:032x}"


def record(name: str) -> NodeRecord:
    return NodeRecord(NodeId(name), StoreUuid("ab" * 16), 0, 0, 0, (), 0)


def report(
    name: str, number: int = 1, *, port: int = 0, stopping: bool = False, used: int = 0
) -> Report:
    port = port or 7000 + ord(name[0])
    return Report(
        instance(number), (Address("127.0.0.1", port),), GIB, used, 0, "1", stopping, "01", 0
    )


class KeptNodes:
    """What a catalogue has of nodes; none where there is no catalogue."""

    records: Nodes | None = None

    async def list(self) -> Sequence[NodeRecord]:
        return await self.records.list() if self.records is not None else []

    async def set_refused(self, refused: Mapping[NodeId, str]) -> None:
        if self.records is not None:
            await self.records.set_refused(refused)


@dataclass
class World:
    """Three nodes, up and inventoried."""

    clock: ManualClock = field(default_factory=ManualClock)
    randomness: SeededRandomness = field(default_factory=lambda: SeededRandomness(3))

    def __post_init__(self) -> None:
        self.kept = KeptNodes()
        self.table = LiveNodes(
            DOMAIN, cast("Nodes", self.kept), self.clock, self.randomness, Timers(5.0, 10.0, 600.0)
        )
        self.keys = KeyRing(OWN, Roots(self.randomness.token(32)), self.clock)
        self.routes = RouteMaker(
            OWN,
            (Address("127.0.0.1", 8001),),
            self.table,
            self.keys,
            self.randomness,
        )
        self.receipts = ReceiptChecker(self.keys)
        self.table.load([record(name) for name in ("a", "b", "c")])
        self.hear("a", "b", "c")

    def hear(self, *names: str) -> None:
        for name in names:
            node = NodeId(name)
            self.table.heard(node, report(name))
            live = self.table.get(node)
            assert live is not None
            live.inventory.done(live.instance_id, self.clock.monotonic_s(), 1.0)
            for address in live.addresses:
                self.table.proved(node, address)
            self.keys.hand_out(self.table.identity(node), frozenset())

    def sign(
        self, name: str, transfer_id: str, *, flushed: bool = True, length: int = 100
    ) -> SignedReceipt:
        identity = self.table.identity(NodeId(name))
        key = self.keys.signing_key(identity)
        assert key is not None
        return sign_receipt(
            key,
            pb.Receipt(
                chunk_id=CHUNK,
                length=length,
                generation=1,
                transfer_id=transfer_id,
                node=str(identity),
                flushed=flushed,
            ),
        )


def copies(*names: str) -> Sequence[Copy]:
    return [Copy(NodeId(name), Generation(index + 1)) for index, name in enumerate(names)]


def no_nodes() -> tuple[LiveNodes, UnknownNodes]:
    """Return the nodes of a member that has none."""
    clock = ManualClock()
    records = cast("Nodes", KeptNodes())
    return LiveNodes(DOMAIN, records, clock, SeededRandomness(3)), UnknownNodes(clock)
