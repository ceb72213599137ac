"""Opens chunk-stream connections over mutual TLS 1.3 with ALPN ``collective-chunk/1``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.pki.certificates import Certified
from collective.rpc.client.connect import open_first
from collective.rpc.links import Keeper, ProtocolFactory
from collective.rpc.tls.contexts import TlsConfig
from collective.rpc.tls.gate import Gate


class TlsDialer:
    """A :class:`~collective.rpc.links.Dialer` over TLS."""

    def __init__(self, config: TlsConfig, gate: Gate, *, timeout_s: float) -> None:
        """Dial with own credentials.

        Args:
            config: what we show and trust in a handshake (``rpc.tls.contexts.client_context`` that offers the
                chunk ALPN).
            gate: what counts as a valid certificate.
            timeout_s: for each address.
        """
        self._config = config
        self._gate = gate
        self._timeout_s = timeout_s

    @property
    def generation(self) -> int:
        """Rises when another certificate is in use."""
        return self._config.generation

    def attach(self, keeper: Keeper) -> None:
        """Have ``keeper`` retire what it dialled when the certificate is renewed."""
        self._config.attach(keeper)

    async def dial(
        self, peer: SpiffeId, addresses: Sequence[Address], factory: ProtocolFactory
    ) -> None:
        """Try ``addresses`` in turn; see :class:`~collective.rpc.links.Dialer`."""

        def made(_: Certified) -> asyncio.BaseProtocol:
            return factory()

        await open_first(
            addresses,
            self._config.context(),
            made,
            gate=self._gate,
            expect=peer,
            timeout_s=self._timeout_s,
        )
