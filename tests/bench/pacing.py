"""Many calls, so many at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any


async def at_once(calls: Sequence[Callable[[], Coroutine[Any, Any, None]]], width: int) -> float:
    """Run ``calls``, ``width`` at a time; return the seconds it took."""
    queue = list(reversed(calls))

    async def worker() -> None:
        while queue:
            await queue.pop()()

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())
    return time.perf_counter() - begin
