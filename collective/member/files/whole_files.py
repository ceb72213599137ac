"""Whole files through the coordinator, for clients that speak nothing but gRPC.

The engine is the one that our own client has; the coordinator carries the bytes, so its connections hold
the tickets.  Whoever is judged is asked for again while a transfer goes on, as
:mod:`~collective.member.files.rights_watch` says.  Memory is bounded by a window for each transfer, and by the
engine's buffers for all.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final, Protocol

from collective.core import limits
from collective.core.errors import CollectiveError
from collective.core.ids import LeaseId, SpiffeId, UploadId
from collective.core.paths import FilePath
from collective.member.files.member_directory import MemberDirectory
from collective.member.files.rights_watch import Look, watched
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.routes import RouteMode
from collective.model.transfers import OpenedRead, OpenedUpload
from collective.model.writing import Attributes, Precondition
from collective.transfer.engine.download import Download
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.upload import Upload
from collective.transfer.engine.upload_session import Opening
from collective.transfer.engine.window import Window
from collective.transfer.engine.write_sources import stream_source

WINDOW_CHUNKS: Final = 4
"""Chunks of one write that are in memory."""
READ_CHUNKS: Final = 2
"""Chunks of one read that are in memory: the one that goes out, and the next, which is asked for once the
first byte is here, so that it is in nobody's way before."""
PIECE_BYTES: Final = 256 * limits.KIB
"""Bytes that are given out at a time, at most."""


class Engines(Protocol):
    """What moves bytes, apart for each member."""

    def engine_for(self, path: FilePath) -> Engine:
        """Return what moves the bytes of ``path``."""
        ...


class WholeFiles:
    """Stores and fetches files on behalf of others."""

    def __init__(self, own: SpiffeId, engines: Engines, owners: MemberDirectory) -> None:
        """Carry bytes as ``own``, of the files that ``owners`` know."""
        self._own = own
        self._engines = engines
        self._owners = owners

    async def write(
        self,
        call: Call,
        path: FilePath,
        attributes: Attributes,
        condition: Precondition,
        data: AsyncIterator[bytes],
    ) -> Entry:
        """Store ``data`` as the new content of ``path``; nothing is visible if it fails."""
        carried = call._replace(carrier=self._own)
        uploads = self._owners.of_path(call, path).uploads
        begun: list[UploadId] = []

        async def begin(
            extents: Sequence[Extent], holes: Sequence[Hole], mode: RouteMode
        ) -> OpenedUpload:
            return await uploads.open_upload(
                carried, path, attributes, condition, extents, holes, mode=mode
            )

        async def on_opened(upload: UploadId) -> None:
            begun.append(upload)

        async def look() -> None:
            for upload in begun:
                await uploads.check_upload(carried, upload)

        upload = Upload(
            self._engines.engine_for(path),
            uploads,
            carried,
            Opening(begin, on_opened=on_opened),
            stream_source(data),
            window=Window(WINDOW_CHUNKS),
        )
        async with watched(Look(look, is_at_peer=path.peer_domain is not None)):
            return await upload.run()

    @asynccontextmanager
    async def read(
        self, call: Call, path: FilePath, *, offset: int, length: int
    ) -> AsyncIterator[tuple[Entry, AsyncIterator[bytes]]]:
        """Open a file: its entry, and its bytes in pieces of at most PIECE_BYTES.

        ``length`` 0: to the end.
        """
        carried = call._replace(carrier=self._own)
        reads = self._owners.of_path(call, path).reads

        async def open_read(offset: int, length: int, mode: RouteMode) -> OpenedRead:
            return await reads.open_read(carried, path, offset=offset, length=length, mode=mode)

        async def give_back(lease: LeaseId) -> None:
            with suppress(CollectiveError):  # it ends by itself
                await reads.close_reads(carried, [lease])

        window = Window(1)
        download = Download(
            self._engines.engine_for(path),
            reads,
            carried,
            open_read,
            window=window,
            give_back=give_back,
            offset=offset,
            length=length or None,
        )

        async def ask() -> None:
            await reads.plan_read(
                carried, download.opened.lease, offset=offset, length=1, mode=RouteMode.DIRECT
            )

        look = Look(ask, is_at_peer=path.peer_domain is not None)
        async with download, aclosing(_pieces(download, look, window)) as pieces:
            yield download.entry, pieces


async def _pieces(download: Download, look: Look, window: Window) -> AsyncGenerator[bytes]:
    async for block in download:
        window.widen(READ_CHUNKS)
        for start in range(0, len(block), PIECE_BYTES):
            await look.again_if_due()
            yield bytes(block[start : start + PIECE_BYTES])
