"""Which nodes of peers a client takes for what they are: those whose CA its own coordinator names.

A peer's node can do no harm by being believed: what it gives out is checked against the chunk's id, and
what it stores counts by the owner's word alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from collective.core.clock import Clock
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.pki import certificates
from collective.rpc.links import HandshakeConfig
from collective.rpc.tls.gate import PeerGate

AskAuthorities = Callable[[Domain], Awaitable[Sequence[bytes]]]
"""Returns the CAs (DER) of a peer, as the own coordinator names them."""
FRESH_S: Final = 60.0
"""After so long a peer's CAs are asked for again: it may have replaced one."""


class PeerTrust:
    """Lets nodes of peers count, each peer's from the first path of it on."""

    def __init__(
        self, ask: AskAuthorities, gate: PeerGate, config: HandshakeConfig, clock: Clock
    ) -> None:
        """Ask ``ask``; let them count at ``gate`` and in handshakes of ``config``."""
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_s: dict[Domain, float] = {}
        self._ask = ask
        self._gate = gate
        self._config = config

    async def prepare(self, path: FilePath) -> None:
        """Let the nodes of the peer count that has ``path``, if it is a peer's.

        Raises NotFoundError where it is none, RejectedError and ConflictError where its CA cannot be used.
        """
        domain = path.peer_domain
        if domain is None or self._is_fresh(domain):
            return
        async with self._asking:
            if self._is_fresh(domain):
                return
            found = [certificates.load_certificate(der) for der in await self._ask(domain)]
            trust = self._gate.trust.without_domain(domain).with_domain(domain, found)
            self._gate.replace(trust=trust)
            self._config.refresh(None, trust)
            self._asked_s[domain] = self._clock.monotonic_s()

    def _is_fresh(self, domain: Domain) -> bool:
        asked_s = self._asked_s.get(domain)
        return asked_s is not None and self._clock.monotonic_s() - asked_s < FRESH_S
