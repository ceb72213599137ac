"""Who is connected to a listener: bounded in all, for each holder, and fair between them.

The holder of a connection is its identity, or its source where clients have no certificate.  When all
places are taken, a newcomer whose holder has few is let in, and the holder with most loses one; where
nobody has more than a few, the source with most does; of its connections one that is not in use, the
one quiet for longest.  So a holder of many connections pushes out its own first, and so does one of
many identities, unless it shares the others' address; and as long as there is room, any number
may come from one address: behind it there may be many.  Whoever comes from another member is one holder
with all others of that member, which could name any number of people.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from grpclib.server import Handler

from collective.core.errors import BusyError
from collective.pki.certificates import Certified

_PREFIX_BITS: Final = 64
"""What one household has of IPv6 (RFC 6177), and can take addresses from as it likes."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many may be connected, and for how long."""

    in_all: int
    per_holder: int
    per_member: int = 64
    """Of everybody whom one other member vouches for."""
    few: int = 8
    """Holders with no more than that are equals: what a client or node needs to work."""
    idle_s: float | None = None
    """A connection with no call running for that long is ended; None: never."""
    life_s: float | None = None
    """A connection is ended after that, whatever it does; None: never."""


CERTIFIED: Final = Bounds(in_all=1024, per_holder=256)
"""Where the gate knows everybody."""
UNCERTIFIED: Final = Bounds(in_all=128, per_holder=128, idle_s=10.0, life_s=60.0)
"""Where anybody may come: for a redemption or a renewal, which takes two calls."""


@dataclass(slots=True, eq=False)
class OpenConnection:
    """A connection that passed the gate."""

    transport: asyncio.Transport
    peer: Certified | None
    alpn: str
    protocol: asyncio.BaseProtocol
    source: str = ""
    member: str = ""
    """The other member that vouches for the peer; empty for the own one's."""
    opened_s: float = 0.0
    handler: Handler | None = None
    """Of a gRPC connection: has its calls."""
    used_s: float = field(init=False)
    """When it was last seen in use."""
    exchanges: int = 0
    """Exchanges of batched calls on it."""

    def __post_init__(self) -> None:
        """Count as used when it is opened."""
        self.used_s = self.opened_s

    @property
    def holder(self) -> str:
        """Who it counts for."""
        return _holder(self.peer, self.source, self.member)

    def is_in_use(self) -> bool:
        """Tell whether a call runs; of a chunk stream that is not known."""
        return self.handler is not None and not self.handler.check_closed()


def _holder(peer: Certified | None, source: str, member: str) -> str:
    return member or (source if peer is None else str(peer.identity))


def source_of(host: str) -> str:
    """Return what counts as one source: an IPv4 address, or the prefix that one IPv6 site has."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _PREFIX_BITS), strict=False))


class Crowd:
    """The connections of one listener."""

    def __init__(self, bounds: Bounds, now_s: Callable[[], float]) -> None:
        """Keep to ``bounds``; ``now_s`` is a time that passes evenly, seconds."""
        self._bounds = bounds
        self._now_s = now_s
        self._open: dict[asyncio.Transport, OpenConnection] = {}

    def __len__(self) -> int:
        return len(self._open)

    def get(self, transport: asyncio.Transport) -> OpenConnection | None:
        """Return the connection of ``transport``, if it counts still."""
        return self._open.get(transport)

    def all(self) -> tuple[OpenConnection, ...]:
        """Return every connection that stands."""
        for transport in [t for t in self._open if t.is_closing()]:
            del self._open[transport]
        return tuple(self._open.values())

    def make_room(
        self, peer: Certified | None, source: str, member: str = ""
    ) -> OpenConnection | None:
        """Return who has to give way to one more connection of ``peer``; they count no longer.

        ``member``: the other member that vouches for ``peer``, if one does.

        Raises:
            BusyError: it is the newcomer who has too many, or as many as anybody.
        """
        standing = self.all()
        holder = _holder(peer, source, member)
        most = self._bounds.per_member if member else self._bounds.per_holder
        by_holder = Counter(one.holder for one in standing)
        if peer is not None and by_holder[holder] >= most:
            raise BusyError(f"Too many connections of {member or peer.identity}.")
        if len(standing) < self._bounds.in_all:
            return None
        by_source = Counter(one.source for one in standing)
        out = min(
            standing,
            key=lambda one: (
                -self._excess(by_holder[one.holder]),
                -by_source[one.source],
                one.is_in_use(),
                one.used_s,
            ),
        )
        if peer is not None:
            mine = by_holder[holder]
            is_larger = self._excess(by_holder[out.holder]) > self._excess(mine) + 1
            is_of_larger_source = by_source[out.source] > by_source[source] + 1
            may_enter = mine < self._bounds.few or is_larger or is_of_larger_source
            if out.holder == holder or not may_enter:
                raise BusyError("Too many connections.")
        self.forget(out.transport)
        return out

    def _excess(self, count: int) -> int:
        return max(0, count - self._bounds.few)

    def add(self, connection: OpenConnection) -> None:
        """Count ``connection``, for which there is room."""
        connection.opened_s = connection.used_s = self._now_s()
        self._open[connection.transport] = connection

    def forget(self, transport: asyncio.Transport) -> None:
        """Count the connection of ``transport`` no longer."""
        self._open.pop(transport, None)

    def overdue(self) -> list[OpenConnection]:
        """Return the connections that were idle or lived for too long; call it again and again."""
        now_s, found = self._now_s(), []
        idle_s, life_s = self._bounds.idle_s, self._bounds.life_s
        for one in self.all():
            if one.is_in_use():
                one.used_s = now_s
            is_idle = idle_s is not None and now_s - one.used_s >= idle_s
            if is_idle or (life_s is not None and now_s - one.opened_s >= life_s):
                found.append(one)
        return found
