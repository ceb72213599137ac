"""Kept connections to peers, by SPIFFE id, and which request an answer belongs to.

Invariant: an exchange hears of its own frames only, and of none after it has left its link.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import betterproto2

from collective.core.errors import CollectiveError, RejectedError, UnreachableError
from collective.core.ids import Domain, SpiffeId
from collective.core.tasks import TaskScope
from collective.core.units import Address
from collective.rpc.errors import from_detail
from collective.rpc.gen.collective.v1 import ErrorDetail
from collective.rpc.http2.closing import OpenTransports
from collective.rpc.links import Dialer
from collective.rpc.wire.decoding import parse_message
from collective.transfer.stream.connection import ChunkConnection
from collective.transfer.stream.frames import Blocked, Frame, FrameType, FramingError, PayloadTarget

M = TypeVar("M", bound=betterproto2.Message)

EXCHANGES_MAX: Final = 64
"""Requests at once on one connection; servers refuse more."""
FOREIGN_EXCHANGES_MAX: Final = 16
"""Requests at once on a connection between two members, which may have many of these."""
_ATTEMPTS: Final = 3
"""Connections tried for one request when each is closed as soon as it is open."""
_ANSWERS: Final = frozenset(
    {FrameType.PUT_RESULT, FrameType.GET_RESULT, FrameType.DATA, FrameType.ERROR}
)
_REQUEST_IDS: Final = (1 << 32) - 1


def parse_head(message_class: type[M], head: bytes) -> M:
    """Return the message in a frame's head, or raise :class:`FramingError`."""
    try:
        return parse_message(message_class, head)
    except RejectedError as error:
        raise FramingError(f"The {message_class.__name__} of a frame does not parse.") from error


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


class Exchange(Protocol):
    """One request under way on a link."""

    def answered(self, frame: Frame, head: bytes) -> PayloadTarget | None:
        """Hear of an answer frame; return where its payload lands, None to discard it."""
        ...

    def failed(self, error: CollectiveError) -> None:
        """Hear that no answer will come."""
        ...

    def neighbour_moved(self) -> None:
        """Hear that another exchange of the link sent payload."""
        ...


class Link:
    """One connection to a peer and the exchanges on it."""

    def __init__(self, generation: int, most: int, freed: Callable[[], None]) -> None:
        """Be a handler of a connection to be dialled, with the certificate of ``generation``.

        ``most`` exchanges are on it at once; ``freed`` is called when one of them has ended.
        """
        self.generation = generation
        self._most = most
        self._freed = freed
        self.connection = ChunkConnection()
        self.connection.handler = self
        self.turn = asyncio.Lock()
        """Held by a put while it sends payload that is there already: one after the other is kinder
        to the memory of hops than all at once."""
        self._exchanges: dict[int, Exchange] = {}
        self._last_id = 0
        self._doubted_at_frame: int | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._retired = False

    def __len__(self) -> int:
        return len(self._exchanges)

    @property
    def usable(self) -> bool:
        """Whether new exchanges may begin here, room provided: open, and heard of since doubted."""
        if self._retired:
            return False
        if self._doubted_at_frame is not None:
            if self.connection.frames_received == self._doubted_at_frame:
                return False
            self._doubted_at_frame = None
        return self.connection.open

    @property
    def has_room(self) -> bool:
        """Whether the other end takes one more exchange."""
        return len(self._exchanges) < self._most

    def enter(self, exchange: Exchange) -> int:
        """Begin an exchange; returns its request id."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        while True:
            self._last_id = self._last_id % _REQUEST_IDS + 1
            if self._last_id not in self._exchanges:
                break
        self._exchanges[self._last_id] = exchange
        return self._last_id

    def moved(self, request_id: int) -> None:
        """Tell the others that this exchange sent payload, while they wait for their turn."""
        for other, exchange in self._exchanges.items():
            if other != request_id:
                exchange.neighbour_moved()

    def leave(self, request_id: int, idle_s: float, *, over: bool) -> None:
        """End an exchange; if it is not ``over`` at the peer, cancel it there and doubt the peer."""
        if self._exchanges.pop(request_id, None) is None:
            return
        if not over and self.connection.open:
            self.connection.send(FrameType.CANCEL, request_id)
            self.connection.send(FrameType.PING, 0)
            self._doubted_at_frame = self.connection.frames_received
        if not self._exchanges and self.connection.open:
            loop = asyncio.get_running_loop()
            self._idle_timer = loop.call_later(0 if self._retired else idle_s, self._close_idle)
        self._freed()

    def retire(self) -> None:
        """Begin nothing new here and close once nothing is under way."""
        self._retired = True
        if not self._exchanges:
            self.close()

    def close(self) -> None:
        """Close the connection and fail what is on it."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self.connection.write_paused:
            self.connection.abort(UnreachableError("The connection was closed."))
        else:
            self.connection.close()

    def _close_idle(self) -> None:
        self._idle_timer = None
        if not self._exchanges:
            self.close()

    # --- ConnectionHandler ---

    def frame_begun(self, frame: Frame, head: bytes) -> PayloadTarget | Blocked | None:
        """Pass an answer to its exchange; late answers are dropped."""
        if frame.type not in _ANSWERS:
            raise FramingError(f"A {frame.type.name} frame is no answer.")
        if frame.type is FrameType.ERROR and not frame.request_id:
            error = from_detail(parse_head(ErrorDetail, head))
            self.connection.abort(UnreachableError(f"The peer closed: {error.message}"))
            return None
        exchange = self._exchanges.get(frame.request_id)
        return exchange.answered(frame, head) if exchange is not None else None

    def connection_lost(self, error: CollectiveError) -> None:
        """Fail all exchanges."""
        exchanges, self._exchanges = self._exchanges, {}
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        for exchange in exchanges.values():
            exchange.failed(error)
            self._freed()


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
        self._links: dict[SpiffeId, list[Link]] = {}
        self._dials: dict[SpiffeId, asyncio.Task[Link]] = {}
        self._waiting: dict[SpiffeId, deque[asyncio.Future[None]]] = {}
        """Those for whom there is no room on any connection to a peer."""
        self._tasks = TaskScope()
        self._closed = False
        self._open_transports = OpenTransports()
        self.idle_s = limits.idle_s
        dialer.attach(self)

    async def link(self, peer: SpiffeId, addresses: Sequence[Address]) -> Link:
        """Return the least used connection to ``peer``, opening one where that helps.

        Waits where there is no room on any.  Cancellation leaves a connection that is being opened to the
        next caller.

        Raises:
            UnreachableError: none can be opened within the deadline.
            RejectedError: somebody else answers.
        """
        try:
            return await self._link(peer, addresses)
        except BaseException:
            self._wake(peer)  # those behind us wait for an end of ours that will not come
            raise

    async def _link(self, peer: SpiffeId, addresses: Sequence[Address]) -> Link:
        attempts = 0
        while attempts < _ATTEMPTS:
            if self._closed:
                raise UnreachableError("This client is closed; open another.")
            usable = self._usable(peer)
            free = usable[0] if usable and usable[0].has_room else None
            may_dial = len(usable) < self._limits.connections_per_peer
            if free is not None and (len(free) < self._limits.crowded_at_requests or not may_dial):
                return free
            if not may_dial:
                await self._room(peer)
                continue
            try:
                link = await asyncio.shield(self._dialled(peer, addresses))
            except UnreachableError:
                if free is None or not free.usable or not free.has_room:
                    raise
                return free
            if link.usable and link.has_room:
                return link
            attempts += not link.usable
        raise UnreachableError(f"{peer} ends every connection at once; try again in a moment.")

    def _usable(self, peer: SpiffeId) -> list[Link]:
        """Return the connections to ``peer`` on which exchanges may begin, the least used first."""
        self.retire()
        links = [link for link in self._links.get(peer, ()) if link.connection.open]
        if links:
            self._links[peer] = links
        else:
            self._links.pop(peer, None)
        return sorted((link for link in links if link.usable), key=len)

    def _dialled(self, peer: SpiffeId, addresses: Sequence[Address]) -> asyncio.Task[Link]:
        """Return the task that opens a connection to ``peer``; one at a time does."""
        dial = self._dials.get(peer)
        if dial is None:
            links = self._links.get(peer, [])
            for old in links[: max(0, len(links) - 2 * self._limits.connections_per_peer + 1)]:
                old.close()
            dial = self._tasks.spawn(self._dial(peer, tuple(addresses)))
            self._dials[peer] = dial
        return dial

    async def _room(self, peer: SpiffeId) -> None:
        """Wait until an exchange with ``peer`` has ended; those who wait are woken in turn."""
        waiting = self._waiting.setdefault(peer, deque())
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(freed)
        try:
            await freed
        finally:
            if freed in waiting:
                waiting.remove(freed)
            if not waiting and self._waiting.get(peer) is waiting:
                del self._waiting[peer]

    def _wake(self, peer: SpiffeId) -> None:
        """Let the next who waits for ``peer`` look again."""
        waiting = self._waiting.get(peer, deque())
        while waiting:
            freed = waiting.popleft()
            if not freed.done():
                freed.set_result(None)
                return

    def retire(self) -> None:
        """Begin nothing new on connections with a former certificate; what is under way goes on."""
        generation = self._dialer.generation
        for links in self._links.values():
            for link in links:
                if link.generation != generation:
                    link.retire()

    async def close(self) -> None:
        """Close every connection; return when they have gone, after about a second at most."""
        self._closed = True
        await self._tasks.close()
        for links in self._links.values():
            for link in links:
                link.close()
        self._links.clear()
        await self._open_transports.leave()

    async def _dial(self, peer: SpiffeId, addresses: tuple[Address, ...]) -> Link:
        most = EXCHANGES_MAX if peer.trust_domain == self._home else FOREIGN_EXCHANGES_MAX
        link = Link(self._dialer.generation, most, partial(self._wake, peer))
        link.connection.open_transports = self._open_transports
        try:
            async with asyncio.timeout(self._limits.dial_s):
                await self._dialer.dial(peer, addresses, lambda: link.connection)
            self._links.setdefault(peer, []).append(link)
        except TimeoutError as error:
            raise UnreachableError(
                f"No connection to {peer} within {self._limits.dial_s:g} s; check that it runs."
            ) from error
        finally:
            self._dials.pop(peer, None)
        return link
