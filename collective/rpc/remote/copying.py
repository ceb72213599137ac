"""Copies of files that a coordinator makes, within its member or between two.

A copy that was interrupted goes on where it was: its upload is kept by the target's member, and named here
again.  One that is given up here (cancelled, or interrupted for too long) is ended there, so that nothing stays
reserved; where that cannot be said, the coordinator does so by itself a minute later.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Self

from collective.core.clock import Clock
from collective.core.errors import (
    AwayError,
    BusyError,
    CollectiveError,
    RejectedError,
    UnreachableError,
)
from collective.core.paths import FilePath
from collective.core.tasks import TaskScope
from collective.model.entries import Entry
from collective.model.progress import Progress
from collective.model.writing import Precondition
from collective.rpc.conversions.entries import entry_from
from collective.rpc.deadlines import call, each
from collective.rpc.gen.collective.v1.streams import CopyRequest, StreamsStub
from collective.rpc.gen.collective.v1.uploads import AbortUploadRequest, UploadsStub
from collective.rpc.links import Channel
from collective.rpc.remote.answers import taken
from collective.rpc.remote.connection import FIRST_PAUSE_S, LONGEST_PAUSE_S, RETRY_S

IDLE_S: Final = 15.0
"""A copy tells twice a second how far it is: one that is silent for so long is interrupted, and gone on with."""
GIVE_UP_S: Final = 2.0
"""How long the end of a copy may take that is given up."""


class RemoteCopying:
    """Copying by one coordinator."""

    def __init__(self, streams: StreamsStub, uploads: UploadsStub, clock: Clock) -> None:
        """Ask ``streams``; what is given up is ended by ``uploads``."""
        self._streams = streams
        self._uploads = uploads
        self._clock = clock

    @classmethod
    def over(cls, channel: Channel, clock: Clock) -> Self:
        """Return what asks over ``channel``."""
        return cls(channel.stub(StreamsStub), channel.stub(UploadsStub), clock)

    async def copy(
        self,
        source: FilePath,
        target: FilePath,
        condition: Precondition,
        *,
        unless_same: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Entry, bool]:
        """Copy a file; return the entry at ``target``, and whether it was left as it was.

        It is left where ``unless_same`` says so and it has the same content.  Goes on after an interruption:
        UnreachableError or BusyError where that went on for too long, AwayError at once where a peer is away
        before the copy began.
        """
        request = CopyRequest(
            source=str(source),
            target=str(target),
            if_version=condition.if_version,
            if_absent=condition.if_absent,
            unless_same=unless_same,
        )
        try:
            return await self._until_done(request, progress)
        except (UnreachableError, BusyError, asyncio.CancelledError):
            await self._give_up(request.resume_upload_id)
            raise

    async def _give_up(self, upload_id: str) -> None:
        """End the upload of a copy with which nobody goes on; to its end, also where that is cancelled."""
        if not upload_id:
            return
        request = AbortUploadRequest(upload_id=upload_id)

        async def end() -> None:
            with suppress(CollectiveError):
                await call(lambda t: self._uploads.abort_upload(request, timeout=t), GIVE_UP_S)

        await TaskScope().see_through(end())

    async def _until_done(
        self, request: CopyRequest, progress: Progress | None
    ) -> tuple[Entry, bool]:
        """Ask again until there is a result; note in ``request`` with what to go on."""
        told = 0
        failing_s: float | None = None
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async for answer in each(aiter(self._streams.copy(request)), IDLE_S):
                    request.resume_upload_id = answer.upload_id or request.resume_upload_id
                    if answer.copied_bytes > told:  # an answer alone is no progress
                        failing_s, pause_s = None, FIRST_PAUSE_S
                        if progress is not None:
                            progress(answer.copied_bytes - told)
                        told = answer.copied_bytes
                    if answer.entry is not None:
                        return taken(entry_from, answer.entry), answer.is_same
                raise RejectedError("The copy ended without a result; try again.")
            except (UnreachableError, BusyError) as error:
                if isinstance(error, AwayError) and not request.resume_upload_id:
                    raise
                now_s = self._clock.monotonic_s()
                failing_s = now_s if failing_s is None else failing_s
                if now_s - failing_s + pause_s > RETRY_S:
                    raise
                request.unless_same = True  # the answer may be all that was lost
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
