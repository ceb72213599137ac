"""The node's certificate in use, and what the network shows of it."""

from __future__ import annotations

from collective.pki.credentials import Credentials
from collective.pki.trust import TrustStore
from collective.rpc.links import HandshakeConfig, Links


class Identity:
    """The credentials in use and the handshake configs made from them."""

    def __init__(self, credentials: Credentials, links: Links) -> None:
        """Use ``credentials`` until others are taken."""
        self._credentials = credentials
        self._server = links.server_config(credentials, credentials.trust())
        self._chunk_client = links.client_config(credentials, credentials.trust())

    @property
    def credentials(self) -> Credentials:
        """The certificate and key in use."""
        return self._credentials

    @property
    def server(self) -> HandshakeConfig:
        """The listener's handshake config; the same object for good."""
        return self._server

    @property
    def chunk_client(self) -> HandshakeConfig:
        """That of chunk streams to other hops; the same object for good."""
        return self._chunk_client

    def trust(self, trust: TrustStore) -> None:
        """Let these CAs count in the handshakes that the listener takes; the gate decides."""
        self._server.refresh(None, trust)

    def take(self, credentials: Credentials) -> None:
        """Use renewed credentials for every handshake from now on.

        Whose certificates the listener takes is for :meth:`trust` to say.
        """
        is_renewed = credentials.certificate != self._credentials.certificate
        shown = credentials if is_renewed else None
        self._server.refresh(shown, None)
        self._chunk_client.refresh(shown, credentials.trust())
        self._credentials = credentials
