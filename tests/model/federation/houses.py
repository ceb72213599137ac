"""Three members in one process: real catalogues and member layers, joined by wires instead of networks.

A node is a dictionary.  What the product decides is decided by the product; what is missing is TLS, HTTP/2,
and the exchange by which members find each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from cryptography import x509
from prometheus_client import CollectorRegistry

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, Domain, MemberId, NodeId, SpiffeId, StoreUuid
from collective.core.paths import FilePath
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.core.world import InlineThreads
from collective.core.world.threads import InlinePool
from collective.federation.files.remote_members import RemoteMembers
from collective.federation.links.peer_call_limits import PeerCallLimits
from collective.federation.links.peer_links import PeerLinks
from collective.federation.links.tallies import PeerTallies
from collective.federation.peers.peer_book import PeerBook
from collective.member.care.complaints import Complaints
from collective.member.files.copying import MemberCopying
from collective.member.files.interrupted_copying import InterruptedCopying
from collective.member.files.member_directory import MemberDirectory
from collective.member.files.member_files import MemberFiles
from collective.member.files.name_directory import NameDirectory
from collective.member.files.receipts import ReceiptChecker
from collective.member.files.routes import RouteMaker
from collective.member.files.whole_files import WholeFiles
from collective.member.metrics import MemberMetrics
from collective.member.nodes.live_nodes import LiveNodes, Report
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.people.grant_directory import GrantDirectory
from collective.member.people.member_people import MemberPeople
from collective.member.wakes import Wakes
from collective.model.calls import Call
from collective.model.nodes import NodeRecord
from collective.model.routes import PutAnswer, Route
from collective.pki.bundle import Bundle, SignedBundle, sign_bundle
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import Certified
from collective.pki.trust import TrustStore
from collective.placement.node_states import Timers
from collective.placement.shortage import Policy
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.roles.coordinator.faces.grpc.files import FilesService
from collective.roles.coordinator.faces.grpc.people import PeopleService
from collective.roles.coordinator.faces.grpc.reads import ReadsService
from collective.roles.coordinator.faces.grpc.streams import StreamsService
from collective.roles.coordinator.faces.grpc.uploads import UploadsService
from collective.rpc.gen.collective.v1 import transfer as pb
from collective.rpc.server.service_edge import ServiceEdge
from collective.rpc.tls.gate import REVOKED
from collective.transfer.buffers import BufferPool, PooledBuffer
from collective.transfer.engine.engine import Engine
from collective.transfer.tickets.key_ring import KeyRing
from collective.transfer.tickets.reading import read_ticket
from collective.transfer.tickets.receipts import sign_receipt
from tests.chunks import check_chunk_id
from tests.model.federation.wire import Exchange, Served
from tests.roots import Roots
from tests.unit.member.farm import CARRYING, OneEngine, Put
from tests.virtual_time import LoopClock
from tests.worlds import world_of

NODE: Final = NodeId("n1")
AGES_S: Final = 1e12
POOL_BYTES: Final = 64 << 20


class Depot:
    """The chunks of every node, and the way there for one coordinator, past the coordinators between."""

    def __init__(self, own: SpiffeId, houses: Mapping[Domain, House], pool: BufferPool) -> None:
        self._own = own
        self._houses = houses
        self._pool = pool
        self.chunks: dict[ChunkId, bytes] = {}

    def put(self, route: Route, parts: Sequence[memoryview | bytes]) -> Put:
        data = b"".join(bytes(part) for part in parts)
        answers: list[PutAnswer] = []
        for ticket in self._tickets(route):
            node = SpiffeId.parse(ticket.node)
            if node.role != "node":
                continue
            house = self._houses[node.trust_domain]
            check_chunk_id(ChunkId(ticket.chunk_id), data)
            house.depot.chunks[ChunkId(ticket.chunk_id)] = data
            key = house.keys.signing_key(node)
            assert key is not None
            receipt = pb.Receipt(
                chunk_id=ticket.chunk_id,
                length=len(data),
                generation=ticket.generation,
                transfer_id=ticket.transfer_id,
                node=ticket.node,
                flushed=True,
            )
            answers.append(PutAnswer(node, sign_receipt(key, receipt)))
        return Put(answers, None)

    async def reach(self, route: Route, *, stands: Callable[[], None]) -> None:
        raise AssertionError("a coordinator tries no way beside another")

    async def get(
        self, route: Route, *, on_progress: Callable[[int], None] | None = None
    ) -> PooledBuffer:
        del on_progress
        last = self._tickets(route)[-1]
        node = SpiffeId.parse(last.node)
        data = self._houses[node.trust_domain].depot.chunks[ChunkId(last.chunk_id)]
        buffer = await self._pool.acquire(len(data))
        buffer.view[:] = data
        return buffer

    def _tickets(self, route: Route) -> list[pb.Ticket]:
        tickets = [read_ticket(hop) for hop in route.hops]
        assert tickets[0].holder == str(self._own), "who carries the bytes holds the tickets"
        return tickets


class HandshakeConfigs:
    """What a coordinator shows of itself, and whose CAs count."""

    gate: Any = None
    credentials: Any = None

    def __init__(self, authority: CertificateAuthority, domain: Domain) -> None:
        self.own_trust = TrustStore({domain: [authority.certificate]})
        self.trusted: frozenset[Domain] = frozenset()

    def trust_peers(
        self, authorities: Mapping[Domain, Sequence[x509.Certificate]], shut_out: frozenset[Domain]
    ) -> None:
        self.trusted = frozenset(authorities) - shut_out

    def attach(self, keeper: object) -> None:
        del keeper


class House:
    """One member."""

    catalog: SqliteCatalog

    def __init__(
        self, domain: Domain, number: int, clock: ManualClock, seed: int, exchange: Exchange
    ) -> None:
        self.domain = domain
        self.own = SpiffeId.coordinator(domain)
        self.operator = Call.own(domain)
        self.clock = clock
        self.randomness = SeededRandomness(seed * 10 + number)
        self.world = world_of(clock, self.randomness, threads=InlineThreads(), exclusive=True)
        self.address = Address("127.0.0.1", 8001 + number)
        member = MemberId(domain.partition(".")[2])
        self._authority = CertificateAuthority.create(member, domain, self.world)
        bundle = Bundle(member, domain, (self._authority.certificate,), (self.address,), 1)
        self.bundle: SignedBundle = sign_bundle(bundle, self._authority)
        self._exchange = exchange
        self.revoked: frozenset[str] = frozenset()
        """What TLS would refuse."""

    async def open(self, folder: Path, houses: Mapping[Domain, House]) -> None:
        domain, clock, own = self.domain, self.clock, self.own
        catalog = self.catalog = await SqliteCatalog.open(
            str(folder / domain), self.world, CatalogSettings(copies=1)
        )
        await catalog.nodes.add(NodeRecord(NODE, StoreUuid("ab" * 16), 0, 0, 0, (), 0))
        table = LiveNodes(
            domain, catalog.nodes, clock, self.randomness, Timers(AGES_S, 2 * AGES_S, 3 * AGES_S)
        )
        table.load(await catalog.nodes.list())
        at = (Address("127.0.0.1", 7001),)
        table.heard(NODE, Report("1" * 32, at, 1 << 40, 0, 0, "1", False, "01", 0))
        live = table.get(NODE)
        assert live is not None
        live.inventory.done(live.instance_id, clock.monotonic_s(), 1.0)
        table.proved(NODE, at[0])
        self.keys = KeyRing(own, Roots(self.randomness.token(32)), clock)
        self._node = table.identity(NODE)
        self.keep_keys()

        configs = HandshakeConfigs(self._authority, domain)
        self.book = PeerBook(domain, catalog.peers, configs)
        await self.book.load()
        counted = PeerTallies(self.book)
        links = PeerLinks(
            self.book,
            cast("Any", object()),
            configs,
            self._exchange.links_of(own),
            self.world,
            counted,
        )
        others = RemoteMembers(own, (self.address,), self.keys, links, clock)
        metrics = MemberMetrics(CollectorRegistry(), domain, table, UnknownNodes(clock))
        admission = Admission(domain, metrics, clock, PeerCallLimits(self.book, counted, clock))
        nobody = cast("Any", object())
        people = MemberPeople(domain, catalog, nobody, nobody, self.book, clock)
        files = MemberFiles(
            own,
            catalog,
            table,
            RouteMaker(own, (self.address,), table, self.keys, self.randomness),
            ReceiptChecker(self.keys),
            Policy(1),
            Complaints(Wakes(), clock),
        )
        owners = MemberDirectory(domain, files, others)
        pool = BufferPool(POOL_BYTES)
        self.depot = Depot(own, houses, pool)
        engine = Engine.of(
            self.depot, pool, InlinePool(), world_of(LoopClock(), self.randomness), CARRYING
        )
        engines = OneEngine(engine)
        services = [
            FilesService(NameDirectory(owners), admission),
            UploadsService(owners, admission),
            ReadsService(owners, admission),
            StreamsService(
                WholeFiles(own, engines, owners),
                MemberCopying(own, engines, owners, InterruptedCopying(clock)),
                admission,
            ),
            PeopleService(people, GrantDirectory(domain, people, others), admission),
        ]
        edge = ServiceEdge(self._objection, {}, self.randomness)
        self._exchange.served[own] = Served(edge, services)

    def _objection(self, peer: Certified) -> str | None:
        return REVOKED if str(peer.identity) in self.revoked else None

    def keep_keys(self) -> None:
        """Give the node its keys again: they are for an hour."""
        self.keys.hand_out(self._node, frozenset())

    async def revoke(self, who: SpiffeId) -> None:
        await self.catalog.revocations.revoke(self.operator, str(who))
        self.revoked = frozenset((await self.catalog.revocations.all())[1])

    async def peer_with(self, other: House) -> None:
        await self.book.accept(self.operator, other.bundle, replaces=False)

    async def remove_peer(self, domain: Domain, *, by_them: bool) -> None:
        if by_them:
            await self.book.ended(domain)
        else:
            await self.book.remove(self.operator, domain)

    async def close(self) -> None:
        await self.catalog.close()


def outcome_of(error: CollectiveError) -> int:
    return int(error.exit_code)


def path_of(*names: str) -> FilePath:
    return FilePath(tuple(names))
