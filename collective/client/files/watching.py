"""Watching a folder for as long as a program likes: one wait after the other, each with the cursor of the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from collective.core.errors import AwayError, BusyError, UnreachableError
from collective.model.watching import Cursor, ListAnew, Since

RETRY_S: Final = 60.0
"""A coordinator that restarts, or cannot be reached, is asked again for so long."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0

Ask = Callable[[Cursor | None], Awaitable[Since]]
"""Waits for a first change since a cursor."""


async def watching(ask: Ask, cursor: Cursor | None) -> AsyncGenerator[Since]:
    """Yield what ``ask`` tells, again and again; what tells of nothing is passed over."""
    now_s = asyncio.get_running_loop().time
    failing_s: float | None = None
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            found = await ask(cursor)
        except (UnreachableError, BusyError) as error:
            failing_s = now_s() if failing_s is None else failing_s
            if isinstance(error, AwayError) or now_s() - failing_s + pause_s > RETRY_S:
                raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            continue
        failing_s, pause_s = None, FIRST_PAUSE_S
        cursor = found.cursor
        if isinstance(found, ListAnew) or found.changes:
            yield found
