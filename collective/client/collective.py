"""One joined member, as a program uses it: names and files; the rest by subject.

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
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self, TypeVar

from collective.client.names import Names
from collective.core.clock import Clock
from collective.core.errors import ConflictError, NotJoinedError
from collective.core.ids import Domain, SpiffeId
from collective.core.paths import FilePath
from collective.core.units import Address
from collective.core.world import World, real_world
from collective.model.calls import Call
from collective.model.changes import Precondition
from collective.pki.credentials import Credentials
from collective.pki.renewal_times import has_expired
from collective.pki.revocation import RevocationSet
from collective.rpc.identity import PeerGate
from collective.rpc.links import Channel, Links
from collective.rpc.remote.connection import Control
from collective.rpc.remote.names import RemoteNames
from collective.rpc.tls_links import TlsLinks

if TYPE_CHECKING:  # imported when the first of them is used: a short command uses few
    from collective.client.options import ClientOptions
    from collective.client.transfers import Transfers
    from collective.client.trees.result import LeftOut, TreeResult
    from collective.model.changes import Attributes
    from collective.model.entries import Entry
    from collective.model.status import Status
    from collective.rpc.remote.copies import RemoteCopies
    from collective.rpc.remote.datastores import RemoteDatastores
    from collective.rpc.remote.nodes import RemoteNodes
    from collective.rpc.remote.peering import RemotePeers
    from collective.rpc.remote.people import RemotePeople
    from collective.rpc.remote.trust import RemoteTrust
    from collective.transfer.engine.download import Download
    from collective.transfer.engine.options import Progress
    from collective.transfer.engine.sources import Source

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 3.0


OpenTransfers = Callable[[], "Transfers"]
"""Begins the transfers of a connection."""


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
        channel: Channel,
        control: Control,
        who: SpiffeId,
        open_transfers: OpenTransfers,
        clock: Clock,
    ) -> None:
        """Use ``channel`` as ``who``, and ``control`` over it; programs call :meth:`connect` instead."""
        self._clock = clock
        self.domain: Final = who.trust_domain
        self._channel = channel
        self._control = control
        self._open_transfers = open_transfers
        self._transfers: Transfers | None = None
        self._names = Names(RemoteNames.over(channel, control), Call.of_client(who))

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        credentials: Credentials,
        addresses: Sequence[Address] = (),
        *,
        options: ClientOptions | None = None,
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
        world = world or real_world()
        links = links or TlsLinks(world)
        clock = world.clock
        if has_expired(credentials.certified, clock.wall_s()):  # servers end the handshake wordless
            end = dt.datetime.fromtimestamp(credentials.certified.expires_s, dt.UTC)
            now = dt.datetime.fromtimestamp(clock.wall_s(), dt.UTC)
            raise ConflictError(
                f"Your certificate ran out on {end:%Y-%m-%d %H:%MZ} by this machine's clock"
                f" ({now:%Y-%m-%d %H:%MZ}); compare it with another, and if it is right ask the operator for"
                " a new certificate or an invitation."
            )
        addresses = tuple(addresses) or credentials.certified.addresses
        if not addresses:
            raise NotJoinedError("No address to talk to is known; give --coordinator HOST:PORT.")
        gate = PeerGate(
            credentials.trust(),
            RevocationSet.of(0, ()),
            clock,
            home=credentials.domain,
            foreign_roles=frozenset(("node",)),
        )
        channel = links.channel(
            addresses,
            credentials=credentials,
            gate=gate,
            expect=SpiffeId.coordinator(credentials.domain),
            connect_timeout_s=CONNECT_TIMEOUT_S,
        )
        control = Control(clock) if options is None else options.control(clock)

        def open_transfers() -> Transfers:
            from collective.client.peer_trust import PeerTrust  # noqa: PLC0415 - see above
            from collective.client.transfers import Transfers  # noqa: PLC0415 - see above

            persona = links.client_persona(credentials, gate.trust)
            dialer = links.dialer(persona, gate, timeout_s=CONNECT_TIMEOUT_S)

            async def ask(domain: Domain) -> Sequence[bytes]:
                from collective.rpc.remote.peering import RemotePeers  # noqa: PLC0415 - few need it

                return await RemotePeers.over(channel, control).authorities(domain)

            return Transfers.open(
                credentials.certified.identity,
                control,
                channel,
                dialer,
                PeerTrust(ask, gate, persona, clock),
                world,
                options,
                state_dir,
            )

        connected = cls(channel, control, credentials.certified.identity, open_transfers, clock)
        try:
            yield connected
        finally:
            await connected._close()

    async def _close(self) -> None:
        transfers = self._transfers
        if transfers is None:
            await self._channel.aclose()
            return
        await transfers.settle()
        await asyncio.gather(transfers.close(), self._channel.aclose())

    @property
    def transfers(self) -> Transfers:
        """What moves files; begun with the first that does."""
        if self._transfers is None:
            self._transfers = self._open_transfers()
        return self._transfers

    @property
    def found_at(self) -> tuple[Address, ...]:
        """Where the coordinator answered, then where its certificate says it is; ``()`` before it did."""
        peer = self._channel.peer
        return () if peer is None else (self._channel.address, *peer.addresses)

    @property
    def newest_authority(self) -> bytes:
        """What the coordinator said last of a new CA to follow: its key's SHA-256, else empty."""
        return self._channel.newest_authority

    async def server_time_ms(self) -> int:
        """Ask the coordinator what its clock shows, Unix milliseconds."""
        from collective.rpc.probing import time_of  # noqa: PLC0415 - few need it

        return await time_of(self._channel)

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
        self,
        path: str,
        target: bytes,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Entry:
        """Make a symbolic link, in the place of a file or link that may be there; nobody follows it.

        ConflictError where ``condition`` does not hold of what is there.
        """
        return await self._names.make_link(FilePath.parse(path), target, attributes, condition)

    async def set_attributes(
        self, path: str, attributes: Attributes, *, if_version: int = 0
    ) -> Entry:
        """Change time and mode of what is at ``path``; None in ``attributes`` leaves it as it is."""
        return await self._names.set_attributes(
            FilePath.parse(path), attributes, if_version=if_version
        )

    async def remove(
        self,
        path: str,
        *,
        recursive: bool = False,
        if_version: int = 0,
        progress: Progress | None = None,
    ) -> int:
        """Remove a file, an empty directory or (``recursive``) a tree; return how many names went.

        A large tree goes part by part, deepest names first; ``progress`` is called with the number of
        names in each.  Ended half-way, what is left is a smaller tree.
        """
        return await self._names.remove(
            FilePath.parse(path), recursive=recursive, if_version=if_version, progress=progress
        )

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
        return await self.transfers.write(
            FilePath.parse(path),
            source,
            attributes=attributes,
            condition=condition,
            progress=progress,
        )

    def open_read(
        self,
        path: str,
        *,
        offset: int = 0,
        length: int | None = None,
        if_version: int = 0,
        progress: Progress | None = None,
    ) -> Download:
        """Return a reader: an async context manager that iterates over verified memoryviews.

        Args:
            path: a file.
            offset: the first byte wanted.
            length: how many bytes; None for all to the end.
            if_version: read this version or raise ConflictError; 0 for the current one.
            progress: called with the bytes of each block delivered.
        """
        return self.transfers.open_read(
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
        return await self.transfers.local.put(local, FilePath.parse(path), progress=progress)

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
        return await self.transfers.local.get(
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
        result: TreeResult | None = None,
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
            result: what is returned, counted up while it goes on; by default a new one.

        Raises what ends the whole: no connection, no right at ``path``, a file in its place.
        """
        return await self.transfers.put_tree(
            local,
            FilePath.parse(path),
            compares_all=compares_all,
            progress=progress,
            named=named,
            result=result,
        )

    async def get_tree(
        self,
        path: str,
        local: str,
        *,
        keeps_set_id: bool = False,
        progress: Progress | None = None,
        named: Callable[[LeftOut], None] | None = None,
        result: TreeResult | None = None,
    ) -> TreeResult:
        """Download a directory; files that are there already are compared by content.

        Args:
            path: the directory at the member.
            local: where it goes; made if absent.  One that was there keeps its own time and mode.
            keeps_set_id: give files their set-user-id and set-group-id bits, too.
            progress: called with the bytes of each block delivered.
            named: called with each thing that is left out.
            result: what is returned, counted up while it goes on; by default a new one.

        Raises what ends the whole: no connection, no right at ``path``, no directory there or here.
        """
        return await self.transfers.get_tree(
            FilePath.parse(path),
            local,
            keeps_set_id=keeps_set_id,
            progress=progress,
            named=named,
            result=result,
        )

    async def copy(
        self,
        source: str,
        target: str,
        *,
        condition: Precondition | None = None,
        progress: Progress | None = None,
    ) -> Entry:
        """Make ``target`` a file like the file ``source``, of this member or a peer's (``/@DOMAIN/…``).

        The coordinators move the bytes, and only those that the target's member lacks.  An interrupted
        copy goes on.  Raises as :meth:`write` and :meth:`open_read`.
        """
        parsed = FilePath.parse(source), FilePath.parse(target)
        given = condition or Precondition()
        return (await self._copies.copy(*parsed, given, progress=progress))[0]

    async def copy_tree(
        self,
        source: str,
        target: str,
        *,
        progress: Progress | None = None,
        named: Callable[[LeftOut], None] | None = None,
        result: TreeResult | None = None,
    ) -> TreeResult:
        """Copy a directory with everything below it: what differs at ``target``, and nothing else.

        Args:
            source: of this member or a peer's.
            target: as ``source``; made if absent.
            progress: called with bytes that are safe.
            named: called with each thing that is left out.
            result: what is returned, counted up while it goes on; by default a new one.

        Raises what ends the whole: no connection, no right at ``target``, a file in its place.
        """
        from collective.client.trees.copying import TreeCopy  # noqa: PLC0415 - see above
        from collective.client.trees.result import Record  # noqa: PLC0415 - see above

        record = Record(named, result)
        tree = TreeCopy(self._names, self._copies, record, progress)
        await tree.run(FilePath.parse(source), FilePath.parse(target))
        return record.result

    @cached_property
    def _copies(self) -> RemoteCopies:
        from collective.rpc.remote.copies import RemoteCopies  # noqa: PLC0415 - see above

        return RemoteCopies.over(self._channel, self._clock)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking ``work`` (writing to a pipe, say) on the client's own threads."""
        return await self.transfers.session.in_thread(work)

    # --- the member ----------------------------------------------------------------------------

    async def status(self) -> Status:
        """Return the member's state as the caller may see it."""
        from collective.rpc.remote.status import status_over  # noqa: PLC0415 - see above

        return await status_over(self._channel, self._control)

    @cached_property
    def people(self) -> RemotePeople:
        """Grants, invites and identities."""
        from collective.rpc.remote.people import RemotePeople  # noqa: PLC0415 - see above

        return RemotePeople.over(self._channel, self._control)

    @cached_property
    def datastores(self) -> RemoteDatastores:
        """Top-level paths with an owner and a policy."""
        from collective.rpc.remote.datastores import RemoteDatastores  # noqa: PLC0415 - see above

        return RemoteDatastores.over(self._channel, self._control)

    @cached_property
    def nodes(self) -> RemoteNodes:
        """The member's nodes."""
        from collective.rpc.remote.nodes import RemoteNodes  # noqa: PLC0415 - see above

        return RemoteNodes.over(self._channel, self._control)

    @cached_property
    def peers(self) -> RemotePeers:
        """Other members that this one exchanges trust with."""
        from collective.rpc.remote.peering import RemotePeers  # noqa: PLC0415 - see above

        return RemotePeers.over(self._channel, self._control)

    @cached_property
    def trust(self) -> RemoteTrust:
        """Certificates, the CA and the audit."""
        from collective.rpc.remote.trust import RemoteTrust  # noqa: PLC0415 - see above

        return RemoteTrust.over(self._channel, self._control)
