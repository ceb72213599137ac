"""One kept connection to a peer, and which request an answer on it belongs to.

Invariant: an exchange hears of its own frames only, and of none after it has left its link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from collective.core.errors import CollectiveError, UnreachableError
from collective.rpc.errors import from_detail
from collective.rpc.gen.collective.v1 import ErrorDetail
from collective.transfer.stream.connection import ChunkConnection
from collective.transfer.stream.frames import (
    Blocked,
    Frame,
    FrameType,
    FramingError,
    PayloadTarget,
    parse_head,
)

EXCHANGES_MAX: Final = 64
"""Requests at once on one connection; servers refuse more."""
FOREIGN_EXCHANGES_MAX: Final = 16
"""Requests at once on a connection between two members, which may have many of these."""
_ANSWERS: Final = frozenset(
    {FrameType.PUT_RESULT, FrameType.GET_RESULT, FrameType.DATA, FrameType.ERROR}
)
_REQUEST_IDS: Final = (1 << 32) - 1


class Exchange(Protocol):
    """One request under way on a link."""

    def answered(self, frame: Frame, head: bytes) -> PayloadTarget | None:
        """Hear of an answer frame; return where its payload lands, None to discard it."""
        ...

    def failed(self, error: CollectiveError) -> None:
        """Hear that no answer will come."""
        ...

    def neighbour_moved(self) -> None:
        """Hear that another exchange with the peer sent payload, or had some of its answer."""
        ...


class Link:
    """One connection to a peer and the exchanges on it."""

    def __init__(
        self,
        generation: int,
        *,
        most: int,
        idle_s: float,
        freed: Callable[[], None],
        moved: Callable[[], None],
    ) -> None:
        """Be a handler of a connection to be dialled.

        Args:
            generation: of the certificate with which it is dialled.
            most: exchanges on it at once.
            idle_s: after so long without any it is closed.
            freed: called when one has ended, and when the connection has.
            moved: called when one has sent payload, or had an answer.
        """
        self.generation = generation
        self._most = most
        self._idle_s = idle_s
        self._freed = freed
        self._moved = moved
        self.connection = ChunkConnection()
        self.connection.handler = self
        self.turn = asyncio.Lock()
        """Held by a put while it sends payload that is there already: one after the other is kinder
        to the memory of hops than all at once."""
        self._exchanges: dict[int, Exchange] = {}
        self._last_id = 0
        self._doubted_at_frame: int | None = None
        self._doubted_at_s = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._retired = False
        self._was_closed_here = False
        self._was_heard = False

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

    def is_doubted_since(self, loop_s: float) -> bool:
        """Whether it is open, and in doubt since that time at the earliest: it may well be usable soon."""
        is_open = self.connection.open and not self._retired
        return is_open and not self.usable and self._doubted_at_s > loop_s

    def is_first_heard(self) -> bool:
        """Tell, once, that the peer has said something."""
        is_first = self.connection.frames_received > 0 and not self._was_heard
        self._was_heard = self._was_heard or is_first
        return is_first

    @property
    def was_refused(self) -> bool:
        """Whether the peer ended it before it said anything."""
        was_silent = not self.connection.open and not self.connection.frames_received
        return was_silent and not self._was_closed_here

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
        self._moved()

    def leave(self, request_id: int, *, over: bool) -> None:
        """End an exchange; if it is not ``over`` at the peer, cancel it there and doubt the peer."""
        if self._exchanges.pop(request_id, None) is None:
            return
        if not over and self.connection.open:
            self.connection.send(FrameType.CANCEL, request_id)
            self.connection.send(FrameType.PING, 0)
            if self._doubted_at_frame != self.connection.frames_received:
                self._doubted_at_frame = self.connection.frames_received
                self._doubted_at_s = asyncio.get_running_loop().time()
        self.rest()
        self._freed()

    def rest(self) -> None:
        """Close in a while, unless an exchange is under way or begins before."""
        if not self._exchanges and self.connection.open and self._idle_timer is None:
            loop = asyncio.get_running_loop()
            delay_s = 0 if self._retired else self._idle_s
            self._idle_timer = loop.call_later(delay_s, self._close_idle)

    def retire(self) -> None:
        """Begin nothing new here and close once nothing is under way."""
        self._retired = True
        if not self._exchanges:
            self.close()

    def close(self) -> None:
        """Close the connection and fail what is on it."""
        self._was_closed_here = True
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
        self._moved()
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
