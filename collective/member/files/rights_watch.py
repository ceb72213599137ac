"""Looking again, while a transfer goes on, whether its caller still has the right to it.

A right that ends, or a peering that does, ends the transfer: no byte moves longer after that than until the
next look (CHECK_S; PEER_CHECK_S where a peer is asked), and the time that this takes.  A look that gets no
answer decides nothing, for PATIENCE_S at most: a member that is busy or silent for a moment ends no transfer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from collective.core.errors import BusyError, PeeringEndedError, UnreachableError, first_error

CHECK_S: Final = 0.5
"""How often a transfer looks at the own member."""
PEER_CHECK_S: Final = 2.0
"""How often it looks at a peer: each look is a call there."""
PATIENCE_S: Final = 30.0
"""How long a transfer goes on without an answer."""


class Look:
    """One thing that is looked at again and again while a transfer goes on."""

    def __init__(self, ask: Callable[[], Awaitable[object]], *, is_at_peer: bool) -> None:
        """Look by ``ask``, which raises once the right has ended; a look counts as just answered now."""
        self._ask = ask
        self._is_at_peer = is_at_peer
        self._now_s = asyncio.get_running_loop().time
        self._looked_s = self._answered_s = self._now_s()

    @property
    def every_s(self) -> float:
        """How often it is looked at."""
        return PEER_CHECK_S if self._is_at_peer else CHECK_S

    async def again_if_due(self) -> None:
        """Look if it is time; raises as :meth:`again`."""
        if self._now_s() - self._looked_s >= self.every_s:
            await self.again()

    async def again(self) -> None:
        """Look now.

        Raises:
            BusyError, UnreachableError, TimeoutError: there has been no answer for PATIENCE_S.
            PeeringEndedError: at once.
            CollectiveError: whatever else was answered.
        """
        self._looked_s = self._now_s()
        try:
            await self._ask()
        except PeeringEndedError:
            raise
        except (BusyError, UnreachableError, TimeoutError):
            if self._now_s() - self._answered_s >= PATIENCE_S:
                raise
        else:
            self._answered_s = self._now_s()


@asynccontextmanager
async def watched(*looks: Look) -> AsyncIterator[None]:
    """Take each of ``looks`` in its time while the body runs; what one raises ends the body, and is raised.

    They are taken side by side: one that is slow delays no other.
    """
    try:
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(_look_again(one)) for one in looks]
            try:
                yield
            finally:
                for one in watching:
                    one.cancel()
    except BaseExceptionGroup as failed:
        raise first_error(failed) from failed


async def _look_again(look: Look) -> None:
    while True:
        await asyncio.sleep(look.every_s)
        await look.again()
