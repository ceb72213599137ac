"""Work that several ask for at once and that is done once.

A caller that asks while it is under way joins it.  Nothing of a result is kept: who asks after it has ended
has it done anew.  The work ends with the last of those who wait for it, so none goes on for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Run(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class SharedRuns(Generic[K, T]):
    """Runs under way, by key."""

    def __init__(self) -> None:
        """Begin with none."""
        self._runs: dict[K, _Run[T]] = {}

    def __len__(self) -> int:
        return len(self._runs)

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what ``work()`` returns, or raise what it raises; it may have begun for another.

        Args:
            key: of what is asked for; two that ask for the same must get the same.
            work: begins it, where nobody has.

        When the last that waits is cancelled, the work is cancelled, and this returns after it has
        ended; one who asks from then on has it done anew.
        """
        shared = self._runs.get(key)
        if shared is None:
            shared = self._runs[key] = _Run(asyncio.get_running_loop().create_task(work()))
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting or shared.task.done():
                self._forget(key, shared)
            if not shared.waiting and not shared.task.done():
                shared.task.cancel()
                await asyncio.wait([shared.task])
                if not shared.task.cancelled():
                    shared.task.exception()  # nobody is left to hear of it

    def _forget(self, key: K, shared: _Run[T]) -> None:
        if self._runs.get(key) is shared:
            del self._runs[key]
