"""A few files at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Self

from collective.core.errors import first_error

FILES_AT_ONCE: Final = 8


class FilePool:
    """An async context: at most FILES_AT_ONCE pieces of work are under way, all ended when it is left.

    The first error of any ends the others.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._group = asyncio.TaskGroup()
        self._room = asyncio.Semaphore(FILES_AT_ONCE)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        try:
            await self._group.__aexit__(*details)  # type: ignore[arg-type]
        except BaseExceptionGroup as group:
            raise first_error(group) from group

    async def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin ``work`` when there is room."""
        try:
            await self._room.acquire()
        except BaseException:
            work.close()
            raise
        task = self._group.create_task(work)
        task.add_done_callback(lambda _: self._room.release())
