"""One joined member, as a program uses it, and through it or straight its peers: files; the rest by subject.

The files are the :class:`~collective.client.files.interface.Files` of every face; what goes between them and this
machine's own stands here.  Owns the connections to coordinators, those to nodes and the buffers of transfers.
Refuses: printing, choosing credentials, and any file of its own except notes on what was uploaded.
Every method raises the classes of ``core/errors.py`` and nothing else on purpose.  All of them may
be cancelled at any time: a cancelled write leaves no visible trace, a cancelled change may or may
not have been made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

from collective.client.connection import Connection
from collective.client.files.by_owner import FilesByOwner
from collective.client.logins import Login
from collective.client.owners import Owners
from collective.core.errors import CollectiveError
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.core.units import Address
from collective.core.world import World, real_world
from collective.pki.credentials import Credentials
from collective.rpc.links import Links
from collective.rpc.remote.connection import Explain
from collective.rpc.tls_links import TlsLinks

if TYPE_CHECKING:  # imported when the first of them is used: a short command uses few
    from collective.client.logins import Logins
    from collective.client.options import ClientOptions
    from collective.client.people import People
    from collective.client.transfers import Transfers
    from collective.client.trees.result import LeftOut, TreeResult
    from collective.model.entries import Entry
    from collective.model.progress import Progress
    from collective.model.status import Status
    from collective.rpc.remote.datastores import RemoteDatastores
    from collective.rpc.remote.nodes import RemoteNodes
    from collective.rpc.remote.peering import RemotePeers
    from collective.rpc.remote.trust import RemoteTrust

T = TypeVar("T")


class Collective(FilesByOwner):
    """A connection to one member: its files, and what else it has by subject; made by :meth:`connect`.

    A path is the member's own, or ``/@DOMAIN/…`` at a peer: through the member, or straight where ``logins``
    of this client have joined that peer as well (:mod:`~collective.client.owners`).

    >>> async with Collective.connect(credentials) as home:
    ...     await home.write("/shared/a.txt", b"hello")
    ...     async with home.open_read("/shared/a.txt") as reader:
    ...         async for block in reader:
    ...             ...
    """

    def __init__(self, owners: Owners) -> None:
        """Reach members by ``owners``; programs call :meth:`connect` instead."""
        super().__init__(owners)
        self._owners = owners
        self._home = owners.home.connection

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        who: Credentials | Login,
        addresses: Sequence[Address] = (),
        *,
        logins: Logins | None = None,
        options: ClientOptions | None = None,
        world: World | None = None,
        links: Links | None = None,
        state_dir: str | None = None,
    ) -> AsyncIterator[Self]:
        """Talk to the coordinator of the member whose CA is in the credentials of ``who``.

        Args:
            who: certificate, key and CA; or a login, which says where the coordinator may be, too, and keeps what
                is learnt of that and of new CAs.
            addresses: where the coordinator may be, tried in turn; with none given, those of the login, else
                those that the certificate itself carries.
            logins: other members that this client has joined, whose ``/@DOMAIN/…`` goes straight to them
                by the identity that joined; None: all goes through the member of ``who``.
            options: bounds of transfers, for each member that is reached straight.
            world: where time, chance, files and threads come from; by default this machine's.
            links: how others are reached; by default over TLS.
            state_dir: where notes on interrupted uploads are kept; None keeps none.

        Raises:
            NotJoinedError: no address is known.
            ConflictError: the certificate ran out.
            UnreachableError, RejectedError: at the first call, which makes the connection.
        """
        within = world or real_world()
        by = links or TlsLinks(within)

        login = (
            who._replace(addresses=tuple(addresses) or who.addresses)
            if isinstance(who, Login)
            else Login(who, tuple(addresses))
        )

        def open_connection(one: Login, explain: Explain | None = None) -> Connection:
            return Connection.open(
                one.credentials,
                one.addresses,
                options=options,
                world=within,
                links=by,
                state_dir=state_dir,
                explain=explain,
            )

        owners = Owners(open_connection(login), login, logins, open_connection)
        try:
            yield cls(owners)
            await owners.follow()
        finally:
            await owners.close()

    @property
    def domain(self) -> Domain:
        """Of the member."""
        return self._home.domain

    @property
    def transfers(self) -> Transfers:
        """What moves the member's files; begun with the first that does."""
        return self._home.transfers

    @property
    def newest_authority(self) -> bytes:
        """What the coordinator said last of a new CA to follow: its key's SHA-256, else empty."""
        return self._home.channel.newest_authority

    async def server_time_ms(self) -> int:
        """Ask the coordinator what its clock shows, Unix milliseconds."""
        from collective.rpc.client.probing import time_of  # noqa: PLC0415 - few need it

        return await time_of(self._home.channel)

    # --- with this machine's files ----------------------------------------------------------------

    async def put(self, local: str, path: str, *, progress: Progress | None = None) -> Entry:
        """Upload a local file; an upload that was interrupted goes on where it stopped."""
        parsed = FilePath.parse(path)
        owner = await self._owners.of(parsed)
        files = owner.connection.transfers.local
        return owner.here(await files.put(local, owner.there(parsed), progress=progress))

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
        parsed = FilePath.parse(path)
        owner = await self._owners.of(parsed)
        got = await owner.connection.transfers.local.get(
            owner.there(parsed), local, keeps_set_id=keeps_set_id, progress=progress
        )
        return owner.here(got)

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
        parsed = FilePath.parse(path)
        owner = await self._owners.of(parsed)
        return await owner.connection.transfers.put_tree(
            local,
            owner.there(parsed),
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
        parsed = FilePath.parse(path)
        owner = await self._owners.of(parsed)
        return await owner.connection.transfers.get_tree(
            owner.there(parsed),
            local,
            keeps_set_id=keeps_set_id,
            progress=progress,
            named=named,
            result=result,
            shown_above=owner.names.shown_above,
        )

    async def copy_tree(
        self,
        source: str,
        target: str,
        *,
        progress: Progress | None = None,
        named: Callable[[LeftOut], None] | None = None,
        result: TreeResult | None = None,
        on_carried: Callable[[CollectiveError], None] | None = None,
    ) -> TreeResult:
        """Copy a directory with everything below it: what differs at ``target``, and nothing else.

        Args:
            source: of this member or a peer's.
            target: as ``source``; made if absent.
            progress: called with bytes that are safe.
            named: called with each thing that is left out.
            result: what is returned, counted up while it goes on; by default a new one.
            on_carried: as :meth:`copy` has it.

        Raises what ends the whole: no connection, no right at ``target``, a file in its place.
        """
        from collective.client.trees.copying import TreeCopy  # noqa: PLC0415 - see above
        from collective.client.trees.result import Record  # noqa: PLC0415 - see above

        old, new = FilePath.parse(source), FilePath.parse(target)
        copying = await self._owners.copying(old, new, on_carried)
        names, targets = [(await self._owners.of(path)).names for path in (old, new)]
        record = Record(named, result)
        await TreeCopy(names, targets, copying, record, progress).run(old, new)
        return record.result

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking ``work`` (writing to a pipe, say) on the client's own threads."""
        return await self._home.transfers.session.in_thread(work)

    # --- the member ----------------------------------------------------------------------------

    async def status(self) -> Status:
        """Return the member's state as the caller may see it."""
        from collective.rpc.remote.status import status_over  # noqa: PLC0415 - see above

        return await status_over(self._home.channel, self._home.control)

    @cached_property
    def people(self) -> People:
        """Grants, invites and identities."""
        from collective.client.people import People  # noqa: PLC0415 - see above

        return People(self._owners)

    @cached_property
    def datastores(self) -> RemoteDatastores:
        """Top-level paths with an owner and a policy."""
        from collective.rpc.remote.datastores import RemoteDatastores  # noqa: PLC0415 - see above

        return RemoteDatastores.over(self._home.channel, self._home.control)

    @cached_property
    def nodes(self) -> RemoteNodes:
        """The member's nodes."""
        from collective.rpc.remote.nodes import RemoteNodes  # noqa: PLC0415 - see above

        return RemoteNodes.over(self._home.channel, self._home.control)

    @property
    def peers(self) -> RemotePeers:
        """Other members that this one exchanges trust with."""
        return self._home.peers

    @cached_property
    def trust(self) -> RemoteTrust:
        """Certificates, the CA and the audit."""
        from collective.rpc.remote.trust import RemoteTrust  # noqa: PLC0415 - see above

        return RemoteTrust.over(self._home.channel, self._home.control)
