"""Opens chunk-stream connections to a peer of known SPIFFE id.

The interface is what clients and servers of the chunk stream use; :class:`TlsDialer` is the one
over TLS, and tests pass their own over memory.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from collective.core.errors import CollectiveError, UnreachableError
from collective.core.ids import SpiffeId
from collective.core.units import Address

CHUNK_ALPN: Final = "collective-chunk/1"

ProtocolFactory = Callable[[], asyncio.BufferedProtocol]


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
