"""What all transfers at one member share: the engine, the member, and who we are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from collective.client.files.controls import Engines, Leases, Preparation, Reads, Uploads
from collective.core.clock import Clock
from collective.core.ids import UploadId
from collective.core.paths import FilePath
from collective.core.randomness import Randomness
from collective.core.world import Pool
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.progress import Progress
from collective.model.routes import RouteMode
from collective.model.transfers import OpenedRead, OpenedUpload
from collective.model.writing import Attributes, Precondition
from collective.transfer.engine.download import Download
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.upload import Upload
from collective.transfer.engine.upload_session import Opening
from collective.transfer.engine.window import Window
from collective.transfer.engine.write_sources import Source, open_source

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Resuming:
    """What a caller does to go on with an upload that was interrupted."""

    resume: UploadId | None
    """An upload of ours to go on with."""
    on_opened: Callable[[UploadId], Awaitable[None]]
    """Awaited with the id of an upload that was begun."""


@dataclass(frozen=True, slots=True)
class TransferSession:
    """What all transfers at one member share, wherever that is."""

    uploads: Uploads
    reads: Reads
    call: Call
    """Of ourselves."""
    engine: Engine
    pool: Pool
    """For hashing and local files."""
    leases: Leases
    window: Window
    """What is in memory, over all transfers."""
    peers: Preparation
    engines: Engines
    """One a member: what each learns of the ways there says nothing of others."""

    def engine_for(self, path: FilePath) -> Engine:
        """Return what moves the bytes of ``path``."""
        domain = path.peer_domain
        return self.engine if domain is None else self.engines.of(domain)

    async def write(
        self,
        path: FilePath,
        source: Source,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
        progress: Progress | None = None,
        resuming: Resuming | None = None,
        before_commit: Callable[[], None] | None = None,
    ) -> Entry:
        """Store all of ``source``; an upload that fails is aborted, unless ``resuming`` is given.

        ``before_commit`` is called when everything is stored, and raises to refuse the commit.
        """

        async def begin(
            extents: Sequence[Extent], holes: Sequence[Hole], mode: RouteMode
        ) -> OpenedUpload:
            return await self.uploads.open_upload(
                self.call,
                path,
                attributes or Attributes(),
                condition or Precondition(),
                extents,
                holes,
                mode=mode,
            )

        opening = Opening(
            begin,
            resume=resuming.resume if resuming else None,
            is_resumable=resuming is not None,
            on_opened=resuming.on_opened if resuming else None,
            before_commit=before_commit,
            progress=progress,
        )
        await self.peers.prepare(path)
        return await Upload(
            self.engine_for(path),
            self.uploads,
            self.call,
            opening,
            open_source(source, self.pool),
            window=self.window,
        ).run()

    def read(
        self,
        path: FilePath,
        *,
        offset: int = 0,
        length: int | None = None,
        if_version: int = 0,
        progress: Progress | None = None,
    ) -> Download:
        """Return a download of a range (``length`` None: to the end), to be entered."""
        return Download(
            self.engine_for(path),
            self.reads,
            self.call,
            partial(self.open_read, path, if_version),
            window=self.window,
            give_back=self.leases.give_back,
            offset=offset,
            length=length,
            progress=progress,
        )

    async def open_read(
        self, path: FilePath, if_version: int, offset: int, length: int, mode: RouteMode
    ) -> OpenedRead:
        """Lease a version, and plan a range (``length`` 0: to the end)."""
        await self.peers.prepare(path)
        return await self.reads.open_read(
            self.call, path, offset=offset, length=length, if_version=if_version, mode=mode
        )

    @property
    def clock(self) -> Clock:
        """The world's clock."""
        return self.engine.clock

    @property
    def randomness(self) -> Randomness:
        """The world's randomness."""
        return self.engine.randomness

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Run blocking ``work`` on the session's threads; cancellation as :meth:`Pool.run`."""
        return await self.pool.run(work)

    async def to_the_end(self, work: Callable[[], Result]) -> Result:
        """Run blocking ``work`` that uses a buffer: when cancelled, wait for it before leaving."""
        return await self.pool.run_to_end(work)
