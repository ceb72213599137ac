"""Opens chunk-stream connections over mutual TLS 1.3 with ALPN ``collective-chunk/1``."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence

from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.pki.certificates import Certified
from collective.rpc.connect import open_first
from collective.rpc.identity import Gate
from collective.rpc.links import ProtocolFactory


class TlsDialer:
    """A :class:`~collective.rpc.links.Dialer` over TLS."""

    def __init__(self, tls: Callable[[], ssl.SSLContext], gate: Gate, *, timeout_s: float) -> None:
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
        """Try ``addresses`` in turn; see :class:`~collective.rpc.links.Dialer`."""

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
