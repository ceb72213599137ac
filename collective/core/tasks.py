"""Tasks that belong to a server or client as a whole, and end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def all_of(*work: Awaitable[object]) -> None:
    """Wait for all of ``work``, also where some of it fails; then raise the first error."""
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


class TaskScope:
    """Owns tasks that callbacks start; :meth:`close` leaves none behind.

    An ``asyncio.TaskGroup`` would have to be entered and left by one task, and would let one
    failed request end all others.
    """

    def __init__(self, failed: Callable[[BaseException], object] | None = None) -> None:
        """Own nothing yet; ``failed`` hears of errors that a task did not handle."""
        self._failed = failed
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start ``work``; an error that it does not handle is told, and kept in the task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def see_through(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for ``work``, which goes on to its end also where the wait is cancelled."""
        return await asyncio.shield(self.spawn(work))

    async def close(self, grace_s: float = 0.0) -> None:
        """Wait ``grace_s`` seconds for the tasks to end, then cancel them and wait on."""
        if self._tasks and grace_s > 0:
            await asyncio.wait(self._tasks, timeout=grace_s)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._failed:
            self._failed(error)
