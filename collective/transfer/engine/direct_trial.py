"""Whether nodes can be reached directly, found out beside a transfer that does not wait for it.

While no node ever was reached, the first hop of a direct route is given a moment (RFC 8305 calls it the
connection attempt delay).  Then transfers go through the coordinator meanwhile, and the attempt goes on: once it
succeeds, what comes next goes directly.  So a firewall that drops what it does not know costs a moment and not a
timeout, and a node far away is not taken for one behind a firewall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from collective.core.errors import CollectiveError
from collective.core.ids import SpiffeId
from collective.core.tasks import TaskScope
from collective.model.routes import Route, RouteMode
from collective.transfer.engine.direct_or_relay import RouteChoice

DELAY_S: Final = 0.25
"""For a first hop to answer, before the coordinator is asked to relay."""


class Reaches(Protocol):
    """Connects to the first hop of a route, and keeps the connection."""

    async def reach(self, route: Route, *, stands: Callable[[], None]) -> None:
        """Return when the hop has answered; UnreachableError, RejectedError where it does not.

        ``stands`` is called when there is a connection: within one trip the hop may still refuse it.
        """
        ...


class DirectTrial:
    """The attempts of one engine; they end with what they are made by, or with :meth:`close`."""

    def __init__(self, chunks: Reaches, choice: RouteChoice) -> None:
        """Tell ``choice`` what is found out."""
        self._chunks = chunks
        self._choice = choice
        self._trying: set[SpiffeId] = set()
        self._tasks = TaskScope()
        self._waiting: dict[asyncio.Event, None] = {}

    def begin(self, route: Route) -> None:
        """Find out whether ``route`` can be used, where that is not known and it is a direct one."""
        node = route.storing[0] if route.storing else None
        if node is None or node in self._trying:
            return
        if route.mode is RouteMode.DIRECT and self._choice.is_open:
            self._trying.add(node)
            self._tasks.spawn(self._try(route, node))

    @contextmanager
    def told(self, news: asyncio.Event) -> Iterator[None]:
        """Set ``news`` whenever the way changes while inside."""
        self._waiting[news] = None
        try:
            yield
        finally:
            del self._waiting[news]

    async def close(self) -> None:
        """End what is under way."""
        await self._tasks.close()

    async def _try(self, route: Route, node: SpiffeId) -> None:
        overdue = asyncio.get_running_loop().call_later(DELAY_S, self._overdue, node)
        try:
            await self._chunks.reach(route, stands=overdue.cancel)
            self._choice.worked(RouteMode.DIRECT)
        except CollectiveError:
            self._choice.missed(node)
        finally:
            overdue.cancel()
            self._trying.discard(node)
            self._tell()

    def _overdue(self, node: SpiffeId) -> None:
        self._choice.overdue(node)
        self._tell()

    def _tell(self) -> None:
        for news in self._waiting:
            news.set()
