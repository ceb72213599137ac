"""Kept connections to peers, by SPIFFE id, and whose turn it is where they are full.

Invariants: exchanges with one peer begin in the order in which they asked; none waits for a connection to be
opened as long as there is another with room, but for a moment; every wait has an end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from collective.core.errors import BusyError, UnreachableError
from collective.core.ids import Domain, SpiffeId
from collective.core.tasks import TaskScope
from collective.core.units import Address
from collective.rpc.http2.closing import OpenTransports
from collective.rpc.links import Dialer
from collective.transfer.stream.link import (
    EXCHANGES_MAX,
    FOREIGN_EXCHANGES_MAX,
    Exchange,
    Link,
)

ROOM_S: Final = 30.0
"""How long an exchange waits for room before it is told that the peer is busy."""
ANOTHER_S: Final = 0.25
"""How long exchanges wait for one more connection where there is room on another, though a crowded one."""
ANOTHER_AGAIN_S: Final = 10.0
"""A peer that refused one more connection is not asked for one again before, as long as another is usable."""
_LOOK_AGAIN_S: Final = 0.25
_DIALS_MAX: Final = 3
"""Connections opened in a row that were closed as soon as they were open."""


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Bounds of the connections to one peer; seconds unless named otherwise."""

    connections_per_peer: int = 2
    """At most; 1 or more."""
    crowded_at_requests: int = 4
    """Requests on every connection to a peer at which one more is opened, if it may be."""
    dial_s: float = 6.0
    """For opening one, all addresses together."""
    idle_s: float = 60.0
    """An unused connection is closed after this (servers wait longer)."""


Moved = Callable[[SpiffeId, int, int], None]
"""Told of payload: to or from whom, the bytes sent, and the bytes received."""


class KeptLinks:
    """The links of one process to all its peers."""

    def __init__(
        self,
        dialer: Dialer,
        *,
        home: Domain,
        limits: LinkLimits,
        moved: Moved | None = None,
    ) -> None:
        """Bound them.

        Args:
            dialer: opens connections.
            home: the own member; others take fewer exchanges on a connection.
            limits: of the connections to each.
            moved: told of the payload of each transfer, when it ends.
        """
        self._dialer = dialer
        self.moved = moved
        self._home = home
        self._limits = limits
        self._peers: dict[SpiffeId, _PeerLinks] = {}
        self._closed = False
        self._open_transports = OpenTransports()
        self.idle_s = limits.idle_s
        dialer.attach(self)

    async def enter(
        self, peer: SpiffeId, addresses: Sequence[Address], exchange: Exchange
    ) -> tuple[Link, int]:
        """Begin ``exchange`` on the least used connection to ``peer``, opening one where that helps.

        Waits in turn where there is no room; what others send meanwhile is told to the exchange as a neighbour's.
        Cancellation leaves a connection that is being opened to the next caller.

        Returns:
            the link, and the request id there.

        Raises:
            UnreachableError: none can be opened within the deadline.
            BusyError: there was no room for ROOM_S seconds.
            RejectedError: somebody else answers.
        """
        return await self._of(peer).enter(addresses, exchange)

    async def reach(self, peer: SpiffeId, addresses: Sequence[Address]) -> Link:
        """Return a connection to ``peer``, with room on it or without; raises as :meth:`enter` does."""
        return await self._of(peer).reach(addresses)

    def retire(self) -> None:
        """Begin nothing new on connections with a former certificate; what is under way goes on."""
        for links in self._peers.values():
            links.retire()

    async def close(self) -> None:
        """Close every connection; return when they have gone, after about a second at most."""
        self._closed = True
        for links in tuple(self._peers.values()):
            await links.close()
        await self._open_transports.leave()

    def _of(self, peer: SpiffeId) -> _PeerLinks:
        if self._closed:
            raise _closed()
        links = self._peers.get(peer)
        if links is None:
            for other in [known for known, links in self._peers.items() if links.unused]:
                del self._peers[other]
            most = EXCHANGES_MAX if peer.trust_domain == self._home else FOREIGN_EXCHANGES_MAX
            links = _PeerLinks(peer, most, self._dialer, self._limits, self._open_transports)
            self._peers[peer] = links
        return links


def _closed() -> UnreachableError:
    return UnreachableError("This client is closed; open another.")


class _Waiting:
    """An exchange that has not begun."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.place: asyncio.Future[tuple[Link, int]] = asyncio.get_running_loop().create_future()


class _PeerLinks:
    """The connections to one peer, and who waits for them.

    One at a time is opened, by a task that nobody waits for: those who wait are served whenever something has
    changed, and told when nothing will.
    """

    def __init__(
        self,
        peer: SpiffeId,
        most: int,
        dialer: Dialer,
        limits: LinkLimits,
        open_transports: OpenTransports,
    ) -> None:
        """Have no connection; each takes ``most`` exchanges at once."""
        self._peer = peer
        self._most = most
        self._dialer = dialer
        self._limits = limits
        self._open_transports = open_transports
        self._addresses: tuple[Address, ...] = ()
        """Those that were told last."""
        self._links: list[Link] = []
        self._waiting: deque[_Waiting] = deque()
        self._reaching: list[asyncio.Future[Link]] = []
        """Who waits for a connection only, not for room."""
        self._tasks = TaskScope()
        self._dial_began_s: float | None = None
        """Loop time, while one is being opened."""
        self._another_at_s = 0.0
        """Loop time from which on one more may be opened beside a usable one."""
        self._ended_at_once = 0
        self._turn: asyncio.Handle | None = None
        """Serves those who wait; while there is one, in a moment at the latest."""
        self._closed = False

    @property
    def unused(self) -> bool:
        """Whether there is nothing to keep."""
        nobody = not self._waiting and not self._reaching and self._dial_began_s is None
        return nobody and not any(link.connection.open for link in self._links)

    async def enter(self, addresses: Sequence[Address], exchange: Exchange) -> tuple[Link, int]:
        """Begin ``exchange``; see :meth:`KeptLinks.enter`."""
        self._addresses = tuple(addresses)
        if not self._waiting:
            link = self._with_room()
            if link is not None:
                return link, link.enter(exchange)
        one = _Waiting(exchange)
        self._waiting.append(one)
        self._serve_in(_LOOK_AGAIN_S)
        try:
            async with asyncio.timeout(ROOM_S):
                return await one.place
        except BaseException as error:
            self._withdraw(one)
            if isinstance(error, TimeoutError):
                raise BusyError(
                    f"Too much is under way with {self._peer} already; try again in a moment."
                ) from error
            raise

    async def reach(self, addresses: Sequence[Address]) -> Link:
        """Return a usable connection; see :meth:`KeptLinks.reach`."""
        self._addresses = tuple(addresses)
        usable = self._usable()
        if usable:
            return usable[0]
        self._open_one(usable)
        reached: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._reaching.append(reached)
        self._serve_in(_LOOK_AGAIN_S)
        return await reached

    def retire(self) -> None:
        """Begin nothing new on connections with a former certificate."""
        generation = self._dialer.generation
        for link in tuple(self._links):
            if link.generation != generation:
                link.retire()

    async def close(self) -> None:
        """Close every connection, and tell those who wait."""
        self._closed = True
        if self._turn is not None:
            self._turn.cancel()
        self._fail(_closed())
        await self._tasks.close()
        for link in tuple(self._links):
            link.close()

    # --- those who wait ---

    def _withdraw(self, one: _Waiting) -> None:
        """Give up, and give back the place of one that had it already and will not use it."""
        if one in self._waiting:
            self._waiting.remove(one)
        elif one.place.done() and not one.place.cancelled() and one.place.exception() is None:
            link, request_id = one.place.result()
            link.leave(request_id, self._limits.idle_s, over=True)

    def _serve_in(self, delay_s: float) -> None:
        """Serve those who wait after ``delay_s`` seconds at the latest: at once, where that is 0."""
        if self._closed or not (self._waiting or self._reaching):
            return
        loop = asyncio.get_running_loop()
        if self._turn is not None:
            if delay_s:
                return
            self._turn.cancel()
        self._turn = (
            loop.call_later(delay_s, self._serve) if delay_s else loop.call_soon(self._serve)
        )

    def _freed(self) -> None:
        self._serve_in(0)

    def _serve(self) -> None:
        """Give those who wait what there is, in turn; look again in a while, as doubts end unseen."""
        self._turn = None
        usable = self._usable()
        if self._reaching and not usable:
            self._open_one(usable)
        elif self._reaching:
            reaching, self._reaching = self._reaching, []
            for reached in reaching:
                if not reached.done():
                    reached.set_result(usable[0])
        while self._waiting:
            if not self._waiting[0].place.done():
                link = self._with_room()
                if link is None:
                    break
                one = self._waiting[0]
                one.place.set_result((link, link.enter(one.exchange)))
            self._waiting.popleft()
        self._serve_in(_LOOK_AGAIN_S)

    def _moved(self) -> None:
        for one in self._waiting:
            one.exchange.neighbour_moved()

    def _fail(self, error: Exception) -> None:
        """Tell all who wait that nothing will come."""
        waiting, self._waiting = self._waiting, deque()
        reaching, self._reaching = self._reaching, []
        for one in waiting:
            if not one.place.done():
                one.place.set_exception(error)
        for reached in reaching:
            if not reached.done():
                reached.set_exception(error)

    # --- connections ---

    def _usable(self) -> list[Link]:
        """Return the connections on which exchanges may begin, the least used first."""
        self.retire()
        self._links = [link for link in self._links if link.connection.open]
        return sorted((link for link in self._links if link.usable), key=len)

    def _with_room(self) -> Link | None:
        """Return a connection on which an exchange may begin now; open one more where that helps."""
        usable = self._usable()
        free = usable[0] if usable and usable[0].has_room else None
        if free is not None and len(free) < self._limits.crowded_at_requests:
            return free
        self._open_one(usable)
        if free is None or self._dial_began_s is None:
            return free
        dialled_s = asyncio.get_running_loop().time() - self._dial_began_s
        return free if dialled_s >= ANOTHER_S else None

    def _open_one(self, usable: Sequence[Link]) -> None:
        """Begin to open a connection beside those that are ``usable``, if it may be."""
        now_s = asyncio.get_running_loop().time()
        if self._dial_began_s is not None or len(usable) >= self._limits.connections_per_peer:
            return
        if usable and now_s < self._another_at_s:
            return
        self._dial_began_s = now_s
        for old in self._links[
            : max(0, len(self._links) - 2 * self._limits.connections_per_peer + 1)
        ]:
            old.close()
        self._tasks.spawn(self._dial())

    async def _dial(self) -> None:
        link = Link(self._dialer.generation, self._most, freed=self._freed, moved=self._moved)
        link.connection.open_transports = self._open_transports
        failed: Exception | None = None
        try:
            async with asyncio.timeout(self._limits.dial_s):
                await self._dialer.dial(self._peer, self._addresses, lambda: link.connection)
        except TimeoutError as error:
            failed = UnreachableError(
                f"No connection to {self._peer} within {self._limits.dial_s:g} s; check that it runs."
            )
            failed.__cause__ = error
        except Exception as error:  # noqa: BLE001 - those who wait are told, whatever it is
            failed = error
        finally:
            self._dial_began_s = None
        self._dialled(link, failed)

    def _dialled(self, link: Link, failed: Exception | None) -> None:
        """Go on with a new link, or without."""
        if failed is None:
            self._links.append(link)
        usable = self._usable()
        if link in usable:
            self._ended_at_once = 0
        elif usable:
            self._another_at_s = asyncio.get_running_loop().time() + ANOTHER_AGAIN_S
        elif failed is not None:
            self._fail(failed)
        else:
            self._ended_at_once += 1
            if self._ended_at_once >= _DIALS_MAX:
                self._ended_at_once = 0
                self._fail(
                    UnreachableError(
                        f"{self._peer} ends every connection at once; try again in a moment."
                    )
                )
        self._freed()
