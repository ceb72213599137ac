"""Leases that readers are done with, given back together and off the path of any read.

A lease that is never given back ends by itself, so nothing here is worth waiting for or failing by.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from collective.client.control import Control
from collective.core.errors import CollectiveError
from collective.core.limits import BATCH_MAX_CHUNKS
from collective.rpc.gen.collective.v1.reads import CloseReadRequest, ReadsStub

GATHER_S: Final = 0.25
"""How long a lease waits for others."""
CLOSE_TIMEOUT_S: Final = 2.0


class LeaseReturns:
    """Gives leases back in batches; :meth:`close` gives back the rest."""

    def __init__(self, control: Control, reads: ReadsStub) -> None:
        """Call ``reads`` by ``control``; needs a running event loop."""
        self._control = control
        self._reads = reads
        self._waiting: list[str] = []
        self._returning: asyncio.Task[None] | None = None

    def give_back(self, lease_id: str) -> None:
        """Give a lease back soon."""
        self._waiting.append(lease_id)
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
            self.give_back(self._waiting.pop())

    async def _return_all(self) -> None:
        while self._waiting:
            batch = self._waiting[: BATCH_MAX_CHUNKS + 1]
            del self._waiting[: len(batch)]
            request = CloseReadRequest(lease_id=batch[0], further_lease_ids=batch[1:])
            with suppress(CollectiveError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._control.call(self._reads.close_read, request)
