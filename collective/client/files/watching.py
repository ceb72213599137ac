"""Watching a folder for as long as a program likes: one wait after the other, each with the cursor of the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from collective.core.errors import BusyError, UnreachableError
from collective.model.changes import Cursor, ListAnew, Since

RETRY_S: Final = 60.0
"""A coordinator that restarts, or cannot be reached, is asked again for so long."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
AT_ONCE_S: Final = 0.5
"""Nothing that is told sooner did not wait, as of a coordinator that is about to end."""

Ask = Callable[[Cursor | None], Awaitable[Since]]
"""Waits for a first change since a cursor."""


async def watching(ask: Ask, cursor: Cursor | None) -> AsyncGenerator[Since]:
    """Yield what ``ask`` tells, again and again; what tells of nothing is passed over."""
    now_s = asyncio.get_running_loop().time
    failing_s: float | None = None
    pause_s = FIRST_PAUSE_S
    while True:
        asked_s = now_s()
        try:
            found = await ask(cursor)
        except (UnreachableError, BusyError):
            if failing_s is None or now_s() - asked_s > LONGEST_PAUSE_S:  # it stood until now
                failing_s = now_s()
            if now_s() - failing_s + pause_s > RETRY_S:
                raise
        else:
            failing_s, cursor = None, found.cursor
            if isinstance(found, ListAnew) or found.changes:
                pause_s = FIRST_PAUSE_S
                yield found
                continue
            if now_s() - asked_s >= AT_ONCE_S:
                pause_s = FIRST_PAUSE_S
                continue
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
