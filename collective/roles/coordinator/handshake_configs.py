"""What the coordinator shows in handshakes, and whose certificates count there.

The network's side of :class:`~collective.member.trust.own_certificates.OwnCertificates`, which says
when another certificate or other CAs are in use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cryptography import x509

from collective.core.clock import Clock
from collective.core.ids import Domain
from collective.pki.credentials import Credentials
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.links import HandshakeConfig, Keeper, Links
from collective.rpc.tls.gate import PeerGate


class HandshakeConfigs:
    """Gate and handshake configs of one coordinator; the same objects for good."""

    def __init__(
        self, credentials: Credentials, trust: TrustStore, links: Links, clock: Clock
    ) -> None:
        """Show ``credentials``, and let the CAs of ``trust`` count."""
        self._own_trust = trust
        self._peers: Mapping[Domain, Sequence[x509.Certificate]] = {}
        self.gate = PeerGate(
            trust,
            RevocationSet(),
            clock,
            home=credentials.domain,
            foreign_roles=frozenset(("coordinator",)),
        )
        self.server: HandshakeConfig = links.server_config(credentials, trust)
        """Of the listener for everybody with a certificate."""
        self.bootstrap: HandshakeConfig = links.server_config(
            credentials, trust, client_certificates=False, chunk_stream=False
        )
        """Of the bootstrap listener."""
        self.chunk_client: HandshakeConfig = links.client_config(credentials, trust)
        """Of chunk-stream connections that the coordinator opens."""
        self._credentials = credentials
        self._keepers: list[Keeper] = []

    def attach(self, keeper: Keeper) -> None:
        """Have ``keeper`` retire what it keeps at each renewal; it attaches itself when it is made."""
        self._keepers.append(keeper)

    @property
    def credentials(self) -> Credentials:
        """The certificate that is shown."""
        return self._credentials

    @property
    def own_trust(self) -> TrustStore:
        """The member's own CAs."""
        return self._own_trust

    def trust(self, trust: TrustStore) -> None:
        """Let other CAs of this member count from now on; connections that count by none of them end."""
        self._own_trust = trust
        self._judge(None)

    def trust_peers(
        self, authorities: Mapping[Domain, Sequence[x509.Certificate]], shut_out: frozenset[Domain]
    ) -> None:
        """Let the CAs of peers count, and no others beside the own.

        ``shut_out``: whose coordinators are told at their handshake that they count no more.
        """
        self._peers = dict(authorities)
        self._judge(shut_out)

    def _judge(self, shut_out: frozenset[Domain] | None) -> None:
        trust = TrustStore({**self._own_trust.authorities, **self._peers})
        self.gate.replace(trust=trust, shut_out=shut_out)
        for config in (self.server, self.bootstrap, self.chunk_client):
            config.refresh(None, trust)

    def show(self, credentials: Credentials) -> None:
        """Show another certificate in the handshakes to come."""
        self._credentials = credentials
        for config in (self.server, self.bootstrap, self.chunk_client):
            config.refresh(credentials, None)
        for keeper in self._keepers:
            keeper.retire()
