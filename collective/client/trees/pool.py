"""A few large files at a time, or more small ones."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Coroutine
from typing import Any, Final, Self

from collective.core.errors import first_error
from collective.core.limits import CHUNK_SIZE_BYTES
from collective.transfer.engine.window import Window

FILES_AT_ONCE: Final = 8
"""Large ones; of small ones up to eight times as many: each waits for the network most of the time."""
FEW_DESCRIPTORS: Final = 1024
"""Where a process may open fewer files than that, small ones go as few at a time as large ones."""


class FilePool:
    """An async context: as many files are under way as there is room for, and all have ended when it is left.

    The first error of any ends the others.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._group = asyncio.TaskGroup()
        self._room = Window(FILES_AT_ONCE)
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        is_short = most != resource.RLIM_INFINITY and most < FEW_DESCRIPTORS
        self._least_bytes = CHUNK_SIZE_BYTES if is_short else 0

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        try:
            await self._group.__aexit__(*details)  # type: ignore[arg-type]
        except BaseExceptionGroup as group:
            raise first_error(group) from group

    async def start(self, work: Coroutine[Any, Any, None], size_bytes: int) -> None:
        """Begin ``work`` on a file of ``size_bytes`` when there is room."""
        try:
            shares = await self._room.acquire(max(size_bytes, self._least_bytes))
        except BaseException:
            work.close()
            raise
        task = self._group.create_task(work)
        task.add_done_callback(lambda _: self._room.release(shares))
