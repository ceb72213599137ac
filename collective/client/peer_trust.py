"""Which nodes of peers a client takes for what they are: those whose CA its own coordinator names.

A peer's node can do no harm by being believed: what it gives out is checked against the chunk's id, and
what it stores counts by the owner's word alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.pki import certificates
from collective.rpc.identity import PeerGate
from collective.rpc.links import Persona

AskAuthorities = Callable[[Domain], Awaitable[Sequence[bytes]]]
"""Returns the CAs (DER) of a peer, as the own coordinator names them."""


class PeerTrust:
    """Lets nodes of peers count, each peer's from the first path of it on."""

    def __init__(self, ask: AskAuthorities, gate: PeerGate, persona: Persona) -> None:
        """Ask ``ask``; let them count at ``gate`` and in handshakes of ``persona``."""
        self._ask = ask
        self._gate = gate
        self._persona = persona

    async def prepare(self, path: FilePath) -> None:
        """Let the nodes of the peer count that has ``path``, if it is a peer's.

        Raises NotFoundError where it is none, RejectedError where its CA cannot be used.
        """
        domain = path.peer_domain
        if domain is None or domain in self._gate.trust.domains():
            return
        found = [certificates.load_certificate(der) for der in await self._ask(domain)]
        if domain in self._gate.trust.domains():  # by another transfer, meanwhile
            return
        trust = self._gate.trust.with_domain(domain, found)
        self._gate.replace(trust=trust)
        self._persona.refresh(None, trust)
