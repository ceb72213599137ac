"""All transfers of one :class:`Collective`: what they share, made when the first of them begins.

Most commands move no file, and need nothing of this.  Owns the connections to nodes, the buffers and the
threads; refuses what is about names alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Self

from collective.client.control import Control
from collective.client.download import FileReader
from collective.client.leases import LeaseReturns
from collective.client.local.put_get import LocalFiles
from collective.client.model import Progress, Source, TransferOptions
from collective.client.names import Names
from collective.client.routing import NodeHealth, RouteChoice
from collective.client.session import Session
from collective.client.source import open_source
from collective.client.trees.getting import TreeGet
from collective.client.trees.notes import RootNote, TreeNotes
from collective.client.trees.putting import TreePut
from collective.client.trees.result import LeftOut, Record, TreeResult
from collective.client.upload import Upload, UploadRequest
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.core.world import World
from collective.model.changes import Attributes, Precondition
from collective.model.entries import Entry
from collective.rpc.gen.collective.v1.files import FilesStub
from collective.rpc.gen.collective.v1.reads import ReadsStub
from collective.rpc.gen.collective.v1.uploads import UploadsStub
from collective.rpc.links import Channel, Dialer
from collective.transfer.buffers import BufferPool
from collective.transfer.stream.chunk_client import ChunkClient

THREADS: Final = 4
"""For hashing and local files; hashing 4 MiB takes a millisecond or two."""


class Transfers:
    """Moves files; made by :meth:`open`."""

    def __init__(
        self, session: Session, files: FilesStub, domain: Domain, state_dir: str | None
    ) -> None:
        """Share ``session``; ``state_dir`` is where notes on interrupted uploads are kept."""
        self.session: Final = session
        names = Names(session.control, files)
        self.local: Final = LocalFiles(session, names, domain, state_dir)
        self._domain = domain
        self._state_dir = state_dir
        self._tree_names = Names(session.control, files, persists=True)

    @classmethod
    def open(
        cls,
        control: Control,
        channel: Channel,
        dialer: Dialer,
        world: World,
        options: TransferOptions | None,
        domain: Domain,
        state_dir: str | None,
    ) -> Self:
        """Return transfers that reach nodes by ``dialer``; close them."""
        options = options or TransferOptions()
        buffers = BufferPool(options.buffers_bytes)
        pool = world.threads.pool(THREADS, "collective-client")
        reads = channel.stub(ReadsStub)
        health = NodeHealth(world.clock)
        session = Session(
            control=control,
            uploads=channel.stub(UploadsStub),
            reads=reads,
            transport=ChunkClient(dialer, buffers, pool),
            buffers=buffers,
            pool=pool,
            world=world,
            options=options,
            health=health,
            choice=RouteChoice(health),
            leases=LeaseReturns(control, reads),
            slots=asyncio.Semaphore(options.window_chunks),
        )
        return cls(session, channel.stub(FilesStub), domain, state_dir)

    async def settle(self) -> None:
        """Give back what the coordinator holds for us; needs the channel."""
        await self.session.leases.close()

    async def close(self) -> None:
        """Close the connections to nodes; returns when they have gone."""
        await self.session.transport.close()
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
        request = UploadRequest(
            path=path,
            attributes=attributes,
            condition=condition or Precondition(),
            progress=progress,
        )
        return await Upload(self.session, request, open_source(source, self.session.pool)).run()

    def open_read(
        self,
        path: FilePath,
        *,
        offset: int,
        length: int | None,
        if_version: int,
        progress: Progress | None,
    ) -> FileReader:
        """See :meth:`collective.client.collective.Collective.open_read`."""
        return FileReader(
            self.session,
            path,
            offset=offset,
            length=length,
            if_version=if_version,
            progress=progress,
        )

    async def put_tree(
        self,
        local: str,
        path: FilePath,
        *,
        compares_all: bool,
        progress: Progress | None,
        named: Callable[[LeftOut], None] | None,
    ) -> TreeResult:
        """See :meth:`collective.client.collective.Collective.put_tree`."""
        record = Record(named)
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
    ) -> TreeResult:
        """See :meth:`collective.client.collective.Collective.get_tree`."""
        record = Record(named)
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
