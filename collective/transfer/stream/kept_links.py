"""Kept connections to peers, by SPIFFE id, and whose turn it is where they are full.

Invariants: exchanges with one peer begin in the order in which they asked; where there is room on a connection,
none waits longer than a moment for another to be opened; every wait has an end.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from collective.core.errors import BusyError, UnreachableError
from collective.core.ids import Domain, SpiffeId
from collective.core.tasks import TaskScope, all_of
from collective.core.units import Address
from collective.rpc.http2.closing import OpenTransports
from collective.rpc.links import Dialer
from collective.transfer.stream.link import (
    EXCHANGES_MAX,
    FOREIGN_EXCHANGES_MAX,
    Exchange,
    Link,
)

T = TypeVar("T")

ROOM_S: Final = 10.0
"""A waiting exchange is told that the peer is busy when no other has moved for so long."""
ANOTHER_S: Final = 0.25
"""How long an exchange waits for one more connection where there is room on another, though a crowded one."""
ANOTHER_AGAIN_S: Final = 10.0
"""A peer that refused one more connection is not asked for one again before, as long as another is usable."""
_AGAIN_S: Final = 1.0
"""The same, where another is open and in doubt."""
_LOOK_AGAIN_S: Final = 0.1
_ENDED_MAX: Final = 3
"""Connections in a row that the peer ended before it said anything."""


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
        dialer.attach(self)

    async def enter(
        self, peer: SpiffeId, addresses: Sequence[Address], exchange: Exchange
    ) -> tuple[Link, int]:
        """Begin ``exchange`` on the least used connection to ``peer``, opening one where that helps.

        Waits in turn where there is no room; what others move meanwhile is told to the exchange as a neighbour's.
        Cancellation leaves a connection that is being opened to the next caller.

        Returns:
            the link, and the request id there.

        Raises:
            UnreachableError: none can be opened within the deadline.
            BusyError: there was no room, and nothing moved for ROOM_S seconds.
            RejectedError: somebody else answers.
        """
        return await self._of(peer).enter(tuple(addresses), exchange)

    async def reach(self, peer: SpiffeId, addresses: Sequence[Address]) -> Link:
        """Return a connection to ``peer``, with room on it or without.

        Raises:
            UnreachableError: none can be opened within the deadline.
            RejectedError: somebody else answers.
        """
        return await self._of(peer).reach(tuple(addresses))

    def retire(self) -> None:
        """Begin nothing new on connections with a former certificate; what is under way goes on."""
        for links in self._peers.values():
            links.retire()

    async def close(self) -> None:
        """Close every connection; return when they have gone, after about a second at most."""
        self._closed = True
        await all_of(*(links.close() for links in self._peers.values()))
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


class _Waiting(Generic[T]):
    """A caller that waits for a connection at ``addresses``."""

    def __init__(self, addresses: tuple[Address, ...]) -> None:
        self.addresses = addresses
        self.granted: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class _WaitingForRoom(_Waiting[tuple[Link, int]]):
    """A caller that waits for a place for ``exchange``, and asked at ``asked_s`` (loop time)."""

    def __init__(self, addresses: tuple[Address, ...], exchange: Exchange, asked_s: float) -> None:
        super().__init__(addresses)
        self.exchange = exchange
        self.asked_s = asked_s


class _PeerLinks:
    """The connections to one peer, and the callers that wait for them.

    One connection at a time is opened, by a task that no caller awaits: callers are served whenever something
    has changed, and looked after every ``_LOOK_AGAIN_S`` seconds.
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
        self._links: list[Link] = []
        self._waiting: list[_WaitingForRoom] = []
        """In turn."""
        self._reaching: list[_Waiting[Link]] = []
        """For any connection."""
        self._tasks = TaskScope()
        self._dial_began_s: float | None = None
        """Loop time, while a connection is being opened."""
        self._dial_again_at_s = 0.0
        """Loop time before which none is opened, unless there is no hope of another."""
        self._ended_unheard = 0
        """Connections in a row that the peer ended before it said anything."""
        self._moved_s = -math.inf
        """Loop time of the last sign that exchanges go on, as long as others wait."""
        self._turn: asyncio.Handle | None = None
        """Serves the callers that wait."""
        self._closed = False

    @property
    def unused(self) -> bool:
        """Whether there is nothing to keep."""
        nobody = not self._waiting and not self._reaching and self._dial_began_s is None
        return nobody and not any(link.connection.open for link in self._links)

    async def enter(self, addresses: tuple[Address, ...], exchange: Exchange) -> tuple[Link, int]:
        """Begin ``exchange``; see :meth:`KeptLinks.enter`."""
        asked_s = self._loop_s()
        if not self._waiting:
            link = self._with_room(addresses, asked_s)
            if link is not None:
                return link, link.enter(exchange)
        one = _WaitingForRoom(addresses, exchange, asked_s)
        self._waiting.append(one)
        self._serve_in(_LOOK_AGAIN_S)
        try:
            return await one.granted
        except BaseException:
            self._withdraw(one)
            raise

    async def reach(self, addresses: tuple[Address, ...]) -> Link:
        """Return a usable connection; see :meth:`KeptLinks.reach`."""
        usable = self._usable()
        if usable:
            return usable[0]
        one: _Waiting[Link] = _Waiting(addresses)
        self._open_one(usable, addresses)
        self._reaching.append(one)
        self._serve_in(_LOOK_AGAIN_S)
        try:
            async with asyncio.timeout(self._limits.dial_s):
                return await one.granted
        except TimeoutError as error:
            raise self._unreachable() from error

    def retire(self) -> None:
        """Begin nothing new on connections with a former certificate."""
        generation = self._dialer.generation
        for link in tuple(self._links):
            if link.generation != generation:
                link.retire()

    async def close(self) -> None:
        """Close every connection, and tell the callers that wait."""
        self._closed = True
        if self._turn is not None:
            self._turn.cancel()
        self._fail(_closed())
        await self._tasks.close()
        for link in tuple(self._links):
            link.close()

    # --- callers that wait ---

    def _withdraw(self, one: _WaitingForRoom) -> None:
        """Give up, and give back a place that was granted and will not be used."""
        granted = one.granted
        if one in self._waiting:
            self._waiting.remove(one)
        elif granted.done() and not granted.cancelled() and granted.exception() is None:
            link, request_id = granted.result()
            link.leave(request_id, over=True)

    def _serve_in(self, delay_s: float) -> None:
        """Serve callers after ``delay_s`` seconds at the latest."""
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
        """Hear that an exchange or a connection has ended."""
        self._serve_in(0)

    def _serve(self) -> None:
        """Give callers what there is, in turn; look again in a while, since doubts end unseen."""
        self._turn = None
        self._forget_the_told()
        usable = self._usable()
        if not usable and self._ended_unheard >= _ENDED_MAX and not self._is_doubt_fresh():
            self._ended_unheard = 0
            error = f"{self._peer} ends every connection at once; try again in a moment."
            self._fail(UnreachableError(error))
        if self._reaching and not usable:
            self._open_one(usable, self._reaching[0].addresses)
        for one in self._reaching if usable else ():
            one.granted.set_result(usable[0])
        for waiting in self._waiting:
            link = self._with_room(waiting.addresses, waiting.asked_s)
            if link is None:
                break
            waiting.granted.set_result((link, link.enter(waiting.exchange)))
        self._refuse_the_stuck()
        self._forget_the_told()
        self._serve_in(_LOOK_AGAIN_S)

    def _refuse_the_stuck(self) -> None:
        """Tell callers that wait for long, and without a sign that room will come, that the peer is busy."""
        late_s = self._loop_s() - ROOM_S
        if not self._waiting or max(self._waiting[0].asked_s, self._moved_s) > late_s:
            return
        for one in self._waiting:
            if one.asked_s <= late_s and not one.granted.done():
                one.granted.set_exception(
                    BusyError(f"Too much is under way with {self._peer}; try again in a moment.")
                )

    def _moved(self) -> None:
        """Hear that an exchange goes on, and tell those that wait: now and then is enough."""
        if not self._waiting:
            return
        now_s = self._loop_s()
        if now_s - self._moved_s >= _LOOK_AGAIN_S:
            self._moved_s = now_s
            for one in self._waiting:
                one.exchange.neighbour_moved()

    def _fail(self, error: Exception, dialled: tuple[Address, ...] | None = None) -> None:
        """Tell callers that nothing will come: all, or those whose addresses were ``dialled``."""
        callers: list[_Waiting[Any]] = [*self._waiting, *self._reaching]
        for one in callers:
            if not one.granted.done() and (dialled is None or one.addresses == dialled):
                one.granted.set_exception(error)
        self._forget_the_told()

    def _forget_the_told(self) -> None:
        self._waiting = [one for one in self._waiting if not one.granted.done()]
        self._reaching = [one for one in self._reaching if not one.granted.done()]

    # --- connections ---

    def _usable(self) -> list[Link]:
        """Return the connections on which exchanges may begin, the least used first."""
        self.retire()
        for link in self._links:
            if link.is_first_heard():
                self._ended_unheard = 0
            elif link.was_refused:
                self._ended_unheard += 1
        self._links = [link for link in self._links if link.connection.open]
        return sorted((link for link in self._links if link.usable), key=len)

    def _with_room(self, addresses: tuple[Address, ...], asked_s: float) -> Link | None:
        """Return a connection on which an exchange may begin now; open one more where that helps.

        ``addresses`` and ``asked_s`` (loop time) are the caller's.
        """
        usable = self._usable()
        free = usable[0] if usable and usable[0].has_room else None
        if free is not None and len(free) < self._limits.crowded_at_requests:
            return free
        self._open_one(usable, addresses)
        if free is None or self._dial_began_s is None:
            return free
        waits_since_s = min(asked_s, self._dial_began_s)
        return free if self._loop_s() - waits_since_s >= ANOTHER_S else None

    def _open_one(self, usable: Sequence[Link], addresses: tuple[Address, ...]) -> None:
        """Begin to open a connection beside those that are ``usable``, if it may be."""
        if self._dial_began_s is not None or len(usable) >= self._limits.connections_per_peer:
            return
        now_s = self._loop_s()
        if now_s < self._dial_again_at_s and (usable or self._is_doubt_fresh()):
            return
        if not usable and self._ended_unheard >= _ENDED_MAX:
            return
        self._dial_began_s = now_s
        self._make_room_for_one(usable)
        self._tasks.spawn(self._dial(addresses))

    def _make_room_for_one(self, usable: Sequence[Link]) -> None:
        """Close connections that are not usable where there are too many, those with the fewest exchanges first."""
        most = 2 * self._limits.connections_per_peer - 1
        doomed = sorted((link for link in self._links if link not in usable), key=len)
        for link in doomed[: max(0, len(self._links) - most)]:
            link.close()

    async def _dial(self, addresses: tuple[Address, ...]) -> None:
        link = Link(
            self._dialer.generation,
            most=self._most,
            idle_s=self._limits.idle_s,
            freed=self._freed,
            moved=self._moved,
        )
        link.connection.open_transports = self._open_transports
        failed: Exception | None = None
        try:
            async with asyncio.timeout(self._limits.dial_s):
                await self._dialer.dial(self._peer, addresses, lambda: link.connection)
                if self._usable():
                    # By TLS 1.3 the peer may still refuse, and nobody needs this one in a hurry.
                    await link.connection.heard(self._limits.dial_s)
        except TimeoutError as error:
            failed = self._unreachable()
            failed.__cause__ = error
        except Exception as error:  # noqa: BLE001 - callers are told, whatever it is
            failed = error
        except BaseException:
            link.close()
            raise
        finally:
            self._dial_began_s = None
        self._dialled(link, failed, addresses)

    def _dialled(
        self, link: Link, failed: Exception | None, addresses: tuple[Address, ...]
    ) -> None:
        """Go on with a new link, or without."""
        if failed is None:
            self._links.append(link)
            link.rest()
        else:
            link.close()
            self._ended_unheard = 0
            if self._usable():
                self._dial_again_at_s = self._loop_s() + ANOTHER_AGAIN_S
            elif self._is_doubt_fresh():
                self._dial_again_at_s = self._loop_s() + _AGAIN_S
            else:
                self._fail(failed, addresses)
        self._serve_in(0)

    def _is_doubt_fresh(self) -> bool:
        """Whether a connection was put in doubt so shortly ago that it may just be slow."""
        since_s = self._loop_s() - self._limits.dial_s
        return any(link.is_doubted_since(since_s) for link in self._links)

    def _unreachable(self) -> UnreachableError:
        return UnreachableError(
            f"No connection to {self._peer} within {self._limits.dial_s:g} s; check that it runs."
        )

    @staticmethod
    def _loop_s() -> float:
        return asyncio.get_running_loop().time()
