"""Copies of files that a coordinator makes, within its member or between two.

A copy that was interrupted goes on where it was: its upload is kept by the target's member, and named here
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Self

from collective.core.clock import Clock
from collective.core.errors import AwayError, BusyError, RejectedError, UnreachableError
from collective.core.paths import FilePath
from collective.model.changes import Precondition
from collective.model.entries import Entry
from collective.rpc.conversions.entries import entry_from
from collective.rpc.deadlines import each
from collective.rpc.gen.collective.v1.streams import CopyRequest, StreamsStub
from collective.rpc.links import Channel
from collective.rpc.remote.answers import taken
from collective.rpc.remote.connection import FIRST_PAUSE_S, LONGEST_PAUSE_S, RETRY_S

IDLE_S: Final = 15.0
"""A copy tells twice a second how far it is: one that is silent for so long is given up, and gone on with."""


class RemoteCopies:
    """The copies that one coordinator makes."""

    def __init__(self, streams: StreamsStub, clock: Clock) -> None:
        """Ask ``streams``."""
        self._streams = streams
        self._clock = clock

    @classmethod
    def over(cls, channel: Channel, clock: Clock) -> Self:
        """Return what asks over ``channel``."""
        return cls(channel.stub(StreamsStub), clock)

    async def copy(
        self,
        source: FilePath,
        target: FilePath,
        condition: Precondition,
        *,
        unless_same: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Entry, bool]:
        """Copy a file; return the entry at ``target``, and whether it was left as it was.

        It is left where ``unless_same`` says so and it has the same content.  Goes on after an interruption:
        UnreachableError or BusyError where that went on for too long.
        """
        request = CopyRequest(
            source=str(source),
            target=str(target),
            if_version=condition.if_version,
            if_absent=condition.if_absent,
            unless_same=unless_same,
        )
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
            except AwayError:
                raise
            except (UnreachableError, BusyError):
                now_s = self._clock.monotonic_s()
                failing_s = now_s if failing_s is None else failing_s
                if now_s - failing_s + pause_s > RETRY_S:
                    raise
                request.unless_same = True  # the answer may be all that was lost
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
