"""All transfers of one :class:`Collective`: what they share, made when the first of them begins.

Most commands move no file, and need nothing of this.  Owns the connections to nodes, the buffers and the
threads; refuses what is about names alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Self

from collective.client.member_engines import MemberEngines
from collective.client.names import Names
from collective.client.options import ClientOptions
from collective.client.peer_trust import PeerTrust
from collective.client.route_notes import RouteNotes
from collective.client.single_file.put_get import LocalFiles
from collective.client.transfer_session import TransferSession
from collective.client.trees.getting import TreeGet
from collective.client.trees.notes import RootNote, TreeNotes
from collective.client.trees.putting import TreePut
from collective.client.trees.result import LeftOut, Record, TreeResult
from collective.core.ids import Domain, SpiffeId
from collective.core.paths import FilePath
from collective.core.world import World
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.progress import Progress
from collective.model.writing import Attributes, Precondition
from collective.rpc.client.own_addresses import own_address
from collective.rpc.links import Channel, Dialer
from collective.rpc.remote.connection import Control
from collective.rpc.remote.names import RemoteNames
from collective.rpc.remote.transfers import RemoteTransfers
from collective.transfer.buffers import BufferPool
from collective.transfer.engine.download import Download
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.lease_returns import LeaseReturns
from collective.transfer.engine.window import Window
from collective.transfer.engine.write_sources import Source
from collective.transfer.stream.chunk_client import ChunkClient

THREADS: Final = 4
"""For hashing and local files; hashing 4 MiB takes a millisecond or two."""


@dataclass(frozen=True, slots=True)
class Held:
    """What transfers hold until they are closed."""

    leases: LeaseReturns
    engines: MemberEngines
    chunks: ChunkClient | None


class Transfers:
    """Moves files; made by :meth:`open`."""

    def __init__(
        self,
        session: TransferSession,
        held: Held,
        names: RemoteNames,
        persistent: RemoteNames,
        domain: Domain,
        state_dir: str | None,
    ) -> None:
        """Share ``session``; ``state_dir`` is where notes on interrupted uploads are kept.

        What is ``held`` is closed in the end; ``persistent`` names outlive a coordinator that restarts.
        """
        self.session: Final = session
        self._held = held
        local_names = Names(names, session.call)
        self.local: Final = LocalFiles(session, local_names, domain, state_dir)
        self._domain = domain
        self._state_dir = state_dir
        self._tree_names = Names(persistent, session.call)

    @classmethod
    def open(
        cls,
        who: SpiffeId,
        control: Control,
        channel: Channel,
        dialer: Dialer,
        peers: PeerTrust,
        world: World,
        options: ClientOptions | None,
        state_dir: str | None,
    ) -> Self:
        """Return transfers of ``who``, that reach nodes by ``dialer``; close them.

        ``peers`` lets nodes of peers count there.
        """
        options = options or ClientOptions()
        buffers = BufferPool(options.buffers_bytes)
        pool = world.threads.pool(THREADS, "collective-client")
        chunks = ChunkClient(dialer, buffers, pool, home=who.trust_domain)
        files = RemoteTransfers.over(channel, control)
        call = Call.of_client(who)

        def make(domain: Domain, *, relay_first: bool) -> Engine:
            told = replace(options, relay_first=relay_first)
            if (
                domain != who.trust_domain
            ):  # its coordinator knows who is dead there, and who is not
                told = replace(told, relay_after=1)
            return Engine.of(chunks, buffers, pool, world, told)

        path = None if state_dir is None else os.path.join(state_dir, "routes.json")
        notes = RouteNotes(path, world.disk, world.clock, own_address)
        engines = MemberEngines(make, notes, world.clock)
        leases = LeaseReturns(files, call)
        session = TransferSession(
            uploads=files,
            reads=files,
            call=call,
            engine=engines.of(who.trust_domain),
            pool=pool,
            leases=leases,
            window=Window(options.window_chunks),
            peers=peers,
            engines=engines,
        )
        return cls(
            session,
            Held(leases, engines, chunks),
            RemoteNames.over(channel, control),
            RemoteNames.over(channel, control, persists=True),
            who.trust_domain,
            state_dir,
        )

    async def settle(self) -> None:
        """Give back what the coordinator holds for us; needs the channel."""
        try:
            await self._held.leases.close()
        finally:
            await self.session.in_thread(self._held.engines.remember)

    async def close(self) -> None:
        """Close the connections to nodes; returns when they have gone."""
        try:
            await self._held.engines.close()
        finally:
            if self._held.chunks is not None:
                await self._held.chunks.close()
            self.session.pool.abandon()

    async def write(
        self,
        path: FilePath,
        source: Source,
        *,
        attributes: Attributes | None,
        condition: Precondition | None,
        progress: Progress | None,
    ) -> Entry:
        """See :meth:`collective.client.collective.Collective.write`."""
        return await self.session.write(
            path, source, attributes=attributes, condition=condition, progress=progress
        )

    def open_read(
        self,
        path: FilePath,
        *,
        offset: int,
        length: int | None,
        if_version: int,
        progress: Progress | None,
    ) -> Download:
        """See :meth:`collective.client.collective.Collective.open_read`."""
        return self.session.read(
            path, offset=offset, length=length, if_version=if_version, progress=progress
        )

    async def put_tree(
        self,
        local: str,
        path: FilePath,
        *,
        compares_all: bool,
        progress: Progress | None,
        named: Callable[[LeftOut], None] | None,
        result: TreeResult | None,
    ) -> TreeResult:
        """See :meth:`collective.client.collective.Collective.put_tree`."""
        record = Record(named, result)
        await TreePut(
            session=self.session,
            names=self._tree_names,
            files=self.local,
            notes=TreeNotes(self._state_dir, self._domain, path, local),
            record=record,
            compares_all=compares_all,
            progress=progress,
        ).run(local, path)
        return record.result

    async def get_tree(
        self,
        path: FilePath,
        local: str,
        *,
        keeps_set_id: bool,
        progress: Progress | None,
        named: Callable[[LeftOut], None] | None,
        result: TreeResult | None,
        shown_above: str = "",
    ) -> TreeResult:
        """See :meth:`collective.client.collective.Collective.get_tree`.

        What is left out is named by its path below ``shown_above``.
        """
        record = Record(named, result, shown_above)
        await TreeGet(
            session=self.session,
            names=self._tree_names,
            files=self.local,
            root_note=RootNote(self._state_dir, self._domain, path, local),
            record=record,
            keeps_set_id=keeps_set_id,
            progress=progress,
        ).run(path, local)
        return record.result
