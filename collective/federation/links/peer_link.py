"""The connection to one peer: one channel, its health, and the bounds of what goes over it.

Nothing here is shared between peers: one that hangs, floods or lies uses up its own bounds alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from collective.core.clock import Clock
from collective.core.errors import (
    BusyError,
    CollectiveError,
    OtherAuthorityError,
    PeeringEndedError,
    ShutOutError,
    UnreachableError,
    WrongTimeError,
)
from collective.core.ids import Domain, SpiffeId
from collective.core.units import Address
from collective.federation.links.circuit_breaker import PeerHealth
from collective.federation.links.tallies import PeerTallies
from collective.model.peers import Reach
from collective.rpc.http2.member_share import MemberShare
from collective.rpc.links import Channel, Links, OwnCredentials

CALLS_MAX: Final = 64
"""Calls to one peer that are under way."""
WAITING_MAX: Final = 64
"""Calls to one peer that wait for one of these to end."""
WAITS_MAX: Final = 64
"""Calls to one peer that wait there for something to change."""
CONNECT_TIMEOUT_S: Final = 1.5
"""For each address: over before the exchange is, else nothing says which one was silent."""
ASKED_EARLY_S: Final = 30.0
"""How often a peer that is away, but calls, is looked for before its time."""


@dataclass(slots=True, eq=False)
class _Kept:
    """A channel, and how many calls are under way on it."""

    channel: Channel
    calls: int = 0
    is_retired: bool = False

    def leave(self) -> None:
        """End one call; close the channel with the last of one that is retired."""
        self.calls -= 1
        if self.is_retired and not self.calls:
            self.channel.close()

    def retire(self) -> None:
        """Begin nothing new on it."""
        self.is_retired = True
        if not self.calls:
            self.channel.close()


class PeerLink:
    """What goes to the coordinator of one peer."""

    def __init__(
        self,
        domain: Domain,
        addresses: Sequence[Address],
        own: OwnCredentials,
        links: Links,
        clock: Clock,
        tallies: PeerTallies,
    ) -> None:
        """Reach ``domain`` at ``addresses``; nothing is opened before the first call."""
        self.domain: Final = domain
        self.health: Final = PeerHealth(domain)
        self.reach_told: Reach | None = None
        """How the peer reaches this member, as it said last."""
        self.is_in_doubt = False
        """Whether a call had no answer since the last exchange: the next one is due at once."""
        self._own = own
        self._links = links
        self._clock = clock
        self._tallies = tallies
        self._addresses = tuple(addresses)
        self._kept: _Kept | None = None
        self._retired: list[_Kept] = []
        self._share = MemberShare(domain)
        self._slots = asyncio.Semaphore(CALLS_MAX)
        self._waits = asyncio.Semaphore(WAITS_MAX)
        self._waiting = 0
        self._is_closed = False
        self._reach: Reach | None = None
        self._asked_early_s = -math.inf

    @property
    def identity(self) -> SpiffeId:
        """The peer's coordinator."""
        return SpiffeId.coordinator(self.domain)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it may be found, as its bundle says."""
        return self._addresses

    @property
    def is_connected(self) -> bool:
        """Whether the connection to it stands."""
        return self._kept is not None and self._kept.channel.is_connected

    @property
    def reach(self) -> Reach | None:
        """How this member reaches the peer, as it is told; None while nothing sure is known."""
        return self._reach

    def move(self, addresses: Sequence[Address]) -> None:
        """Look for it elsewhere from now on; the connection that stands stays."""
        if tuple(addresses) != self._addresses:
            self._addresses = tuple(addresses)
            kept = self._kept
            if kept is not None and not kept.channel.is_connected:
                self._kept = None
                kept.channel.close()

    @asynccontextmanager
    async def call(self, within_s: float) -> AsyncIterator[tuple[Channel, float]]:
        """Lend the channel for one call, with the seconds that are left of ``within_s`` for it.

        Waiting for its turn is part of the call's time: one that has waited all of it is not sent.

        Raises:
            AwayError: the peer is away.
            PeeringEndedError: it is no peer any more.
            BusyError: too many calls wait for it, or this one's turn did not come in time.
        """
        async with self._calling(self._slots, within_s) as lent:
            yield lent

    @asynccontextmanager
    async def wait(self, within_s: float) -> AsyncIterator[tuple[Channel, float]]:
        """Lend the channel for a call that waits there, as :meth:`call`; it takes no other call's turn.

        BusyError at once where WAITS_MAX wait already.
        """
        if self._waits.locked():
            raise BusyError(
                f"{WAITS_MAX} watches at {self.domain} wait already; end one, or ask without waiting."
            )
        async with self._calling(self._waits, within_s) as lent:
            yield lent

    @asynccontextmanager
    async def _calling(
        self, slots: asyncio.Semaphore, within_s: float
    ) -> AsyncIterator[tuple[Channel, float]]:
        if round(within_s, 1) <= 0:
            raise self._too_late(within_s)
        self._require()
        until_s = self._clock.monotonic_s() + within_s
        await self._take_turn(slots, within_s)
        began_s, result = self._clock.monotonic_s(), "cancelled"
        try:
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0:
                raise self._too_late(within_s)
            self._require()
            with self.exchange() as channel:
                yield channel, left_s
            result = "ok"
        except CollectiveError as error:
            result = error.code
            if isinstance(error, UnreachableError) and self.health.away_since_s is None:
                self.is_in_doubt = True
            raise
        finally:
            self._tallies.calls(self.domain, result, self._clock.monotonic_s() - began_s)
            slots.release()

    async def _take_turn(self, slots: asyncio.Semaphore, within_s: float) -> None:
        """Take a slot, waiting ``within_s`` seconds at most; cancellation takes none."""
        if not slots.locked():
            await slots.acquire()
            return
        if self._waiting >= WAITING_MAX:
            raise BusyError(f"Too many calls wait for {self.domain}; try again in a moment.")
        self._waiting += 1
        try:
            async with asyncio.timeout(within_s):
                await slots.acquire()
        except TimeoutError as error:
            raise self._too_late(within_s) from error
        finally:
            self._waiting -= 1

    def _too_late(self, within_s: float) -> BusyError:
        if round(within_s, 1) <= 0:
            return BusyError(
                f"No time was left for a call to {self.domain}; try again with a longer deadline."
            )
        return BusyError(
            f"Other calls to {self.domain} took all the {within_s:.1f} s that this one had; try again in"
            " a moment."
        )

    def _require(self) -> None:
        if self._is_closed:
            raise PeeringEndedError(f"{self.domain} is no peer any more.")
        self.health.require()

    @contextmanager
    def exchange(self) -> Iterator[Channel]:
        """Lend the channel for an exchange, which waits for no call; PeeringEndedError after the end."""
        kept = self._current()
        kept.calls += 1
        try:
            yield kept.channel
        finally:
            kept.leave()

    def _current(self) -> _Kept:
        if self._is_closed:
            raise PeeringEndedError(f"{self.domain} is no peer any more.")
        if self._kept is None:
            channel = self._links.channel(
                self._addresses,
                credentials=self._own.credentials,
                gate=self._own.gate,
                expect=self.identity,
                connect_timeout_s=CONNECT_TIMEOUT_S,
                share=self._share,
            )
            self._kept = _Kept(channel)
        return self._kept

    def retire(self) -> None:
        """Open another connection for what comes next, with the certificate of now."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._retired = [one for one in self._retired if one.calls]
            self._retired.append(kept)
            kept.retire()

    def may_be_asked_early(self, now_s: float) -> bool:
        """Tell whether a call of a peer that is away is reason to look for it before its time.

        Not again and again: where it says that it is may be a third party.
        """
        if self.health.away_since_s is None or now_s - self._asked_early_s < ASKED_EARLY_S:
            return False
        self._asked_early_s = now_s
        return True

    def answered(self, began_s: float) -> None:
        """Take an answered exchange into account that began at ``began_s`` (monotonic)."""
        self._asked_early_s = -math.inf
        self.is_in_doubt = False
        self._reach = Reach.REACHED
        self.health.succeeded(self._clock.wall_s(), self._clock.monotonic_s() - began_s)

    def failed(self, error: CollectiveError) -> bool:
        """Take a failed exchange into account; return whether the peer went away by it.

        The connection is given up, and with it what waits on it.  Of a peer that never answered, the first
        failure is told to nobody: its end of the peering may not be ready yet.
        """
        why = error.message
        if isinstance(error, ShutOutError):
            why = "it has ended the peering; ask its operator"
        self.is_in_doubt = False
        went = self.health.failed(self._clock.wall_s(), why)
        if self._reach is not None or self.health.failures > 1:
            self._reach = _reach_by(error)
        self._drop()
        return went

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        for one in (kept, *self._retired):
            if one is not None:
                one.channel.close()
        self._retired.clear()

    def close(self) -> None:
        """End it, and every call that is under way; idempotent."""
        self._is_closed = True
        self._drop()


def _reach_by(error: CollectiveError) -> Reach:
    """Return what a peer is told of a failure to reach it."""
    if isinstance(error, OtherAuthorityError):
        return Reach.OTHER_AUTHORITY
    if isinstance(error, WrongTimeError):
        return Reach.CLOCKS_DIFFER
    return Reach.NOT_REACHED
