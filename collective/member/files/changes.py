"""Watching a folder of this member: what changed since a cursor, or waiting for a first change.

Waits are bounded: in time, for each person, for each peer as a whole, and in all.  One that ends for any reason
leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from collective.catalog.interface.changes import Changes as KeptChanges
from collective.core import limits
from collective.core.errors import BusyError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.changes import ListAnew, Since

WAITS_PER_PERSON_MAX: Final = 32
"""Waits of one identity that are under way."""
WAITS_PER_PEER_MAX: Final = 64
"""Those of all people of one peer."""
WAITS_MAX: Final = 1024
"""Those of everybody."""


class MemberChanges:
    """Changes of this member's names, as :class:`~collective.member.files.interface.Changes`."""

    def __init__(self, changes: KeptChanges) -> None:
        """Tell of ``changes``."""
        self._changes = changes
        self._waits: Counter[SpiffeId] = Counter()
        self._all = 0

    async def since(
        self, call: Call, folder: FilePath, cursor: str, *, wait_s: float, page_size: int
    ) -> Since:
        """Return what changed since ``cursor``; with nothing, wait up to ``wait_s`` for a first change."""
        if wait_s <= 0:
            return await self._changes.since(call, folder, cursor, page_size=page_size)
        with self._place(call), self._changes.waiting(folder) as waiter:
            wait_s = min(wait_s, limits.WATCH_WAIT_MAX_S)
            until_s = asyncio.get_running_loop().time() + wait_s
            is_over = False
            while True:
                found = await self._changes.since(call, folder, cursor, page_size=page_size)
                if is_over or isinstance(found, ListAnew) or found.changes:
                    return found
                cursor = found.cursor
                is_over = not await waiter.notified(until_s)

    @contextmanager
    def _place(self, call: Call) -> Iterator[None]:
        """Take up a place among those who wait; BusyError where there is none."""
        counted = {call.principal: WAITS_PER_PERSON_MAX}
        if call.via is not None:
            counted[call.accountable] = WAITS_PER_PEER_MAX
        for who, most in counted.items():
            if self._waits[who] >= most:
                raise BusyError(
                    f"{most} watches of {who} wait already; end one, or ask without waiting."
                )
        if self._all >= WAITS_MAX:
            raise BusyError("Too many watch this member now; ask without waiting.")
        self._waits.update(counted.keys())
        self._all += 1
        try:
            yield
        finally:
            self._all -= 1
            self._waits.subtract(counted.keys())
            for who in counted:
                if not self._waits[who]:
                    del self._waits[who]
