"""Leases that readers are done with, given back together and off the path of any read.

A lease that is never given back ends by itself, so nothing here is worth waiting for or failing by.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from collective.core.errors import CollectiveError
from collective.core.ids import LeaseId
from collective.core.limits import BATCH_MAX_CHUNKS
from collective.model.calls import Call
from collective.transfer.engine.control import ReadControl

GATHER_S: Final = 0.25
"""How long a lease waits for others."""
CLOSE_TIMEOUT_S: Final = 2.0


class LeaseReturns:
    """Gives leases back in batches; :meth:`close` gives back the rest."""

    def __init__(self, control: ReadControl, call: Call) -> None:
        """Give back what ``call`` holds; needs a running event loop."""
        self._control = control
        self._call = call
        self._waiting: list[LeaseId] = []
        self._returning: asyncio.Task[None] | None = None

    async def give_back(self, lease: LeaseId) -> None:
        """Give a lease back soon; returns at once."""
        self._add(lease)

    def _add(self, lease: LeaseId) -> None:
        self._waiting.append(lease)
        if self._returning is None:
            self._returning = asyncio.get_running_loop().create_task(self._after_a_while())
            self._returning.add_done_callback(self._returned)

    async def close(self) -> None:
        """Give back what waits, if the coordinator can be told; ends in any case."""
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait([self._returning])
        await self._return_all()

    async def _after_a_while(self) -> None:
        await asyncio.sleep(GATHER_S)
        await self._return_all()

    def _returned(self, task: asyncio.Task[None]) -> None:
        self._returning = None
        if not task.cancelled():
            task.result()
        if self._waiting and not task.cancelled():
            self._add(self._waiting.pop())

    async def _return_all(self) -> None:
        while self._waiting:
            batch = self._waiting[: BATCH_MAX_CHUNKS + 1]
            del self._waiting[: len(batch)]
            with suppress(CollectiveError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._control.close_reads(self._call, batch)
