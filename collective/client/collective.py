"""One joined member, as a program uses it: names, files, status and grants.

Owns the connection to the coordinator, the connections to nodes and the buffers of transfers.
Refuses: printing, choosing credentials, and any file of its own except notes on what was uploaded.
Every method raises the classes of ``core/errors.py`` and nothing else on purpose.  All of them may
be cancelled at any time: a cancelled write leaves no visible trace, a cancelled change may or may
not have been made.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self, TypeVar

from collective.client.control import Control
from collective.client.download import FileReader
from collective.client.files import Names
from collective.client.leases import LeaseReturns
from collective.client.local import LocalFiles
from collective.client.model import (
    Attributes,
    Entry,
    Precondition,
    Progress,
    Source,
    TransferOptions,
)
from collective.client.people import People
from collective.client.routing import NodeHealth, RouteChoice
from collective.client.session import Session
from collective.client.source import open_source
from collective.client.trees.getting import TreeGet
from collective.client.trees.notes import RootNote, TreeNotes
from collective.client.trees.putting import TreePut
from collective.client.trees.result import LeftOut, Record, TreeResult
from collective.client.upload import Upload, UploadRequest
from collective.core.errors import ConflictError, NotJoinedError, UsageError
from collective.core.ids import Domain, SpiffeId
from collective.core.paths import FilePath
from collective.core.units import Address
from collective.core.world import World, real_world
from collective.pki.credentials import Credentials
from collective.pki.renewal import has_expired
from collective.pki.revocation import RevocationSet
from collective.rpc.gen.collective.v1 import (
    AddGrantRequest,
    AdoptNodesRequest,
    AdoptNodesResponse,
    ApproveNodesRequest,
    ClusterStub,
    DiscardCopiesRequest,
    DiscardedCopies,
    DrainNodeRequest,
    FilesStub,
    GetStatusRequest,
    Grant,
    ListGrantsRequest,
    ListNodesRequest,
    NodeApproval,
    NodeStatus,
    RemoveGrantRequest,
    RemoveNodeRequest,
    Right,
    RotateAuthorityRequest,
    RotateAuthorityResponse,
    Status,
)
from collective.rpc.identity import PeerGate
from collective.rpc.links import Channel, Links
from collective.rpc.tls_links import TlsLinks
from collective.transfer.buffers import BufferPool
from collective.transfer.client import ChunkClient

T = TypeVar("T")

THREADS: Final = 4
"""For hashing and local files; hashing 4 MiB takes a millisecond or two."""
CONNECT_TIMEOUT_S: Final = 3.0
RIGHTS: Final = {"read": Right.READ, "write": Right.WRITE, "share": Right.SHARE}


class Collective:
    """A connection to one member; made by :meth:`connect`.

    >>> async with Collective.connect(credentials) as home:
    ...     await home.write("/shared/a.txt", b"hello")
    ...     async with home.open_read("/shared/a.txt") as reader:
    ...         async for block in reader:
    ...             ...
    """

    def __init__(
        self,
        session: Session,
        domain: Domain,
        state_dir: str | None = None,
        *,
        people: People | None = None,
        channel: Channel | None = None,
    ) -> None:
        """Use ``session``; programs call :meth:`connect` instead."""
        self._session = session
        self._people = people
        self._channel = channel
        self.domain: Final = domain
        self._names = Names(session.control)
        self._state_dir = state_dir
        self._local = LocalFiles(session, self._names, domain, state_dir)
        self._tree_names = Names(session.control, persists=True)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        credentials: Credentials,
        addresses: Sequence[Address] = (),
        *,
        options: TransferOptions | None = None,
        world: World | None = None,
        links: Links | None = None,
        state_dir: str | None = None,
    ) -> AsyncIterator[Self]:
        """Talk to the coordinator of the member whose CA is in ``credentials``.

        Args:
            credentials: certificate, key and CA.
            addresses: where the coordinator may be, tried in turn; with none given, those that
                the certificate itself carries.
            options: bounds of transfers.
            world: where time, chance, files and threads come from; by default this machine's.
            links: how others are reached; by default over TLS.
            state_dir: where notes on interrupted uploads are kept; None keeps none.

        Raises:
            NotJoinedError: no address is known.
            ConflictError: the certificate ran out.
            UnreachableError, RejectedError: at the first call, which makes the connection.
        """
        options = options or TransferOptions()
        world = world or real_world()
        links = links or TlsLinks(world)
        clock = world.clock
        if has_expired(credentials.certified, clock.wall_s()):  # servers end the handshake wordless
            end = dt.datetime.fromtimestamp(credentials.certified.expires_s, dt.UTC)
            raise ConflictError(
                f"Your certificate ran out on {end:%Y-%m-%d %H:%MZ};"
                " ask the operator for a new one or an invitation."
            )
        addresses = tuple(addresses) or credentials.certified.addresses
        if not addresses:
            raise NotJoinedError("No address to talk to is known; give --coordinator HOST:PORT.")
        gate = PeerGate(credentials.trust(), RevocationSet.of(0, ()), clock)
        channel = links.channel(
            addresses,
            credentials=credentials,
            gate=gate,
            expect=SpiffeId.coordinator(credentials.domain),
            connect_timeout_s=CONNECT_TIMEOUT_S,
        )
        persona = links.client_persona(credentials, gate.trust)
        buffers = BufferPool(options.buffers_bytes)
        pool = world.threads.pool(THREADS, "collective-client")
        dialer = links.dialer(lambda: persona, gate, timeout_s=CONNECT_TIMEOUT_S)
        transport = ChunkClient(dialer, buffers, pool)
        control = Control(channel.stub(FilesStub), channel.stub(ClusterStub), clock, options)
        health = NodeHealth(clock)
        leases = LeaseReturns(control)
        session = Session(
            control=control,
            transport=transport,
            buffers=buffers,
            pool=pool,
            world=world,
            options=options,
            health=health,
            choice=RouteChoice(health),
            leases=leases,
            slots=asyncio.Semaphore(options.window_chunks),
        )
        try:
            people = People(channel, control)
            yield cls(session, credentials.domain, state_dir, people=people, channel=channel)
        finally:
            await leases.close()
            await asyncio.gather(transport.close(), channel.aclose())
            pool.abandon()

    @property
    def newest_authority(self) -> bytes:
        """What the coordinator said last of a new CA to follow: its key's SHA-256, else empty."""
        return self._channel.newest_authority if self._channel else b""

    # --- names ---------------------------------------------------------------------------------

    async def stat(self, path: str) -> Entry:
        """Return what ``path`` names, or raise NotFoundError or PermissionDeniedError."""
        return await self._names.stat(FilePath.parse(path))

    def list(self, path: str, *, recursive: bool = False) -> AsyncIterator[Entry]:
        """Yield what is below ``path`` in order of path, fetched page by page."""
        return self._names.list(FilePath.parse(path), recursive=recursive)

    async def mkdir(
        self, path: str, *, parents: bool = False, attributes: Attributes | None = None
    ) -> Entry:
        """Make a directory, or a datastore at top level; ``parents`` accepts what exists.

        ``attributes``: its time and mode, if this call makes it.
        """
        return await self._names.mkdir(FilePath.parse(path), parents=parents, attributes=attributes)

    async def make_link(
        self, path: str, target: bytes, *, attributes: Attributes | None = None
    ) -> Entry:
        """Make a symbolic link, in the place of a file or link that may be there; nobody follows it."""
        return await self._names.make_link(FilePath.parse(path), target, attributes)

    async def set_attributes(
        self, path: str, attributes: Attributes, *, if_version: int = 0
    ) -> Entry:
        """Change time and mode of what is at ``path``; None in ``attributes`` leaves it as it is."""
        return await self._names.set_attributes(
            FilePath.parse(path), attributes, if_version=if_version
        )

    async def remove(self, path: str, *, recursive: bool = False, if_version: int = 0) -> int:
        """Remove a file, an empty directory or (``recursive``) a tree; return entries removed."""
        parsed = FilePath.parse(path)
        return await self._names.remove(parsed, recursive=recursive, if_version=if_version)

    async def move(self, source: str, destination: str, *, if_version: int = 0) -> Entry:
        """Rename; a file at the destination is replaced."""
        return await self._names.move(
            FilePath.parse(source), FilePath.parse(destination), if_version=if_version
        )

    # --- contents ------------------------------------------------------------------------------

    async def write(
        self,
        path: str,
        source: Source,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
        progress: Progress | None = None,
    ) -> Entry:
        """Store all of ``source`` as ``path`` and return when it is durable.

        Memory is bounded whatever the size.  On any error, nothing is visible at ``path``.

        Raises:
            NotFoundError: the parent directory does not exist.
            NotEnoughCopiesError, NoSpaceError: a quorum of copies cannot be stored.
            ConflictError: ``condition`` does not hold, or a directory is in the way.
        """
        request = UploadRequest(
            path=FilePath.parse(path),
            attributes=attributes,
            condition=condition or Precondition(),
            progress=progress,
        )
        return await Upload(self._session, request, open_source(source, self._session.pool)).run()

    def open_read(
        self,
        path: str,
        *,
        offset: int = 0,
        length: int | None = None,
        if_version: int = 0,
        progress: Progress | None = None,
    ) -> FileReader:
        """Return a reader: an async context manager that iterates over verified memoryviews.

        Args:
            path: a file.
            offset: the first byte wanted.
            length: how many bytes; None for all to the end.
            if_version: read this version or raise ConflictError; 0 for the current one.
            progress: called with the bytes of each block delivered.
        """
        return FileReader(
            self._session,
            FilePath.parse(path),
            offset=offset,
            length=length,
            if_version=if_version,
            progress=progress,
        )

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of a file as bytes; for small files (all of it is held in memory)."""
        async with self.open_read(path, offset=offset, length=length) as reader:
            return b"".join([bytes(block) async for block in reader])

    async def put(self, local: str, path: str, *, progress: Progress | None = None) -> Entry:
        """Upload a local file; an upload that was interrupted goes on where it stopped."""
        return await self._local.put(local, FilePath.parse(path), progress=progress)

    async def get(
        self,
        path: str,
        local: str,
        *,
        keeps_set_id: bool = False,
        progress: Progress | None = None,
    ) -> Entry:
        """Download to a local file, which appears when all of it has been verified; resumes.

        A link comes as a link.  ``keeps_set_id``: also set-user-id and set-group-id bits.
        """
        return await self._local.get(
            FilePath.parse(path), local, keeps_set_id=keeps_set_id, progress=progress
        )

    async def put_tree(
        self,
        local: str,
        path: str,
        *,
        compares_all: bool = False,
        progress: Progress | None = None,
        named: Callable[[LeftOut], None] | None = None,
    ) -> TreeResult:
        """Upload a local directory: what changed since the last time, and nothing else.

        What cannot be stored is left out, told to ``named`` at once and listed in the result.

        Args:
            local: the directory.
            path: where it goes; made if absent.
            compares_all: compare the content of all files, also where size, times and inode are those
                of the last time.
            progress: called with the bytes of each chunk stored.
            named: called with each thing that is left out.

        Raises what ends the whole: no connection, no right at ``path``, a file in its place.
        """
        parsed = FilePath.parse(path)
        record = Record(named)
        await TreePut(
            session=self._session,
            names=self._tree_names,
            files=self._local,
            notes=TreeNotes(self._state_dir, self.domain, parsed, local),
            record=record,
            compares_all=compares_all,
            progress=progress,
        ).run(local, parsed)
        return record.result

    async def get_tree(
        self,
        path: str,
        local: str,
        *,
        keeps_set_id: bool = False,
        progress: Progress | None = None,
        named: Callable[[LeftOut], None] | None = None,
    ) -> TreeResult:
        """Download a directory; files that are there already are compared by content.

        Args:
            path: the directory at the member.
            local: where it goes; made if absent.  One that was there keeps its own time and mode.
            keeps_set_id: give files their set-user-id and set-group-id bits, too.
            progress: called with the bytes of each block delivered.
            named: called with each thing that is left out.

        Raises what ends the whole: no connection, no right at ``path``, no directory there or here.
        """
        parsed = FilePath.parse(path)
        record = Record(named)
        await TreeGet(
            session=self._session,
            names=self._tree_names,
            files=self._local,
            root_note=RootNote(self._state_dir, self.domain, parsed, local),
            record=record,
            keeps_set_id=keeps_set_id,
            progress=progress,
        ).run(parsed, local)
        return record.result

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking ``work`` (writing to a pipe, say) on the client's own threads."""
        return await self._session.in_thread(work)

    @property
    def people(self) -> People:
        """Identities, invites, datastores and the audit log."""
        assert self._people is not None
        return self._people

    # --- the member ----------------------------------------------------------------------------

    async def status(self) -> Status:
        """Return the member's state as the caller may see it."""
        control = self._session.control
        return await control.call(control.cluster.get_status, GetStatusRequest())

    async def nodes(self) -> Sequence[NodeStatus]:
        """Return the member's nodes."""
        control = self._session.control
        return (await control.call(control.cluster.list_nodes, ListNodesRequest())).nodes

    async def add_grant(
        self, path: str, rights: Sequence[str], principal: str, *, expires_ms: int = 0
    ) -> Grant:
        """Give ``principal`` (global id or SPIFFE id) rights (read, write, share) on ``path``."""
        unknown = [right for right in rights if right not in RIGHTS]
        if unknown or not rights:
            raise UsageError("Rights are read, write and share, joined by '+'.")
        control = self._session.control
        request = AddGrantRequest(
            path=str(FilePath.parse(path)),
            rights=[RIGHTS[right] for right in rights],
            principal=principal,
            expires_ms=expires_ms,
        )
        return await control.call(control.cluster.add_grant, request)

    async def grants(self) -> Sequence[Grant]:
        """Return the grants that the caller may see."""
        control = self._session.control
        pages = control.pages(control.cluster.list_grants, ListGrantsRequest())
        return [grant async for page in pages for grant in page.grants]

    async def remove_grant(self, grant_id: str) -> None:
        """Take a grant back."""
        control = self._session.control
        await control.call(control.cluster.remove_grant, RemoveGrantRequest(id=grant_id))

    async def adopt_nodes(
        self, nodes: Sequence[str] = (), *, everything: bool = False
    ) -> AdoptNodesResponse:
        """Have nodes obey this catalogue, new or restored, in the place of what they obeyed.

        ``everything``: all nodes; a restored catalogue deletes again afterwards.  Nodes that it does
        not know are enrolled: approved if they are named, else on probation.  The operator only;
        ConflictError where there is nothing to adopt.
        """
        control = self._session.control
        request = AdoptNodesRequest(node_ids=list(nodes), all=everything)
        return await control.call(control.cluster.adopt_nodes, request)

    async def discard_copies(self, nodes: Sequence[str] = ()) -> Sequence[DiscardedCopies]:
        """Let copies go that the catalogue never gave out, on the nodes named or on all.

        ConflictError where none was kept for seven days yet.
        """
        control = self._session.control
        request = DiscardCopiesRequest(node_ids=list(nodes))
        return (await control.call(control.cluster.discard_copies, request)).discarded

    async def approve_nodes(
        self, nodes: Sequence[str], *, even_doubted: bool = False
    ) -> Sequence[NodeApproval]:
        """Let nodes count fully, and note that they were seen; return what each was before.

        All or none; ConflictError where one is doubted, unless ``even_doubted``.
        """
        control = self._session.control
        request = ApproveNodesRequest(node_ids=list(nodes), even_doubted=even_doubted)
        return (await control.call(control.cluster.approve_nodes, request)).approvals

    async def drain_node(self, node: str, *, stop: bool = False) -> int:
        """Have a node emptied, or (``stop``) used again; return how many copies it has."""
        control = self._session.control
        request = DrainNodeRequest(node_id=node, stop=stop)
        return (await control.call(control.cluster.drain_node, request)).copies_left

    async def remove_node(self, node: str, *, force: bool = False) -> None:
        """Shut a node out for good; ConflictError while copies there count, unless ``force``."""
        control = self._session.control
        await control.call(
            control.cluster.remove_node, RemoveNodeRequest(node_id=node, force=force)
        )

    async def rotate_authority(
        self, *, finish: bool = False, force: bool = False, status: bool = False
    ) -> RotateAuthorityResponse:
        """Begin to replace the member's CA, finish that, or (``status``) tell how far it is.

        The operator only.  ConflictError where another begins, or some would be shut out by the end.
        """
        control = self._session.control
        request = RotateAuthorityRequest(finish=finish, force=force, status=status)
        return await control.call(control.cluster.rotate_authority, request)
