"""Looking again, while a transfer goes on, whether its caller still has the right to it.

A right that ends, or a peering that does, ends the transfer: no byte moves longer than CHECK_S, and the time
that one look takes, after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from collective.core.errors import first_error

CHECK_S: Final = 0.5
"""How often a transfer looks."""


@asynccontextmanager
async def watched(look: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Call ``look`` every CHECK_S while the body runs; what it raises ends the body, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_look_again(look))
            try:
                yield
            finally:
                watching.cancel()
    except BaseExceptionGroup as failed:
        raise first_error(failed) from failed


async def _look_again(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(CHECK_S)
        await look()
