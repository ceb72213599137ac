"""The network as something passed in: channels, listeners, and connections of the chunk stream.

A role or client never opens a connection itself; it asks the :class:`Links` that it was given.  Two
things implement them: :class:`~collective.rpc.tls_links.TlsLinks` (TLS 1.3, HTTP/2, sockets), and the
simulator's, which hands verified identities and message values from one end to the other.  Whatever
the implementation, the peer's certificate has passed the gate before anything of it is acted on, and
what is raised is a :class:`~collective.core.errors.CollectiveError`.

The serving side of a call (who may, in which context, what a failure becomes on the wire) is
:class:`~collective.rpc.server.service_edge.ServiceEdge`, for every implementation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar

from collective.core.errors import CollectiveError
from collective.core.ids import SpiffeId, SpiffeRole
from collective.core.units import Address
from collective.pki.certificates import Certified
from collective.pki.credentials import Credentials
from collective.pki.trust import TrustStore
from collective.rpc.http2.member_share import MemberShare
from collective.rpc.tls.gate import ALL_ROLES, Expectation, Gate, PeerGate

if TYPE_CHECKING:
    from grpclib._typing import IServable
    from grpclib.client import Channel as StubChannel

    from collective.rpc.server.connection_limits import Bounds
    from collective.rpc.server.service_edge import Refusals, ServedCall

S = TypeVar("S")

CONNECT_TIMEOUT_S: Final = 5.0
DIAL_TIMEOUT_S: Final = 3.0
HANDSHAKE_TIMEOUT_S: Final = 10.0
"""What a client gets to finish its handshake with a listener."""
SHUT_GRACE_S: Final = 5.0

ChunkFactory = Callable[[Certified], asyncio.BaseProtocol]
"""Makes the protocol of a chunk-stream connection, once its client is known."""
ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class Keeper(Protocol):
    """Keeps connections that show a certificate."""

    def retire(self) -> None:
        """Close those that show a former one and are idle; begin nothing new on the others."""
        ...


class OwnCredentials(Protocol):
    """Who calls."""

    @property
    def credentials(self) -> Credentials:
        """The certificate that counts now."""
        ...

    @property
    def gate(self) -> Gate:
        """What counts as the certificate of the other end."""
        ...

    def attach(self, keeper: Keeper) -> None:
        """Have ``keeper`` retire what it keeps when the certificate is renewed."""
        ...


class HandshakeConfig(Protocol):
    """What one end of connections shows in handshakes, and whose certificates it takes; opaque.

    Made by :class:`Links`, kept by the part that renews the certificate, given back to the same links.
    """

    @property
    def credentials(self) -> Credentials | None:
        """The certificate and key that the next handshake shows; None shows none."""
        ...

    @property
    def generation(self) -> int:
        """How often another certificate was taken into use."""
        ...

    def attach(self, keeper: Keeper) -> None:
        """Have ``keeper`` retire what it keeps at each renewal; it attaches itself when it is made.

        It is held weakly.
        """
        ...

    def refresh(self, credentials: Credentials | None, trust: TrustStore | None) -> None:
        """Show a renewed certificate, and take the authorities of ``trust``, from the next handshake on.

        None leaves what there is.  An authority that is trusted no longer is refused by the gate, which
        decides, whatever the handshakes still take.

        Raises:
            SettingsError: The certificate or key cannot be used.
        """
        ...


class Channel(Protocol):
    """Calls to one identity.  Close it, or use it as an async context manager.

    Connects at the first call and again after a loss, each time to the first of its addresses that
    answers as expected.
    """

    @property
    def peer(self) -> Certified | None:
        """Who answered last; None before the first connection."""
        ...

    @property
    def address(self) -> Address:
        """Where the connection made last leads; before the first, where it is tried first."""
        ...

    @property
    def farewell(self) -> CollectiveError | None:
        """Why the server ended the connection made last, if it said so."""
        ...

    @property
    def newest_authority(self) -> bytes:
        """What the server said last of a CA to follow: its key's SHA-256; empty for nothing.

        A hint to ask by, never to believe: ``pki.succession`` decides.
        """
        ...

    @property
    def server_time_ms(self) -> int:
        """The server's clock as its last health check told it, Unix milliseconds; 0: it has told nothing.

        For people to compare with theirs: nothing is decided by it.
        """
        ...

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands now."""
        ...

    def stub(self, stub_class: Callable[[StubChannel], S]) -> S:
        """Return a generated stub whose calls go over this channel.

        Each call carries the request id of the running operation (else a fresh one) and, if it is
        unary, a deadline of at most ``deadlines.UNARY_TIMEOUT_S``.  It raises the server's own error
        where it sent one, UnreachableError where no answer came in time or the connection broke.
        Cancelling a call tells the server, which cancels the method; whether it took effect is open.
        """
        ...

    async def connect(self) -> Certified:
        """Connect now if not connected; return who answered.

        Raises:
            UnreachableError: No address answered in time.
            RejectedError: Somebody else answered.

        Cancellation closes what was being opened.
        """
        ...

    def close(self) -> None:
        """Close the connection; calls in flight fail with UnreachableError.  Idempotent."""
        ...

    async def aclose(self) -> None:
        """Close, and return when the connection has gone, after about a second at most."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None: ...


class Listener(Protocol):
    """One listening address with its services, gRPC and the chunk stream."""

    async def listen(self, address: Address) -> Address:
        """Listen on ``address``; return it with the port that was taken (port 0 takes any).

        Raises:
            CannotListenError: The address cannot be listened on.
        """
        ...

    async def shut(self, grace_s: float = SHUT_GRACE_S) -> None:
        """Stop accepting, let running calls end for ``grace_s``, then close every connection.

        Idempotent.  Cancellation skips the rest of the grace.
        """
        ...

    def sweep(self) -> int:
        """End connections of peers that were revoked or expired or lost trust; return how many.

        Happens every few seconds, and whenever the gate is given something newer.  A peer that was
        revoked is told so (its channel's ``farewell``).
        """
        ...


class Dialer(Protocol):
    """Opens chunk-stream connections."""

    @property
    def generation(self) -> int:
        """Rises when another certificate is in use: connections opened before show an older one."""
        ...

    def attach(self, keeper: Keeper) -> None:
        """Have ``keeper`` retire what it dialled when the certificate is renewed."""
        ...

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


class Links(Protocol):
    """Makes everything that reaches other processes; made beside the world, in ``main``."""

    def server_config(
        self,
        credentials: Credentials,
        trust: TrustStore,
        *,
        client_certificates: bool = True,
        chunk_stream: bool = True,
    ) -> HandshakeConfig:
        """Return what a listener shows.

        Args:
            credentials: The certificate and key.
            trust: Authorities that a client's certificate may come from.
            client_certificates: False for the bootstrap listener alone, which asks for none.
            chunk_stream: Whether the chunk stream is offered beside gRPC.

        Raises:
            SettingsError: The certificate or key cannot be used.
        """
        ...

    def client_config(self, credentials: Credentials, trust: TrustStore) -> HandshakeConfig:
        """Return what connections of the chunk stream show; raises as :meth:`server_config`."""
        ...

    def channel(
        self,
        addresses: Sequence[Address],
        *,
        credentials: Credentials | None,
        gate: Gate,
        expect: Expectation,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        share: MemberShare | None = None,
    ) -> Channel:
        """Return a channel to whoever ``expect`` means; it connects at the first call.

        Args:
            addresses: Where it may be found, tried in turn.
            credentials: Our certificate; None shows none (bootstrap only).
            gate: What counts as a valid certificate; live.
            expect: The SPIFFE id wanted, or a predicate over the verified certificate.
            connect_timeout_s: For each address.
            share: What the messages of another member may hold, where it is one's coordinator.

        Raises:
            NotJoinedError: No address was given.
            SettingsError: Certificate or key cannot be used.
        """
        ...

    async def require_free(self, address: Address) -> None:
        """Return if a listener could listen on ``address`` now; CannotListenError otherwise."""
        ...

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
    ) -> Listener:
        """Prepare a listener; nothing listens before its ``listen``.

        Args:
            services: gRPC services, health and reflection included if wanted.
            gate: Checks clients, and has the listener swept when it changes; None only where
                clients have no certificate (bootstrap).
            config: Of :meth:`server_config`.
            chunk_factory: Makes the protocol of a chunk stream connection; None serves none.
            accept_roles: Roles that may connect at all.
            service_roles: Full service name (``collective.v1.node.Node``) to the roles that may call it.
            served: Told of each call that ended, for metrics.
            refusals: Told of each call that ended with an error, and of connections not let in.
            newest_authority: SHA-256 of the key of the CA that callers should follow, empty for
                none; said with each answer.
            bounds: How many may be connected and for how long; by default the narrow ones of
                :mod:`collective.rpc.server.connection_limits` where there is no gate, and the wide ones where there is.
        """
        ...

    def dialer(
        self, config: HandshakeConfig, gate: Gate, *, timeout_s: float = DIAL_TIMEOUT_S
    ) -> Dialer:
        """Return a dialer of the chunk stream.

        Args:
            config: One of :meth:`client_config`; refresh it when the certificate is renewed.
            gate: What counts as a valid certificate; live.
            timeout_s: For each address.
        """
        ...
