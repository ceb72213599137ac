"""Opens chunk-stream connections to a peer of known SPIFFE id.

:class:`Dialer` is what clients and servers of the chunk stream use; :class:`TlsDialer` is the one
over TLS, and tests pass their own over memory.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.pki.certificates import Certified
from collective.rpc.connect import open_first
from collective.rpc.identity import Gate

ADDRESS_TIMEOUT_S: Final = 3.0

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class Dialer(Protocol):
    """Connects a protocol to a peer, or raises."""

    async def dial(
        self, peer: SpiffeId, addresses: Sequence[Address], factory: ProtocolFactory
    ) -> None:
        """Connect a protocol made by ``factory`` to ``peer`` at one of ``addresses``.

        When this returns, ``connection_made`` was called and the peer's certificate proved to be
        ``peer``.  Cancellation closes whatever was opened.

        Raises:
            UnreachableError: no address answered within the deadline.
            RejectedError: somebody else answered.
        """
        ...


class TlsDialer:
    """Dials over mutual TLS 1.3 with ALPN ``collective-chunk/1``."""

    def __init__(
        self,
        tls: Callable[[], ssl.SSLContext],
        gate: Gate,
        *,
        timeout_s: float = ADDRESS_TIMEOUT_S,
    ) -> None:
        """Dial with own credentials.

        Args:
            tls: returns the context to use now (``rpc.tls.client_context`` that offers the chunk
                ALPN); asked for each connection, since certificates are renewed.
            gate: what counts as a valid certificate.
            timeout_s: for each address.
        """
        self._tls = tls
        self._gate = gate
        self._timeout_s = timeout_s

    async def dial(
        self, peer: SpiffeId, addresses: Sequence[Address], factory: ProtocolFactory
    ) -> None:
        """Try ``addresses`` in turn; see :class:`Dialer`."""

        def made(_: Certified) -> asyncio.BaseProtocol:
            return factory()

        await open_first(
            addresses,
            self._tls(),
            made,
            gate=self._gate,
            expect=peer,
            timeout_s=self._timeout_s,
        )
