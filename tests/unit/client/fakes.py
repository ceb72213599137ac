"""A coordinator and nodes in memory, with faults that tests switch on."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from collective.chunking.chunk_ids import chunk_id
from collective.client.collective import Collective
from collective.client.connection import Connection
from collective.client.disk.part_files import part_name
from collective.client.member_engines import MemberEngines
from collective.client.options import ClientOptions
from collective.client.owners import Owners
from collective.client.peer_trust import PeerTrust
from collective.client.route_notes import RouteNotes
from collective.client.transfer_session import TransferSession
from collective.client.transfers import Held, Transfers
from collective.core.errors import (
    BusyError,
    CollectiveError,
    ConflictError,
    NotEnoughCopiesError,
    NotFoundError,
    UnreachableError,
)
from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.core.paths import FilePath
from collective.core.world.threads import InlinePool
from collective.model import routes
from collective.model.calls import Call
from collective.model.entries import Entry as FileEntry
from collective.rpc.gen.collective.v1 import Entry, EntryKind, FileAttributes
from collective.rpc.gen.collective.v1.files import (
    ListRequest,
    ListResponse,
    MakeDirectoryRequest,
    MakeLinkRequest,
    SetAttributesRequest,
    StatRequest,
)
from collective.rpc.gen.collective.v1.reads import (
    CloseReadResponse,
    ExtentPlan,
    OpenReadRequest,
    OpenReadResponse,
    PlanReadRequest,
    PlanReadResponse,
    ReportCopyRequest,
    ReportCopyResponse,
)
from collective.rpc.gen.collective.v1.transfer import (
    Extent,
    Hole,
    Route,
    RouteMode,
    SignedTicket,
    Ticket,
)
from collective.rpc.gen.collective.v1.uploads import (
    AbortUploadResponse,
    AllocateChunksRequest,
    AllocateChunksResponse,
    ChunkPlan,
    CommitUploadRequest,
    GetUploadRequest,
    GetUploadResponse,
    OpenUploadRequest,
    OpenUploadResponse,
    RecordExtentsRequest,
    RecordExtentsResponse,
)
from collective.rpc.remote.names import RemoteNames
from collective.rpc.remote.transfers import RemoteTransfers
from collective.transfer.buffers import BufferPool, PooledBuffer
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.lease_returns import LeaseReturns
from collective.transfer.engine.window import Window
from collective.transfer.tickets.refusals import TicketRefusedError
from tests.chunks import check_chunk_id
from tests.virtual_time import LoopClock
from tests.worlds import REAL, world_of

DOMAIN = Domain("home.alice")
DIAL_S = 6.0
"""Where a connection is not made, it is given up after so long."""
USER = SpiffeId.user(DOMAIN, GlobalId("bob", DOMAIN))
COPIES = 3
QUORUM = 2


def part_path(local: str, domain: str, entry: FileEntry) -> str:
    """Return where the part of a download to ``local`` lies."""
    folder, name = os.path.split(local)
    return os.path.join(folder, part_name(name, domain, entry))


def node_name(number: int) -> str:
    return f"spiffe://home.alice/node/n{number}"


def route(
    chunk: bytes, stored_length: int, nodes: Sequence[str], mode: RouteMode = RouteMode.DIRECT
) -> Route:
    tickets = [Ticket(chunk_id=chunk, node=node, length_limit=1 << 23) for node in nodes]
    if mode is RouteMode.RELAY:
        tickets.insert(
            0, Ticket(chunk_id=chunk, node="spiffe://home.alice/coordinator", forward_only=True)
        )
    hops = [SignedTicket(body=bytes(ticket)) for ticket in tickets]
    return Route(
        chunk_id=chunk,
        hops=hops,
        first_node=tickets[0].node,
        storing=list(nodes),
        stored_length=stored_length,
    )


@dataclass
class FakeNodes:
    """The chunk stream; ``state`` of a node: up, down (refuses), hung (silent), full, busy-N, stale-N
    (refuses N tickets as made under a key that was replaced)."""

    state: dict[str, str] = field(default_factory=dict)
    chunks: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    pool: BufferPool = field(default_factory=lambda: BufferPool(96 << 20))
    direct_works: bool = True
    direct_after_s: float = 0.0
    """How long a direct connection takes; infinite behind a firewall that drops."""
    admits: bool = True
    """Whether nodes take our certificate: else they close a connection just after it stands."""
    puts: int = 0
    gets: list[tuple[str, bytes]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def close(self) -> None:
        """There is nothing to close."""

    def put(
        self, route: routes.Route, parts: Sequence[memoryview | bytes], **_: Any
    ) -> FakeSending:
        self.puts += 1
        return FakeSending(self, route, b"".join(bytes(part) for part in parts))

    async def reach(
        self, route: routes.Route, *, stands: Callable[[], None] = lambda: None
    ) -> None:
        first = Ticket.parse(route.hops[0].body)
        if first.forward_only:
            return
        if self.direct_after_s:
            await asyncio.sleep(min(self.direct_after_s, DIAL_S))
        if (
            not self.direct_works
            or self.direct_after_s > DIAL_S
            or self.state.get(first.node) == "down"
        ):
            raise UnreachableError("No connection to the node.")
        stands()
        if not self.admits:
            raise UnreachableError("The peer closed the connection.")

    async def get(
        self, route: routes.Route, *, on_progress: Callable[[int], None] | None = None
    ) -> PooledBuffer:
        await self.reach(route)
        node = Ticket.parse(route.hops[-1].body).node
        self.gets.append((node, route.chunk))
        state = self.state.get(node, "up")
        if state == "down":
            raise UnreachableError("No connection to the node.")
        if state == "hung":
            await asyncio.Event().wait()
        stored = self.chunks[node].get(route.chunk)
        if stored is None:
            raise NotFoundError("The node has no such chunk.")
        check_chunk_id(route.chunk, stored)
        buffer = await self.pool.acquire(len(stored))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.pool.outstanding)
        buffer.view[:] = stored
        self.in_flight -= 1
        if on_progress is not None:
            on_progress(len(stored))
        return buffer


class FakeSending:
    def __init__(self, nodes: FakeNodes, path: routes.Route, stored: bytes) -> None:
        self._nodes, self._path, self._stored = nodes, path, stored
        self.last_progress_s = 0.0
        self._answers = self._run()

    def __aiter__(self) -> AsyncIterator[routes.PutAnswer]:
        return cast("AsyncIterator[routes.PutAnswer]", self._answers)

    async def aclose(self) -> None:
        await self._answers.aclose()

    async def _run(self) -> Any:
        nodes = self._nodes
        tickets = [Ticket.parse(hop.body) for hop in self._path.hops]
        if not tickets[0].forward_only and (
            nodes.direct_after_s or not nodes.direct_works or not nodes.admits
        ):
            await nodes.reach(self._path)
        assert chunk_id(self._stored) == self._path.chunk
        for position, ticket in enumerate(t for t in tickets if not t.forward_only):
            await asyncio.sleep(0)
            state = nodes.state.get(ticket.node, "up")
            if state == "hung":
                await asyncio.Event().wait()
            if state == "down":
                error: CollectiveError = UnreachableError("No connection to the node.")
                if position == 0:
                    raise error
                for behind in tickets[tickets.index(ticket) :]:  # they fail with it
                    yield routes.PutAnswer(SpiffeId.parse(behind.node), error=error)
                return
            if state.startswith("stale"):
                left = int(state.split("-")[1])
                nodes.state[ticket.node] = f"stale-{left - 1}" if left > 1 else "up"
                raise TicketRefusedError("The ticket's signature does not match.")
            if state.startswith("busy"):
                left = int(state.split("-")[1])
                nodes.state[ticket.node] = f"busy-{left - 1}" if left > 1 else "up"
                raise BusyError("Unknown ticket key.")
            nodes.chunks.setdefault(ticket.node, {})[self._path.chunk] = self._stored
            self.last_progress_s += 1
            node = SpiffeId.parse(ticket.node)
            yield routes.PutAnswer(node, routes.SignedReceipt(self._path.chunk, 0, b"", node))


class FakeCoordinator:
    """The methods of the coordinator's stubs that files use."""

    def __init__(self, nodes: FakeNodes, count: int = 3) -> None:
        self.nodes = nodes
        self.names = [node_name(number) for number in range(1, count + 1)]
        for name in self.names:
            nodes.chunks.setdefault(name, {})
        self.files: dict[str, tuple[Entry, list[Extent | Hole]]] = {}
        self.versions = 0
        self.uploads: dict[str, dict[str, Any]] = {}
        self.leases: dict[str, str] = {}
        self.calls: list[str] = []
        self.reports: list[ReportCopyRequest] = []
        self.down_for = 0
        self.batch = 4

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.down_for:
            self.down_for -= 1
            raise UnreachableError("The coordinator restarts.")

    def _plan(
        self, upload: dict[str, Any], intent: Extent, mode: RouteMode, exclude: Sequence[str]
    ) -> ChunkPlan:
        intended: set[str] = upload["intended"].setdefault(intent.chunk_id, set())
        counted: set[str] = upload["counted"].setdefault(intent.chunk_id, set())
        free = [name for name in self.names if name not in exclude and name not in intended]
        chosen = free[: COPIES - len(counted)]
        if len(counted) + len(chosen) < QUORUM:
            again = sorted(intended - counted, key=lambda name: (name in exclude, name))
            chosen += again[: COPIES - len(counted) - len(chosen)]
        if len(counted) + len(chosen) < QUORUM:
            raise NotEnoughCopiesError("Too few nodes for the setting copies.")
        intended.update(chosen)
        routes = [route(intent.chunk_id, intent.stored_length, chosen, mode)] if chosen else []
        return ChunkPlan(
            chunk_id=intent.chunk_id, routes=routes, quorum=QUORUM, copies_held=len(counted)
        )

    async def open_upload(self, message: OpenUploadRequest, **_: Any) -> OpenUploadResponse:
        self._called("open_upload")
        upload: dict[str, Any] = {
            "path": message.path,
            "intended": {},
            "counted": {},
            "extents": {},
        }
        upload["attributes"] = message.attributes or FileAttributes()
        upload["holes"] = {hole.offset: hole for hole in message.holes}
        identity = f"{len(self.calls):032x}@{DOMAIN}"
        plans = [self._plan(upload, one, message.mode, ()) for one in message.chunks]
        self.uploads[identity] = upload
        return OpenUploadResponse(upload_id=identity, plans=plans)

    async def allocate_chunks(
        self, message: AllocateChunksRequest, **_: Any
    ) -> AllocateChunksResponse:
        self._called("allocate_chunks")
        upload = self._upload(message.upload_id)
        upload["holes"] |= {hole.offset: hole for hole in message.holes}
        return AllocateChunksResponse(
            plans=[
                self._plan(upload, one, message.mode, message.exclude_nodes)
                for one in message.chunks
            ]
        )

    def _upload(self, identity: str) -> dict[str, Any]:
        if identity not in self.uploads:
            raise NotFoundError("There is no such upload.")
        return self.uploads[identity]

    def _count(self, message: RecordExtentsRequest | CommitUploadRequest) -> dict[str, Any]:
        upload = self._upload(message.upload_id)
        for receipt in message.receipts:
            assert receipt.body in self.nodes.chunks[receipt.node], "a receipt was invented"
            upload["counted"].setdefault(receipt.body, set()).add(receipt.node)
        for extent in message.extents:
            if len(upload["counted"].get(extent.chunk_id, ())) < QUORUM:
                raise NotEnoughCopiesError("A chunk has no quorum.")
            upload["extents"][extent.offset] = extent
        return upload

    async def record_extents(
        self, message: RecordExtentsRequest, **_: Any
    ) -> RecordExtentsResponse:
        self._called("record_extents")
        self._count(message)
        return RecordExtentsResponse()

    async def commit_upload(self, message: CommitUploadRequest, **_: Any) -> Entry:
        self._called("commit_upload")
        upload = self._count(message)
        holes = upload["holes"] | {hole.offset: hole for hole in message.holes}
        pieces = [*upload["extents"].values(), *holes.values()]
        pieces.sort(key=lambda piece: piece.offset)
        end = 0
        for piece in pieces:
            if piece.offset != end:
                raise ConflictError("Extents and holes do not cover the file.")
            end += piece.length
        if end != message.size_bytes:
            raise ConflictError("Extents and holes do not cover the file.")
        entry = self._entry(
            upload["path"],
            EntryKind.FILE,
            upload["attributes"],
            size_bytes=message.size_bytes,
            digest=chunk_id([piece.chunk_id for piece in pieces if isinstance(piece, Extent)]),
        )
        self.files[upload["path"]] = (entry, pieces)
        del self.uploads[message.upload_id]
        return entry

    def _entry(
        self, path: str, kind: EntryKind, attributes: FileAttributes | None, **facts: Any
    ) -> Entry:
        given = attributes or FileAttributes()
        self.versions += 1
        return Entry(
            path=path,
            kind=kind,
            modified_s=1_700_000_000 if given.modified_s is None else given.modified_s,
            modified_ns=given.modified_ns,
            mode=given.mode,
            version=self.versions if kind in {EntryKind.FILE, EntryKind.LINK} else 0,
            **facts,
        )

    async def make_link(self, message: MakeLinkRequest, **_: Any) -> Entry:
        self._called("make_link")
        entry = self._entry(message.path, EntryKind.LINK, message.attributes, target=message.target)
        self.files[message.path] = (entry, [])
        return entry

    async def set_attributes(self, message: SetAttributesRequest, **_: Any) -> Entry:
        self._called("set_attributes")
        entry, pieces = self.files[message.path]
        self.versions += 1
        changes: dict[str, Any] = {"version": self.versions} if entry.version else {}
        if message.modified_s is not None:
            changes |= {"modified_s": message.modified_s, "modified_ns": message.modified_ns}
        if message.mode is not None:
            changes["mode"] = message.mode
        entry = dataclasses.replace(entry, **changes)
        self.files[message.path] = (entry, pieces)
        return entry

    async def abort_upload(self, message: Any, **_: Any) -> AbortUploadResponse:
        self._called("abort_upload")
        self.uploads.pop(message.upload_id, None)
        return AbortUploadResponse()

    async def get_upload(self, message: GetUploadRequest, **_: Any) -> GetUploadResponse:
        self._called("get_upload")
        recorded = self._upload(message.upload_id)["extents"]
        wanted = [recorded[offset] for offset in sorted(recorded) if offset >= message.from_offset]
        return GetUploadResponse(extents=wanted[:2], more=len(wanted) > 2)

    def _extents(self, path: str, offset: int, length: int, mode: RouteMode) -> list[ExtentPlan]:
        _, extents = self.files[path]
        return [
            ExtentPlan(hole=extent)
            if isinstance(extent, Hole)
            else ExtentPlan(
                extent=extent,
                routes=[
                    route(extent.chunk_id, extent.stored_length, [name], mode)
                    for name in self.names
                    if extent.chunk_id in self.nodes.chunks[name]
                ],
            )
            for extent in extents
            if extent.offset + extent.length > offset and extent.offset < offset + length
        ]

    async def open_read(self, message: OpenReadRequest, **_: Any) -> OpenReadResponse:
        self._called("open_read")
        if message.path not in self.files:
            raise NotFoundError(f"{message.path} does not exist.")
        entry = self.files[message.path][0]
        if message.if_version not in {0, entry.version}:
            raise ConflictError(f"{message.path} has another version.")
        length = message.length or entry.size_bytes
        plans = self._extents(message.path, message.offset, length, message.mode)
        lease = f"{len(self.leases):032x}@{DOMAIN}"
        self.leases[lease] = message.path
        return OpenReadResponse(
            entry=entry,
            lease_id=lease,
            plans=plans[: self.batch],
            more=len(plans) > self.batch,
        )

    async def plan_read(self, message: PlanReadRequest, **_: Any) -> PlanReadResponse:
        self._called("plan_read")
        plans = self._extents(
            self.leases[message.lease_id], message.offset, message.length, message.mode
        )
        return PlanReadResponse(plans=plans[: self.batch], more=len(plans) > self.batch)

    async def close_read(self, _message: Any, **_: Any) -> CloseReadResponse:
        self._called("close_read")
        return CloseReadResponse()

    async def report_copy(self, message: ReportCopyRequest, **_: Any) -> ReportCopyResponse:
        self.reports.append(message)
        return ReportCopyResponse()

    async def stat(self, message: StatRequest, **_: Any) -> Entry:
        if message.path not in self.files:
            raise NotFoundError(f"{message.path} does not exist.")
        return self.files[message.path][0]

    async def make_directory(self, message: MakeDirectoryRequest, **_: Any) -> Entry:
        self._called("make_directory")
        if message.path in self.files:
            return self.files[message.path][0]
        entry = self._entry(message.path, EntryKind.DIRECTORY, message.attributes)
        self.files[message.path] = (entry, [])
        return entry

    async def list(self, message: ListRequest, **_: Any) -> ListResponse:
        below = sorted(
            (path for path in self.files if path.startswith(message.path.rstrip("/") + "/")),
            key=lambda path: path.split("/"),
        )
        start = int(message.page_token or 0)
        return ListResponse(
            entries=[self.files[path][0] for path in below[start : start + 2]],
            next_page_token=str(start + 2) if len(below) > start + 2 else "",
        )


@dataclass(frozen=True, slots=True)
class FakeChannel:
    """A channel whose stubs are all the coordinator itself."""

    coordinator: Any

    def stub(self, _stub_class: type) -> Any:
        return self.coordinator


class NoPeers:
    """No node of another member counts."""

    async def prepare(self, path: FilePath) -> None:
        if path.peer_domain is not None:
            raise NotFoundError(f"No peer {path.peer_domain} is known here.")


class World:
    """A client over fakes."""

    def __init__(self, *, nodes: int = 3, state_dir: str | None = None, **options: Any) -> None:
        self.nodes = FakeNodes()
        self.coordinator = FakeCoordinator(self.nodes, nodes)
        clock = LoopClock()
        settings = {"stall_s": 0.08, "give_up_s": 0.4, "retry_s": 2.0, **options}
        self.options = ClientOptions(**settings)
        files = cast("Any", self.coordinator)
        control = self.options.control(clock)
        remote = RemoteTransfers(control, files, files)
        call, pool = Call(USER, is_operator=False), InlinePool()
        self.control = control
        self.leases = LeaseReturns(remote, call)

        def engine(options: ClientOptions) -> Engine:
            return Engine.of(self.nodes, self.nodes.pool, pool, world_of(clock), options)

        def to_peer(domain: Domain, *, relay_first: bool) -> Engine:
            del relay_first
            return engine(dataclasses.replace(self.options, relay_after=1))

        engines = MemberEngines(to_peer, RouteNotes(None, REAL.disk, clock, lambda: ""), clock)
        self.session = TransferSession(
            uploads=remote,
            reads=remote,
            call=call,
            engine=engine(self.options),
            pool=pool,
            leases=self.leases,
            window=Window(self.options.window_chunks),
            peers=cast("PeerTrust", NoPeers()),
            engines=engines,
        )
        names = RemoteNames(control, files)
        persistent = RemoteNames(control, files, persists=True)
        transfers = Transfers(
            self.session,
            Held(self.leases, engines, None),
            names,
            persistent,
            DOMAIN,
            state_dir,
        )
        channel = cast("Any", FakeChannel(files))
        self.connection = Connection(channel, control, USER, lambda: transfers, clock)
        self.collective = Collective(Owners(self.connection))

    def copies_of(self, path: str) -> list[int]:
        """How many copies each chunk of a file has."""
        _, extents = self.coordinator.files[path]
        return [
            sum(extent.chunk_id in self.nodes.chunks[name] for name in self.coordinator.names)
            for extent in extents
            if isinstance(extent, Extent)
        ]

    def close(self) -> None:
        """Check that nothing was left behind."""
        assert self.nodes.pool.outstanding == 0, "a buffer was leaked"
        assert self.session.window.is_empty, "a part of the window was leaked"
        self.session.pool.abandon()
        self.nodes.pool.trim()
