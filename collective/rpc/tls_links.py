"""The real links: sockets, TLS 1.3, HTTP/2 and the chunk stream."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from collective.core.ids import SpiffeRole
from collective.core.units import Address
from collective.core.world import World
from collective.pki.credentials import Credentials
from collective.pki.trust import TrustStore
from collective.rpc.client.channel import RpcChannel
from collective.rpc.client.dial import TlsDialer
from collective.rpc.http2.member_share import MemberShare
from collective.rpc.links import (
    CONNECT_TIMEOUT_S,
    DIAL_TIMEOUT_S,
    HANDSHAKE_TIMEOUT_S,
    ChunkFactory,
    HandshakeConfig,
)
from collective.rpc.tls.contexts import (
    ALPN_CHUNK,
    ALPN_GRPC,
    TlsConfig,
    client_context,
    server_context,
)
from collective.rpc.tls.gate import ALL_ROLES, Expectation, Gate, PeerGate

if TYPE_CHECKING:
    from grpclib._typing import IServable

    from collective.rpc.server.connection_limits import Bounds
    from collective.rpc.server.listener import TlsListener
    from collective.rpc.server.service_edge import Refusals, ServedCall


class TlsLinks:
    """:class:`~collective.rpc.links.Links` of a process on a network."""

    def __init__(self, world: World) -> None:
        """Take clock and randomness from ``world``."""
        self._world = world

    def server_config(
        self,
        credentials: Credentials,
        trust: TrustStore,
        *,
        client_certificates: bool = True,
        chunk_stream: bool = True,
    ) -> TlsConfig:
        """Return a listener's TLS context."""
        alpn = (ALPN_GRPC, ALPN_CHUNK) if chunk_stream else (ALPN_GRPC,)
        make = partial(server_context, client_certificates=client_certificates, alpn=alpn)
        return TlsConfig(make, credentials, trust)

    def client_config(self, credentials: Credentials, trust: TrustStore) -> TlsConfig:
        """Return a TLS context for the chunk stream."""
        return TlsConfig(partial(client_context, alpn=(ALPN_CHUNK,)), credentials, trust)

    def channel(
        self,
        addresses: Sequence[Address],
        *,
        credentials: Credentials | None,
        gate: Gate,
        expect: Expectation,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        share: MemberShare | None = None,
    ) -> RpcChannel:
        """Return a channel over HTTP/2."""
        return RpcChannel(
            addresses,
            tls=_following(gate, credentials),
            gate=gate,
            expect=expect,
            connect_timeout_s=connect_timeout_s,
            randomness=self._world.randomness,
            share=share,
        )

    async def require_free(self, address: Address) -> None:
        """Return if ``address`` can be listened on now; CannotListenError otherwise."""
        from collective.rpc.server.acceptor import require_free  # noqa: PLC0415 - not for clients

        await require_free(address)

    def listener(
        self,
        services: Collection[IServable],
        gate: PeerGate | None,
        config: HandshakeConfig,
        *,
        chunk_factory: ChunkFactory | None = None,
        accept_roles: frozenset[SpiffeRole] = ALL_ROLES,
        service_roles: Mapping[str, frozenset[SpiffeRole]] | None = None,
        served: ServedCall | None = None,
        refusals: Refusals | None = None,
        newest_authority: Callable[[], bytes] | None = None,
        bounds: Bounds | None = None,
        handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
    ) -> TlsListener:
        """Return a listener on a socket; the handshake may take ``handshake_timeout_s``."""
        from collective.rpc.server.listener import TlsListener  # noqa: PLC0415 - not for clients

        return TlsListener(
            services,
            gate,
            _tls(config).context,
            self._world,
            chunk_factory=chunk_factory,
            accept_roles=accept_roles,
            service_roles=service_roles,
            served=served,
            refusals=refusals,
            newest_authority=newest_authority,
            bounds=bounds,
            handshake_timeout_s=handshake_timeout_s,
        )

    def dialer(
        self, config: HandshakeConfig, gate: Gate, *, timeout_s: float = DIAL_TIMEOUT_S
    ) -> TlsDialer:
        """Return a dialer over TLS."""
        return TlsDialer(_tls(config), gate, timeout_s=timeout_s)


def _following(gate: Gate, credentials: Credentials | None) -> Callable[[], ssl.SSLContext]:
    """Return what gives a context that trusts what ``gate`` trusts at that moment.

    A channel outlives a CA: where it connects anew it may meet a certificate of the next one.
    """
    trust = gate.trust
    context = client_context(credentials, trust, (ALPN_GRPC,))

    def present() -> ssl.SSLContext:
        nonlocal trust, context
        if gate.trust is not trust:
            trust = gate.trust
            context = client_context(credentials, trust, (ALPN_GRPC,))
        return context

    return present


def _tls(config: HandshakeConfig) -> TlsConfig:
    assert isinstance(config, TlsConfig)
    return config
