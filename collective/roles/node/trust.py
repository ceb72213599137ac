"""Whose certificates count at a node: its own member's, and those of people whom peers vouch for.

A person of a peer can do nothing here without a ticket, which only this member's coordinator makes.  Their
CAs come with the coordinator's answers and count for people alone; they are forgotten with the process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from cryptography import x509

from collective.core.errors import CollectiveError
from collective.core.ids import Domain
from collective.pki import certificates
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.roles.node.identity import Identity
from collective.rpc.tls.gate import PeerGate


class NodeTrust:
    """The gate of a node, and the pool of its handshakes."""

    def __init__(self, identity: Identity, gate: PeerGate) -> None:
        """Judge at ``gate``, and in handshakes of ``identity``."""
        self._identity = identity
        self._gate = gate
        self._own = gate.trust
        self._peers: Mapping[Domain, Sequence[x509.Certificate]] = {}
        self.peers_digest = b""
        """What the coordinator calls the peers that it named last."""
        self._log = structlog.get_logger("collective.node.trust")

    def replace(
        self, *, trust: TrustStore | None = None, revocations: RevocationSet | None = None
    ) -> int:
        """Let newer values of the own member count; return how many connections ended by that."""
        if trust is not None:
            self._own = trust
            self._identity.trust(self._all())
        return self._gate.replace(
            trust=None if trust is None else self._all(), revocations=revocations
        )

    def take_peers(
        self, digest: bytes, named: Sequence[tuple[Domain, Sequence[bytes], Sequence[str]]]
    ) -> None:
        """Let the CAs (DER) of peers count that the coordinator named, but for what each has revoked.

        What cannot be used is left out, and logged: the own domain, and what is no CA of its domain.
        """
        own = self._identity.credentials.domain
        peers: dict[Domain, Sequence[x509.Certificate]] = {}
        revoked: dict[Domain, RevocationSet] = {}
        for domain, ders, entries in named:
            try:
                found = tuple(certificates.load_certificate(der) for der in ders)
                if domain != own and found:
                    TrustStore({domain: found})
                    revoked[domain] = RevocationSet.of(0, entries)
                    peers[domain] = found
            except CollectiveError as error:
                self._log.error("peer not taken", domain=domain, reason=error.message)
        self._peers, self.peers_digest = peers, digest
        trust = self._all()
        self._identity.trust(trust)
        closed = self._gate.replace(trust=trust, foreign_revoked=revoked)
        self._log.info("peers changed", peers=sorted(peers), closed=closed)

    def _all(self) -> TrustStore:
        trust = self._own
        for domain, authorities in self._peers.items():
            trust = trust.with_bundle(domain, authorities)
        return trust
