"""Copying of files: within this member, and between members, always through this coordinator.

It needs what reading the source and writing the target need, is judged at both, also while it goes on, and
moves no byte that the target's member has already.  What becomes of the upload of one that does not end well
stands in :mod:`~collective.member.files.interrupted_copying`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from collective.core.errors import (
    BusyError,
    CollectiveError,
    ConflictError,
    PeeringEndedError,
    UnreachableError,
)
from collective.core.ids import LeaseId, SpiffeId, UploadId
from collective.core.paths import FilePath
from collective.member.files.interface import Reads
from collective.member.files.interrupted_copying import InterruptedCopying, RunningCopy
from collective.member.files.member_directory import MemberDirectory
from collective.member.files.rights_watch import Look, watched
from collective.member.files.whole_files import Engines
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.progress import Progress
from collective.model.routes import RouteMode
from collective.model.transfers import OpenedRead, OpenedUpload
from collective.model.writing import Attributes, Precondition
from collective.transfer.engine.comparing import LeasedPieces, same_pieces
from collective.transfer.engine.copying import CopySource, FileCopy
from collective.transfer.engine.upload_session import Opening

WINDOW_CHUNKS: Final = 4
"""Chunks of one copy that are in memory."""


class MemberCopying:
    """Copies files on behalf of others."""

    def __init__(
        self,
        own: SpiffeId,
        engines: Engines,
        owners: MemberDirectory,
        interrupted: InterruptedCopying,
    ) -> None:
        """Carry bytes as ``own``, between the files that ``owners`` know."""
        self._own = own
        self._interrupted = interrupted
        self._engines = engines
        self._owners = owners

    async def copy(
        self,
        call: Call,
        source: FilePath,
        target: FilePath,
        condition: Precondition,
        *,
        resume: UploadId | None = None,
        on_opened: Callable[[UploadId], Awaitable[None]] | None = None,
        progress: Progress | None = None,
    ) -> Entry:
        """Make ``target`` a file with the content, time, mode and type of the file ``source``.

        Args:
            call: who is judged at both.
            source: a file.
            target: made, or replaced.
            condition: of what is at the target.
            resume: an upload of an interrupted copy of the same version to go on with, within RESUME_S.
            on_opened: awaited with the id by which an interrupted copy can be resumed.
            progress: told of plain bytes that are safe.

        Raises:
            ConflictError: ``condition`` does not hold, or source and target are one.
            NotFoundError, PermissionDeniedError, NotEnoughCopiesError, NoSpaceError: as a read or write.
            PeeringEndedError: one of the two members is no peer any more.
            UnreachableError, BusyError: interrupted, and to be gone on with.

        After these last two, and after cancellation, the upload stays for RESUME_S; after any other error it is
        ended.

        """
        if source == target:
            raise ConflictError(f"{source} cannot be copied to itself.")
        carried = call._replace(carrier=self._own)
        running = self._interrupted.running(carried, self._owners.of_path(call, target).uploads)
        if resume is not None:
            running.resume(resume)
        try:
            entry = await self._run(
                carried, source, target, condition, running, on_opened, progress
            )
        except BaseException as error:
            if _may_go_on(error):
                running.interrupted()
            else:
                await running.given_up()
            raise
        running.succeeded()
        return entry

    async def _run(
        self,
        carried: Call,
        source: FilePath,
        target: FilePath,
        condition: Precondition,
        running: RunningCopy,
        on_opened: Callable[[UploadId], Awaitable[None]] | None,
        progress: Progress | None,
    ) -> Entry:
        """Copy, and look again and again whether ``carried`` may."""
        reads = self._owners.of_path(carried, source).reads
        uploads = self._owners.of_path(carried, target).uploads
        found: list[OpenedRead] = []
        resume = running.upload

        async def open_source(mode: RouteMode) -> OpenedRead:
            opened = await reads.open_read(carried, source, offset=0, length=0, mode=mode)
            found.append(opened)
            return opened

        async def opened(upload: UploadId) -> None:
            running.enter(upload)
            if on_opened is not None:
                await on_opened(upload)

        async def look_at_source() -> None:
            for one in found:
                await reads.plan_read(carried, one.lease, offset=0, length=1, mode=RouteMode.DIRECT)

        async def look_at_target() -> None:
            if running.upload is not None:
                await uploads.check_upload(carried, running.upload)

        async def begin(
            extents: Sequence[Extent], holes: Sequence[Hole], mode: RouteMode
        ) -> OpenedUpload:
            return await uploads.open_upload(
                carried,
                target,
                _attributes_of(found[0].entry),
                condition,
                extents,
                holes,
                mode=mode,
            )

        async def give_back(lease: LeaseId) -> None:
            with suppress(CollectiveError):  # it ends by itself
                await reads.close_reads(carried, [lease])

        copying = FileCopy(
            self._engines.engine_for(target),
            carried,
            CopySource(self._engines.engine_for(source), reads, open_source, give_back),
            uploads,
            Opening(
                begin,
                resume=resume,
                is_resumable=True,
                on_opened=opened,
                on_resumed=running.admitted,
                progress=progress,
            ),
            window=WINDOW_CHUNKS,
        )
        async with watched(
            Look(look_at_source, is_at_peer=source.peer_domain is not None),
            Look(look_at_target, is_at_peer=target.peer_domain is not None),
        ):
            return await copying.run()

    async def same(self, call: Call, source: FilePath, target: FilePath) -> Entry | None:
        """Return the entry of ``target`` if it is a file of the same pieces as ``source``, else None.

        None as well where the caller may not read the target.  Raises as reading ``source`` does.
        """
        carried = call._replace(carrier=self._own)
        ours, theirs = (
            leased(self._owners.of_path(call, path).reads, carried, path)
            for path in (source, target)
        )
        return await same_pieces(ours, theirs)


def _may_go_on(error: BaseException) -> bool:
    """Tell whether a copy that ended so was interrupted, and not refused."""
    return isinstance(
        error, UnreachableError | BusyError | asyncio.CancelledError
    ) and not isinstance(error, PeeringEndedError)


def leased(reads: Reads, call: Call, path: FilePath) -> LeasedPieces:
    """Return the pieces of ``path``, once somebody looks at them."""

    async def lease(mode: RouteMode) -> OpenedRead:
        return await reads.open_read(call, path, offset=0, length=0, mode=mode)

    async def give_back(lease: LeaseId) -> None:
        with suppress(CollectiveError):  # it ends by itself
            await reads.close_reads(call, [lease])

    return LeasedPieces(reads, call, lease, give_back)


def _attributes_of(entry: Entry) -> Attributes:
    return Attributes(
        modified_ns=entry.modified_ns,
        mode=entry.mode,
        content_type=entry.content_type,
        metadata=entry.metadata,
    )
