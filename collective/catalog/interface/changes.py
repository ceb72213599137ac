"""What the catalogue promises about changes of names, to those who watch a folder."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.changes import Since


class Waiter(Protocol):
    """One who waits for a change in a folder."""

    async def notified(self, until_s: float) -> bool:
        """Wait until something in the folder may have changed, since the last time this returned.

        False once the event loop's time is ``until_s``; BusyError once :meth:`Changes.end_waits` was called.
        What is elsewhere wakes nobody, save that rights changed.
        """
        ...


class Changes(Protocol):
    """The newest changes of names, of a bounded number, size and age."""

    async def since(self, caller: Call, folder: FilePath, cursor: str, *, page_size: int) -> Since:
        """Return what changed in ``folder`` since ``cursor`` (needs ``read`` there).

        With an empty cursor, and with one that is not good for going on, the answer is ListAnew.  Each
        answer has a new cursor.  NotFoundError where the cursor is empty and nothing is at ``folder``.
        """
        ...

    def waiting(self, folder: FilePath) -> AbstractContextManager[Waiter]:
        """Return what enters as one who waits; from then on no change is missed."""
        ...

    def end_waits(self) -> None:
        """Have nobody wait any more: the process is about to end."""
        ...

    async def prune(self) -> bool:
        """Drop some of the oldest changes that are beyond the bounds; return whether more are."""
        ...
