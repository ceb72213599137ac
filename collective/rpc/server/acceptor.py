"""Accepts connections and takes them through the TLS handshake, of which only so many wait at once.

Owns the listening sockets and every connection until its handshake has ended.  Invariants: at most
``HANDSHAKES_MAX`` are unfinished; beyond that the oldest of the address that has most of them is cut
off, so that silent connections hold neither descriptors nor the way in.  One address may have them
all while nobody else comes: behind it there may be many, and all may come at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import structlog

from collective.core.errors import CannotListenError
from collective.core.unauthenticated_slots import UnauthenticatedSlots
from collective.core.units import Address

HANDSHAKES_MAX: Final = 256
BACKLOG: Final = 256
_PAUSE_S: Final = 0.1
"""After an accept that failed: out of descriptors, most likely."""

_NOT_HERE: Final = frozenset((errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL))
"""The kernel has no IPv6, say, but the name resolves to ::1 as well."""
_Found = tuple[int, int, int, str, tuple[Any, ...]]
"""What getaddrinfo says: family, kind, protocol, canonical name, address."""


class Door:
    """One listening address; as much of ``asyncio.Server`` as grpclib needs."""

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        tls: Callable[[], ssl.SSLContext],
        *,
        handshake_timeout_s: float,
        shutdown_timeout_s: float,
    ) -> None:
        """Give connections whose handshake is done to a protocol of ``factory``.

        ``tls`` gives the context of each handshake.
        """
        self._factory = factory
        self._tls = tls
        self._handshake_timeout_s = handshake_timeout_s
        self._shutdown_timeout_s = shutdown_timeout_s
        self._slots: UnauthenticatedSlots[socket.socket] = UnauthenticatedSlots(HANDSHAKES_MAX)
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("collective.rpc.acceptor")

    @property
    def unfinished(self) -> int:
        """Handshakes that have not ended."""
        return len(self._slots)

    async def open(self, address: Address) -> Address:
        """Listen on ``address``; return it with the port that was taken.

        Raises:
            CannotListenError: The address cannot be listened on.
        """
        self._sockets.extend(await _listening_on(address))
        port = int(self._sockets[0].getsockname()[1])
        for listening in self._sockets:
            self._spawn(self._accept(listening))
        return Address(address.host, port)

    def close(self) -> None:
        """Accept nobody any more, and cut off peers in the handshake."""
        for task in self._tasks:
            task.cancel()
        for listening in self._sockets:
            with contextlib.suppress(OSError):
                asyncio.get_running_loop().remove_reader(listening.fileno())
            listening.close()
        self._sockets.clear()

    async def wait_closed(self) -> None:
        """Return when nothing of this runs any more."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, where = await loop.sock_accept(listening)
            except OSError as error:
                self._log.warning("accept failed", reason=str(error))
                await asyncio.sleep(_PAUSE_S)
                continue
            connection.setblocking(False)
            source = str(where[0])
            pushed_out = self._slots.enter(source, connection)
            if pushed_out is not None:
                _cut_off(pushed_out)
            self._spawn(self._shake_hands(connection, source))
            await asyncio.sleep(0)  # sock_accept does not wait while others do: handshakes go on

    async def _shake_hands(self, connection: socket.socket, source: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._factory,
                connection,
                ssl=self._tls(),
                ssl_handshake_timeout=self._handshake_timeout_s,
                ssl_shutdown_timeout=self._shutdown_timeout_s,
            )
        except (OSError, ssl.SSLError) as error:
            self._log.debug("handshake failed", source=source, reason=str(error))
        finally:
            self._slots.leave(source, connection)


async def require_free(address: Address) -> None:
    """Return if ``address`` can be listened on now; raises as :meth:`Door.open` otherwise."""
    for listening in await _listening_on(address):
        listening.close()


async def _listening_on(address: Address) -> list[socket.socket]:
    """Return what listens wherever ``address`` leads; CannotListenError where nothing can."""
    sockets: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        _listen(found, sockets)
    except (OSError, UnicodeError) as error:  # the latter of a host that no name can be
        for listening in sockets:
            listening.close()
        said = error.strerror if isinstance(error, OSError) else "that is no host name"
        reason = (said or str(error)).rstrip(".").lower()
        raise CannotListenError(f"Cannot listen on {address}: {reason}.") from error
    return sockets


def _listen(found: Sequence[_Found], sockets: list[socket.socket]) -> None:
    """Add what listens wherever the name leads; what this machine does not have is skipped."""
    absent: OSError | None = None
    for family, kind, protocol, _, where in dict.fromkeys(found):
        try:
            sockets.append(_listening(family, kind, protocol, where))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            log = structlog.get_logger("collective.rpc.acceptor")
            log.info("address skipped", address=str(where[0]), reason=error.strerror)
            absent = error
    if absent is not None and not sockets:
        raise absent


def _listening(family: int, kind: int, protocol: int, where: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(where)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _cut_off(connection: socket.socket) -> None:
    """End a connection that its transport owns: that sees it closed by the other end."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
