"""The moment between the TLS handshake and the first byte: who is it, and which protocol.

:class:`Handshaken` is the protocol that a fresh connection gets.  It checks the peer's certificate
and either hands the transport to the protocol that was negotiated or aborts; it acts on no data.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from collective.core.errors import CollectiveError, RejectedError

Admit = Callable[[ssl.SSLObject, str | None, asyncio.Transport], asyncio.BaseProtocol]
"""(handshake, ALPN chosen, transport) to the protocol that takes over; raises to refuse."""

Refused = Callable[[CollectiveError, str], None]
Farewell = Callable[[CollectiveError, str | None, asyncio.Transport], bool]
"""(why, ALPN chosen, transport): whether it saw to the end of the connection itself."""


def leaf_of(handshake: ssl.SSLObject) -> bytes:
    """Return the certificate (DER) that the other end showed; empty if it showed none."""
    return handshake.getpeercert(binary_form=True) or b""


def host_of(transport: asyncio.BaseTransport) -> str:
    """Return the host at the other end; empty if that is not known (any more)."""
    address = transport.get_extra_info("peername")
    return str(address[0]) if isinstance(address, tuple) and address else ""


class Handshaken(asyncio.Protocol):
    """Hands one connection over after ``admit`` has agreed, or aborts it."""

    def __init__(self, admit: Admit, refused: Refused, farewell: Farewell | None = None) -> None:
        """``refused`` is told why a connection was aborted, and from which host it came.

        ``farewell`` may send the peer a last word instead of aborting at once.
        """
        self._admit = admit
        self._farewell = farewell
        self._refused = refused
        self.successor: asyncio.BaseProtocol | None = None
        self.error: CollectiveError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Decide, before any byte from the peer is delivered."""
        transport = cast("asyncio.Transport", transport)
        ssl_object: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        try:
            if ssl_object is None:
                raise RejectedError("The connection has no TLS.")
            successor = self._admit(ssl_object, ssl_object.selected_alpn_protocol(), transport)
        except CollectiveError as error:
            self.error = error
            source = host_of(transport)
            alpn = ssl_object.selected_alpn_protocol() if ssl_object is not None else None
            if self._farewell is None or not self._farewell(error, alpn, transport):
                transport.abort()
            self._refused(error, source)
            return
        self.successor = successor
        transport.set_protocol(successor)
        successor.connection_made(transport)
