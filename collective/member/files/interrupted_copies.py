"""Uploads of copies, which end when the copy does, however it ends: nothing stays reserved until it expires.

Which upload stays, and for how long:

- A copy that succeeded has none any more.
- One that was refused (no right any more, no space, changed meanwhile) is given up: its upload ends at once.
- One that was interrupted (the caller's connection broke, a member did not answer, too much was under way)
  may be gone on with.  A cancelled call is not told from a broken connection, since a client whose connection
  is silent cancels as well, and goes on.  The upload stays for RESUME_S, longer than a client tries.
- A client that gives up says so by ``AbortUpload``, which ends the upload at once.

What is kept here is forgotten with the process: the caller goes on after a restart, and what nobody goes on
with expires at its member.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from collective.core.clock import Clock
from collective.core.ids import UploadId
from collective.core.work import Periodic, Worker
from collective.model.calls import Call
from collective.transfer.engine.control import UploadControl
from collective.transfer.engine.upload_session import end_upload

RESUME_S: Final = 60.0
"""How long an interrupted copy can be gone on with: clients try for 15 seconds."""
LOOK_S: Final = 10.0
KEPT_MAX: Final = 4096
"""Interrupted copies that are kept; beyond that the oldest is ended at once."""
_STEP: Final = 16
"""Uploads ended in one step."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """An upload that waits for somebody to go on with it."""

    call: Call
    uploads: UploadControl
    until_s: float


class InterruptedCopies:
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
        """Hear that a copy goes on with ``upload``."""
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

    async def _end_due(self) -> bool:
        """End some of those whose time has come; return whether more are there."""
        now_s = self._clock.monotonic_s()
        excess = len(self._kept) - KEPT_MAX
        due = [
            upload
            for place, (upload, kept) in enumerate(self._kept.items())
            if kept.until_s <= now_s or place < excess
        ]
        for upload in due[:_STEP]:
            kept = self._kept.pop(upload, None)
            if kept is not None:  # nobody went on with it while another was ended
                await end_upload(kept.uploads, kept.call, upload)
        return len(due) > _STEP


class RunningCopy:
    """One copy, as far as its upload is concerned: enter it once it is known, then say how it went."""

    def __init__(self, all_copies: InterruptedCopies, call: Call, uploads: UploadControl) -> None:
        """Know no upload yet."""
        self._all = all_copies
        self._call = call
        self._uploads = uploads
        self.upload: UploadId | None = None

    def enter(self, upload: UploadId) -> None:
        """Take ``upload``, which was opened or is gone on with."""
        self.upload = upload
        self._all.entered(upload)

    def succeeded(self) -> None:
        """The upload was committed."""
        if self.upload is not None:
            self._all.left(self.upload)

    def interrupted(self) -> None:
        """The upload stays for a while: the caller may go on with it."""
        if self.upload is not None and self._all.left(self.upload):
            self._all.keep(self.upload, self._call, self._uploads)

    async def given_up(self) -> None:
        """End the upload, as :func:`end_upload` does."""
        if self.upload is not None and self._all.left(self.upload):
            await end_upload(self._uploads, self._call, self.upload)
