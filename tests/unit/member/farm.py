"""A real catalogue over three pretended nodes: chunks go to dictionaries, receipts are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from blake3 import blake3
from prometheus_client import CollectorRegistry

from collective.catalog.interface import Repair
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.core.errors import NotFoundError, UnreachableError
from collective.core.ids import ChunkId, Domain, Generation, NodeId, SpiffeId
from collective.core.paths import FilePath
from collective.core.world import Threads
from collective.core.world.threads import InlinePool
from collective.federation.links.peer_call_limits import PeerCallLimits
from collective.federation.links.tallies import PeerTallies
from collective.federation.peers.peer_book import PeerBook
from collective.member.care.challenger import Challenger
from collective.member.care.complaints import Complaints
from collective.member.care.copier import Copier
from collective.member.care.guarded_deletes import GuardedDeletes
from collective.member.care.repair import Repairer
from collective.member.care.sampling import Sampler
from collective.member.care.tools import CareTools
from collective.member.care.verdict_book import VerdictBook
from collective.member.care.verification import Verifier
from collective.member.files.copying import MemberCopying
from collective.member.files.interrupted_copying import InterruptedCopying
from collective.member.files.member_files import MemberFiles
from collective.member.files.whole_files import WholeFiles
from collective.member.metrics import MemberMetrics
from collective.member.nodes.approval import Approvals
from collective.member.nodes.commands import CopyOnNode, Deleted
from collective.member.nodes.statement_macs import StatementMacs
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.trust.certificates_seen import CertificatesSeen
from collective.member.wakes import Wakes
from collective.model.calls import Call
from collective.model.copies import CopyKey, Finding
from collective.model.nodes import StatedPosition
from collective.model.routes import PutAnswer, Route
from collective.placement.challenges import UNREAD, Answer
from collective.placement.shortage import Policy
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.roles.coordinator.faces.in_process import InProcess
from collective.roles.coordinator.refusal_log import RefusalLog
from collective.transfer.buffers import BufferPool, PooledBuffer
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.options import TransferOptions
from collective.transfer.stream.chunk_client import WrongBytesError
from collective.transfer.tickets.reading import read_ticket
from collective.transfer.tickets.receipts import sign_receipt
from tests import protocol as pb
from tests.chunks import check_chunk_id
from tests.unit.member.alone import Standing, directory, no_peers, tallies
from tests.unit.member.cluster import DOMAIN, OWN, World, record
from tests.virtual_time import LoopClock
from tests.worlds import world_of

OPERATOR = Call(OWN, is_operator=True)
CARRYING = TransferOptions(stall_s=0.5, give_up_s=1.0, patience_s=0.0, may_relay=False)
Key = tuple[ChunkId, int]


class Put:
    """Results of one put, as the real client gives them."""

    def __init__(
        self,
        results: list[PutAnswer],
        failure: Exception | None,
        stalled: asyncio.Event | None = None,
        *,
        hangs: bool = False,
    ) -> None:
        self._results = results
        self._failure = failure
        self._stalled = stalled
        self._hangs = hangs
        self.closed = False
        self.last_progress_s = 0.0

    def __aiter__(self) -> Put:
        return self

    async def __anext__(self) -> PutAnswer:
        if self._stalled is not None:
            await self._stalled.wait()
        if self._results:
            return self._results.pop(0)
        if self._hangs:
            await asyncio.Event().wait()
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


class OneEngine:
    """The engine for everybody's bytes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def engine_for(self, path: FilePath) -> Engine:
        del path
        return self._engine


@dataclass
class Farm:
    """Nodes' chunks by node; ``down`` ones do not answer, and no put ends while ``stalled``."""

    world: World
    pool: BufferPool
    stored: dict[NodeId, dict[Key, bytes]] = field(default_factory=dict)
    down: set[NodeId] = field(default_factory=set)
    puts: list[Put] = field(default_factory=list)
    stalled: asyncio.Event | None = None
    unread: set[NodeId] = field(default_factory=set)
    """These answer challenges and reads with "not now"."""
    hung: set[NodeId] = field(default_factory=set)
    """These take a put or a read, and never answer."""
    liars: set[NodeId] = field(default_factory=set)
    """These send any bytes, and answer challenges with what comes to mind."""
    reads: int = 0
    asked: list[NodeId] = field(default_factory=list)
    """Nodes that were challenged, those that are down too."""
    challenged: int = 0
    """Copies that nodes were asked to prove."""
    deletes: int = 0
    """Copies that nodes were asked to delete."""

    def receive(self, ticket: pb.Ticket, data: bytes) -> PutAnswer:
        identity = SpiffeId.parse(ticket.node)
        chunk = ChunkId(ticket.chunk_id)
        check_chunk_id(chunk, data)
        self.stored.setdefault(identity.node_id, {})[chunk, ticket.generation] = data
        key = self.world.keys.signing_key(identity)
        assert key is not None
        receipt = pb.Receipt(
            chunk_id=chunk,
            length=len(data),
            generation=ticket.generation,
            transfer_id=ticket.transfer_id,
            node=ticket.node,
            flushed=True,
        )
        return PutAnswer(identity, sign_receipt(key, receipt))

    def put(self, route: Route, parts: Sequence[memoryview | bytes]) -> Put:
        results = []
        failure: Exception | None = None
        hangs = False
        for hop in route.hops:
            ticket = read_ticket(hop)
            node = SpiffeId.parse(ticket.node).node_id
            if node in self.down:
                failure = UnreachableError("down")
                break
            if node in self.hung:
                hangs = True
                break
            results.append(self.receive(ticket, b"".join(bytes(part) for part in parts)))
        self.puts.append(Put(results, failure, self.stalled, hangs=hangs))
        return self.puts[-1]

    async def reach(self, route: Route, *, stands: Callable[[], None]) -> None:
        raise AssertionError("a coordinator relays to nobody, and tries no way beside another")

    async def get(
        self, route: Route, *, on_progress: Callable[[int], None] | None = None
    ) -> PooledBuffer:
        ticket = read_ticket(route.hops[0])
        node = SpiffeId.parse(ticket.node).node_id
        if node in self.down:
            raise UnreachableError("down")
        if node in self.unread:
            raise UnreachableError("not now")
        self.reads += 1
        if node in self.hung:
            await asyncio.Event().wait()
        if node in self.liars:
            raise WrongBytesError("other bytes came")
        data = self.stored.get(node, {}).get((ChunkId(ticket.chunk_id), ticket.generation))
        if data is None:
            raise NotFoundError("not here")
        buffer = await self.pool.acquire(len(data))
        try:
            buffer.view[:] = data
            check_chunk_id(ChunkId(ticket.chunk_id), buffer.view)
        except BaseException:
            buffer.release()
            raise
        return buffer

    # NodeCommands:

    async def copy_chunk(
        self, node: NodeId, chunk: ChunkId, generation: Generation, route: Route
    ) -> PutAnswer | None:
        if node in self.down:
            raise UnreachableError("down")
        data = self.stored[node].get((chunk, generation))
        if data is None:
            raise NotFoundError("not here")
        ticket = read_ticket(route.hops[0])
        assert ticket.holder == str(self.world.table.identity(node))
        return self.receive(ticket, data)

    async def delete_copies(
        self, node: NodeId, position: StatedPosition, copies: Sequence[CopyKey]
    ) -> Deleted:
        assert StatementMacs(self.world.keys).is_position(position.position, position.mac)
        self.deletes += len(copies)
        here = self.stored.setdefault(node, {})
        named = {(copy.chunk, copy.generation) for copy in copies}
        absent = frozenset(name for name in named if name not in here)
        for name in named - absent:
            del here[name]
        return Deleted(frozenset(named - absent), absent)

    def drop(self, node: NodeId) -> None:
        self.down.add(node)

    async def challenge_copies(
        self, node: NodeId, nonce: bytes, copies: Sequence[CopyKey]
    ) -> Mapping[CopyOnNode, Answer]:
        """Answer as a node does; one in ``liars`` as it likes."""
        self.asked.append(node)
        if node in self.down:
            raise UnreachableError("down")
        self.challenged += len(copies)
        return {(copy.chunk, copy.generation): self._answer(node, nonce, copy) for copy in copies}

    def _answer(self, node: NodeId, nonce: bytes, copy: CopyKey) -> Answer:
        data = self.stored.get(node, {}).get((copy.chunk, copy.generation))
        if node in self.unread:
            return UNREAD
        if node in self.liars:
            return Answer(Finding.SOUND, bytes(32))
        if data is None:
            return Answer(Finding.MISSING)
        if blake3(data).digest() != copy.chunk:
            return Answer(Finding.CORRUPT)
        return Answer(Finding.SOUND, blake3(data, key=nonce).digest())

    def copies(self) -> int:
        return sum(len(chunks) for chunks in self.stored.values())


@dataclass
class Scene:
    """A coordinator without its network."""

    world: World
    catalog: SqliteCatalog
    farm: Farm
    files: MemberFiles
    whole: WholeFiles
    copying: MemberCopying
    metrics: MemberMetrics
    wakes: Wakes
    complaints: Complaints
    interrupted: InterruptedCopying
    in_process: InProcess

    def admission(self, certificates_seen: CertificatesSeen | None = None) -> Admission:
        return Admission(
            DOMAIN,
            self.metrics,
            self.world.clock,
            PeerCallLimits(no_peers(), tallies(), self.world.clock),
            certificates_seen=certificates_seen,
        )

    def peer_tallies(self, *peers: Domain) -> PeerTallies:
        """Return counts of ``peers``."""
        return PeerTallies(cast("PeerBook", Standing(peers)))

    def refusals(self, counted: PeerTallies | None = None) -> RefusalLog:
        return RefusalLog(
            self.catalog.audit,
            self.metrics,
            counted or tallies(),
            DOMAIN,
            world_of(self.world.clock, self.world.randomness),
        )

    def verdicts(self) -> VerdictBook:
        return VerdictBook(self.catalog.copies, self.world.table, self.metrics, self.wakes)

    def challenger(self) -> Challenger:
        return Challenger(OWN, self.farm, self.world.routes, self.farm, self.tools())

    def tools(self) -> CareTools:
        return CareTools(self.metrics, self.wakes, self.world.clock, self.world.randomness)

    def repairer(
        self, repair: Repair | None = None, challenger: Challenger | None = None
    ) -> Repairer:
        world, catalog = self.world, self.catalog
        copier = Copier(catalog.nodes, world.table, world.routes, world.receipts, self.farm)
        return Repairer(
            repair or catalog.repair,
            catalog.guarded,
            world.table,
            copier,
            challenger or self.challenger(),
            self.tools(),
        )

    def verifier(self, challenger: Challenger | None = None) -> Verifier:
        return Verifier(
            self.complaints,
            self.catalog.copies,
            self.world.table,
            challenger or self.challenger(),
            self.verdicts(),
            self.tools(),
        )

    def sampler(self) -> Sampler:
        return Sampler(
            self.catalog,
            self.world.table,
            self.challenger(),
            self.verdicts(),
            Approvals(self.catalog.nodes, self.catalog.identities, self.world.table, self.wakes),
            self.tools(),
        )

    def guarded_deletes(self) -> GuardedDeletes:
        return GuardedDeletes(
            self.catalog.guarded, self.world.table, self.challenger(), self.verdicts(), self.tools()
        )


@asynccontextmanager
async def scene(folder: Path, threads: Threads | None = None) -> AsyncIterator[Scene]:
    world = World()
    catalog = await SqliteCatalog.open(
        str(folder / "catalog"),
        world_of(world.clock, world.randomness, threads=threads),
        CatalogSettings(copies=3),
    )
    world.kept.records = catalog.nodes
    try:
        for name in ("a", "b", "c"):
            await catalog.nodes.add(record(name))
        pool = BufferPool(64 << 20)
        farm = Farm(world, pool)
        wakes = Wakes()
        complaints = Complaints(wakes, world.clock)
        files = MemberFiles(
            OWN,
            catalog,
            world.table,
            world.routes,
            world.receipts,
            Policy(3),
            complaints,
        )
        engine = Engine.of(
            farm, pool, InlinePool(), world_of(LoopClock(), world.randomness), CARRYING
        )
        metrics = MemberMetrics(
            CollectorRegistry(), "alice", world.table, UnknownNodes(world.clock)
        )
        owners = directory(files)
        engines = OneEngine(engine)
        interrupted = InterruptedCopying(world.clock)
        whole, copying = (
            WholeFiles(OWN, engines, owners),
            MemberCopying(OWN, engines, owners, interrupted),
        )
        yield Scene(
            world,
            catalog,
            farm,
            files,
            whole,
            copying,
            metrics,
            wakes,
            complaints,
            interrupted,
            InProcess(OWN, owners, engines, copying, InlinePool()),
        )
    finally:
        await catalog.close()
