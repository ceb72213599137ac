"""Wakes those who wait for a change in a folder, once it is durable.

The writer's thread notifies; those who wait are tasks of event loops.  A change looks up the folders above it, so it
costs by its depth; only what moved or removed a tree looks at all who wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from collective.catalog.decisions.changes import Touched, seen_in
from collective.core.errors import BusyError
from collective.core.paths import FilePath


class NotifiedWaiter:
    """A :class:`~collective.catalog.interface.changes.Waiter`."""

    def __init__(self, is_ended: bool) -> None:  # noqa: FBT001 - made by the notifier alone
        """Wait in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._is_ended = is_ended

    async def notified(self, until_s: float) -> bool:
        """Wait to be notified; False once it is ``until_s``; BusyError where nothing will come."""
        self._refuse_ended()
        try:
            async with asyncio.timeout_at(until_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        self._refuse_ended()
        return True

    def _refuse_ended(self) -> None:
        if self._is_ended:
            raise BusyError("The coordinator is stopping; try again later.")

    def notify(self, *, is_last: bool = False) -> None:
        """Wake; on any thread."""
        with suppress(RuntimeError):  # the loop has ended, and who waited with it
            self._loop.call_soon_threadsafe(self._wake, is_last)

    def _wake(self, is_last: bool) -> None:  # noqa: FBT001 - called by the loop
        self._is_ended = self._is_ended or is_last
        self._event.set()


class ChangeNotifier:
    """All who wait for a change of one catalogue."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._lock = threading.Lock()
        self._waiting: dict[FilePath, set[NotifiedWaiter]] = {}
        self._is_ended = False

    @contextmanager
    def waiting(self, folder: FilePath) -> Iterator[NotifiedWaiter]:
        """Enter one who waits for a change in ``folder``."""
        with self._lock:
            waiter = NotifiedWaiter(self._is_ended)
            self._waiting.setdefault(folder, set()).add(waiter)
        try:
            yield waiter
        finally:
            with self._lock:
                here = self._waiting[folder]
                here.discard(waiter)
                if not here:
                    del self._waiting[folder]

    def notify(self, touched: Iterable[Touched]) -> None:
        """Wake those whom these changes concern; on any thread."""
        with self._lock:
            if not self._waiting:
                return
            for one in touched:
                for folder in self._concerned(one):
                    for waiter in self._waiting[folder]:
                        waiter.notify()

    def _concerned(self, touched: Touched) -> list[FilePath]:
        """Return the folders that somebody watches, and that a change concerns."""
        if touched.below:
            return [one for one in self._waiting if seen_in(one, touched) is not None]
        names = touched.path.names
        above = (FilePath(names[:depth]) for depth in range(len(names) + 1))
        return [one for one in above if one in self._waiting]

    def notify_all(self, *, is_last: bool = False) -> None:
        """Wake everybody: rights changed, or (``is_last``) nothing will come any more."""
        with self._lock:
            self._is_ended = self._is_ended or is_last
            for waiters in self._waiting.values():
                for waiter in waiters:
                    waiter.notify(is_last=is_last)
