"""Uploads of copies, which end when the copy does, however it ends: nothing stays reserved until it expires.

Which upload stays, and for how long:

- A copy that succeeded has none any more.
- One that was refused (no right any more, no space, changed meanwhile) is given up: its upload ends at once.
- One that was interrupted (the caller's connection broke, a member did not answer, too much was under way)
  may be gone on with.  A cancelled call is not told from a broken connection, since a client whose connection
  is silent cancels as well, and goes on.  The upload stays for RESUME_S, longer than a client tries.
- A client that gives up says so by ``AbortUpload``, which ends the upload at once.

Whoever names an upload to go on with is judged by its member first.  Until then the upload waits on for the
caller that it was interrupted for, and what becomes of the attempt changes nothing for anybody else.

Members are told side by side, each of one end after the other: one that hangs delays no other.  One that does
not answer is told again, as long as its upload may last.  What is kept here is forgotten with the process: the caller goes on after a restart, and what nobody goes on
with expires at its member.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from collective.core import limits
from collective.core.clock import Clock
from collective.core.errors import (
    BusyError,
    CollectiveError,
    PeeringEndedError,
    UnreachableError,
)
from collective.core.ids import Domain, SpiffeId, UploadId
from collective.core.work import Periodic, Worker
from collective.model.calls import Call
from collective.transfer.engine.control import UploadControl
from collective.transfer.engine.upload_session import end_upload, say_end

RESUME_S: Final = 60.0
"""How long an interrupted copy can be gone on with: clients try for 15 seconds."""
LOOK_S: Final = 10.0
KEPT_MAX: Final = 4096
"""Interrupted copies that are kept; beyond that the oldest is ended at once."""
_STEP: Final = 16
"""Uploads of one member ended in one step."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """An upload that waits for somebody to go on with it."""

    call: Call
    uploads: UploadControl
    until_s: float

    def is_expired(self, now_s: float) -> bool:
        """Whether its member has ended it by itself."""
        return now_s - self.until_s >= limits.UPLOAD_LIFE_S


class InterruptedCopying:
    """The uploads of all copies that one coordinator makes."""

    def __init__(self, clock: Clock) -> None:
        """Keep none yet."""
        self._clock = clock
        self._kept: dict[UploadId, _Kept] = {}
        self._running: Counter[UploadId] = Counter()

    def __len__(self) -> int:
        return len(self._kept)

    def worker(self) -> Worker:
        """Return the worker that ends those with which nobody went on."""
        return Periodic("interrupted copies", LOOK_S, self._end_due)

    def running(self, call: Call, uploads: UploadControl) -> RunningCopy:
        """Return a copy that begins; its upload is at ``uploads``, and is ``call``'s."""
        return RunningCopy(self, call, uploads)

    def entered(self, upload: UploadId) -> None:
        """Hear that a copy goes on with ``upload``, and may."""
        self._kept.pop(upload, None)
        self._running[upload] += 1

    def left(self, upload: UploadId) -> bool:
        """Hear that a copy leaves ``upload``; return whether no other goes on with it."""
        self._running[upload] -= 1
        if self._running[upload] > 0:  # its caller did not wait until this one had noticed
            return False
        del self._running[upload]
        return True

    def keep(self, upload: UploadId, call: Call, uploads: UploadControl) -> None:
        """Have ``upload`` stay for RESUME_S."""
        self._kept[upload] = _Kept(call, uploads, self._clock.monotonic_s() + RESUME_S)

    def is_running(self, upload: UploadId) -> bool:
        """Tell whether a copy goes on with ``upload``."""
        return upload in self._running

    def caller(self, upload: UploadId) -> SpiffeId | None:
        """Return for whom ``upload`` is kept; None where it is not."""
        kept = self._kept.get(upload)
        return None if kept is None else kept.call.principal

    def forget(self, upload: UploadId) -> None:
        """Keep ``upload`` no longer."""
        self._kept.pop(upload, None)

    async def _end_due(self) -> bool:
        """End some of those whose time has come; return whether more can be ended at once."""
        now_s = self._clock.monotonic_s()
        excess = len(self._kept) - KEPT_MAX
        due: dict[Domain, list[UploadId]] = {}
        for place, (upload, kept) in enumerate(self._kept.items()):
            if kept.until_s <= now_s or place < excess:
                due.setdefault(upload.domain, []).append(upload)
        async with asyncio.TaskGroup() as group:  # as many as there are members
            ending = [group.create_task(self._end_at_member(some, now_s)) for some in due.values()]
        return any(one.result() for one in ending)

    async def _end_at_member(self, due: Sequence[UploadId], now_s: float) -> bool:
        """End the first of ``due``, which are of one member; return whether more can be ended at once."""
        for upload in due[:_STEP]:
            kept = self._kept.get(upload)
            if kept is None:  # somebody went on with it while another was ended
                continue
            try:
                await say_end(kept.uploads, kept.call, upload)
            except (UnreachableError, BusyError) as error:
                self._put_back(due, now_s, error)
                return False
            except CollectiveError:  # it is not there, or not theirs any more
                pass
            if self._kept.get(upload) is kept:
                del self._kept[upload]
        return len(due) > _STEP

    def _put_back(self, due: Sequence[UploadId], now_s: float, error: CollectiveError) -> None:
        """Have those of a member that does not answer wait on, but not longer or more than is of use."""
        for upload in due:
            kept = self._kept.get(upload)
            if kept is not None and (
                isinstance(error, PeeringEndedError)
                or kept.is_expired(now_s)
                or len(self._kept) > KEPT_MAX
            ):
                del self._kept[upload]


class RunningCopy:
    """One copy, as far as its upload is concerned: enter it once it is known, then say how it went."""

    def __init__(self, interrupted: InterruptedCopying, call: Call, uploads: UploadControl) -> None:
        """Know no upload yet."""
        self._all = interrupted
        self._call = call
        self._uploads = uploads
        self.upload: UploadId | None = None
        self._is_entered = False

    def enter(self, upload: UploadId) -> None:
        """Take ``upload``, which was opened for the caller."""
        self.upload = upload
        self.admitted()

    def resume(self, upload: UploadId) -> None:
        """Name ``upload`` as what is to be gone on with; whether the caller may, nobody has said."""
        self.upload = upload

    def admitted(self) -> None:
        """Go on with the upload: its member lets the caller."""
        if self.upload is not None and not self._is_entered:
            self._is_entered = True
            self._all.entered(self.upload)

    def succeeded(self) -> None:
        """The upload was committed."""
        self._leave()

    def interrupted(self) -> None:
        """The upload stays for a while: the caller may go on with it."""
        if self._leave(self._call.principal) and self.upload is not None:
            self._all.keep(self.upload, self._call, self._uploads)

    async def given_up(self) -> None:
        """End the upload, if it is the caller's to end, as :func:`end_upload` does."""
        if self._leave(self._call.principal, None) and self.upload is not None:
            self._all.forget(self.upload)
            await end_upload(self._uploads, self._call, self.upload)

    def _leave(self, *kept_for: SpiffeId | None) -> bool:
        """Go on no longer; return whether nobody does now.

        Where no member has let the caller go on, that is nothing of theirs unless it is kept for one of
        ``kept_for``: the end of what nobody keeps is judged by its member.
        """
        if self.upload is None:
            return False
        if self._is_entered:
            self._is_entered = False
            return self._all.left(self.upload)
        return not self._all.is_running(self.upload) and self._all.caller(self.upload) in kept_for
