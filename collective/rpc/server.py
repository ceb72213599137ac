"""The listener of a process: gRPC and the chunk stream on one port, told apart by ALPN.

Invariants: the peer's certificate is checked by the gate before any byte is acted on; each open
connection is known with its identity, so trust that ends closes it; connections, handshakes and
messages have limits.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from grpclib.events import RecvRequest, SendInitialMetadata, listen
from grpclib.protocol import H2Protocol
from grpclib.server import Handler, Server

from collective.core.errors import (
    BusyError,
    CollectiveError,
    RejectedError,
)
from collective.core.ids import SpiffeRole
from collective.core.units import Address
from collective.pki.certificates import Certified
from collective.pki.trust import RevokedCertificateError
from collective.rpc import farewell
from collective.rpc.context import NEWEST_AUTHORITY_KEY
from collective.rpc.decoding import StrictCodec
from collective.rpc.door import Door
from collective.rpc.h2 import SERVER_CONFIG, BoundedH2Protocol
from collective.rpc.handshake import Handshaken
from collective.rpc.identity import ALL_ROLES, REVOKED, Gate
from collective.rpc.service_edge import Refusals, ServedCall, ServiceEdge
from collective.rpc.tls import ALPN_CHUNK, ALPN_GRPC

if TYPE_CHECKING:
    from grpclib._typing import IServable

CONNECTIONS_MAX: Final = 1024
CONNECTIONS_PER_PEER_MAX: Final = 256
HANDSHAKE_TIMEOUT_S: Final = 10.0
SHUTDOWN_TIMEOUT_S: Final = 1.0
SWEEP_INTERVAL_S: Final = 5.0

ChunkFactory = Callable[[Certified], asyncio.BaseProtocol]


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """A connection that passed the gate."""

    transport: asyncio.Transport
    peer: Certified | None
    alpn: str
    protocol: asyncio.BaseProtocol


class Listener(Server):
    """One listening address with its services."""

    def __init__(
        self,
        services: Collection[IServable],
        gate: Gate | None,
        tls: ssl.SSLContext,
        *,
        chunk_factory: ChunkFactory | None = None,
        accept_roles: frozenset[SpiffeRole] = ALL_ROLES,
        service_roles: Mapping[str, frozenset[SpiffeRole]] | None = None,
        served: ServedCall | None = None,
        refusals: Refusals | None = None,
        newest_authority: Callable[[], bytes] | None = None,
        connections_max: int = CONNECTIONS_MAX,
        connections_per_peer: int = CONNECTIONS_PER_PEER_MAX,
        handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
    ) -> None:
        """Prepare; nothing listens before :meth:`listen`.

        Args:
            services: gRPC services, health and reflection included if wanted.
            gate: Checks clients; None only where clients have no certificate (bootstrap).
            tls: A context of :func:`collective.rpc.tls.server_context`.
            chunk_factory: Makes the protocol of a chunk stream connection; None serves none.
            accept_roles: Roles that may connect at all.
            service_roles: Full service name (``collective.v1.Node``) to the roles that may call it.
            served: Told of each call that ended, for metrics.
            refusals: Told of each call that ended with an error, and of connections not let in.
            newest_authority: SHA-256 of the key of the CA that callers should follow, empty for
                none; said with each answer (``x-collective-newest-ca``).
            connections_max: Connections beyond this are closed at once.
            connections_per_peer: The same for one identity, so that nobody shuts out the others.
            handshake_timeout_s: For the TLS handshake.
        """
        super().__init__(services, codec=StrictCodec(), config=SERVER_CONFIG)
        self._status_details_codec = None
        self._gate = gate
        self._tls = tls
        self._refusals = refusals
        self._chunk_factory = chunk_factory
        self._accept_roles = accept_roles
        self._connections_max = connections_max
        self._connections_per_peer = connections_per_peer
        self._handshake_timeout_s = handshake_timeout_s
        self._connections: dict[asyncio.Transport, OpenConnection] = {}
        self._farewells = farewell.Farewells()
        self._sweeper: asyncio.TimerHandle | None = None
        self._log = structlog.get_logger("collective.rpc.server")
        self._edge = ServiceEdge(self._who, self._objection, service_roles or {}, served, refusals)
        listen(self, RecvRequest, self._edge.on_request)
        self._newest_authority = newest_authority
        if newest_authority is not None:
            listen(self, SendInitialMetadata, self._say_newest_authority)

    # --- life ------------------------------------------------------------------------------------

    async def listen(self, address: Address) -> Address:
        """Listen on ``address``; return it with the port that was taken (port 0 takes any).

        Raises:
            SettingsError: The address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        door = Door(
            self._protocol_factory,
            self._tls,
            handshake_timeout_s=self._handshake_timeout_s,
            shutdown_timeout_s=SHUTDOWN_TIMEOUT_S,
        )
        taken = await door.open(address)
        self._server = cast("asyncio.Server", door)
        self._server_closed_fut = loop.create_future()
        self._sweeper = loop.call_later(SWEEP_INTERVAL_S, self._tick)
        return taken

    async def shut(self, grace_s: float = 5.0) -> None:
        """Stop accepting, let running calls end for ``grace_s``, then close every connection.

        Cancellation skips the rest of the grace.
        """
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is None:
            return
        self._server.close()
        try:
            async with asyncio.timeout(grace_s):
                await self._edge.wait_idle()
        except TimeoutError:
            self._log.warning("calls cut off", calls=self._edge.active_calls)
        finally:
            self.close()
            self.close_connections_of(lambda _: True)
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_S):
                await self.wait_closed()
        except TimeoutError:
            for transport in list(self._connections):
                transport.abort()
        finally:
            self._farewells.cut_off()

    # --- connections -----------------------------------------------------------------------------

    @property
    def connections(self) -> tuple[OpenConnection, ...]:
        """Connections that stand now."""
        self._prune()
        return tuple(self._connections.values())

    @property
    def active_calls(self) -> int:
        """GRPC calls running now."""
        return self._edge.active_calls

    def close_connections_of(self, unwanted: Callable[[Certified | None], bool]) -> int:
        """Abort every connection whose peer ``unwanted`` says so; return how many."""
        doomed = [c for c in self.connections if unwanted(c.peer)]
        for connection in doomed:
            connection.transport.abort()
            self._connections.pop(connection.transport, None)
        return len(doomed)

    def sweep(self) -> int:
        """End connections of peers that were revoked or expired or lost trust; return how many.

        Runs by itself every few seconds; call it after the gate was given something newer.
        """
        ended = 0
        for connection in self.connections:
            peer = connection.peer
            reason = self._objection(peer) if peer is not None else None
            if reason is None or peer is None:
                continue
            self._log.warning("connection closed", peer=str(peer.identity), reason=reason)
            if reason == REVOKED and isinstance(connection.protocol, BoundedH2Protocol):
                connection.protocol.say_farewell(self._farewells, farewell.REVOKED)
            else:
                connection.transport.abort()
            self._connections.pop(connection.transport, None)
            ended += 1
        return ended

    def _tick(self) -> None:
        self.sweep()
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_INTERVAL_S, self._tick)

    def _connections_of(self, peer: Certified) -> int:
        return sum(
            open_one.peer is not None and open_one.peer.identity == peer.identity
            for open_one in self._connections.values()
        )

    def _prune(self) -> None:
        for transport in [t for t in self._connections if t.is_closing()]:
            del self._connections[transport]

    async def _say_newest_authority(self, event: SendInitialMetadata) -> None:
        newest = self._newest_authority() if self._newest_authority else b""
        if newest:
            event.metadata[NEWEST_AUTHORITY_KEY] = newest.hex()

    # --- a fresh connection ----------------------------------------------------------------------

    def _protocol_factory(self) -> H2Protocol:
        # what grpclib's Server declares; the real protocol is chosen after the handshake
        return cast("H2Protocol", Handshaken(self._admit, self._refused, self._farewell))

    def _admit(
        self, ssl_object: ssl.SSLObject, alpn: str | None, transport: asyncio.Transport
    ) -> asyncio.BaseProtocol:
        self._prune()
        if len(self._connections) >= self._connections_max:
            raise BusyError("Too many connections.")
        peer = None
        if self._gate is not None:
            peer = self._gate.verify(ssl_object, self._accept_roles, "client")
            if self._connections_of(peer) >= self._connections_per_peer:
                raise BusyError(f"Too many connections of {peer.identity}.")
        protocol: asyncio.BaseProtocol
        if alpn == ALPN_GRPC:
            protocol = self._grpc_protocol(transport)
        elif alpn == ALPN_CHUNK and self._chunk_factory is not None and peer is not None:
            protocol = self._chunk_factory(peer)
        else:
            raise RejectedError(f"No service for ALPN {alpn!r} here.")
        self._connections[transport] = OpenConnection(transport, peer, alpn, protocol)
        return protocol

    def _grpc_protocol(self, transport: asyncio.Transport) -> BoundedH2Protocol:
        self.__gc_step__()
        handler = Handler(self._mapping, self._codec, None, self.__dispatch__)
        self._handlers.add(handler)
        protocol = BoundedH2Protocol(handler, self._config, self._h2_config)
        protocol.on_lost = lambda: self._forget(transport)
        return protocol

    def _forget(self, transport: asyncio.Transport) -> None:
        self._connections.pop(transport, None)

    def _farewell(
        self, error: CollectiveError, alpn: str | None, transport: asyncio.Transport
    ) -> bool:
        """Tell whoever holds a certificate that was ours to give that it was revoked."""
        if not isinstance(error, RevokedCertificateError) or alpn != ALPN_GRPC:
            return False
        self._farewells.say(transport, farewell.first_words(farewell.REVOKED))
        return True

    def _refused(self, error: CollectiveError, source: str) -> None:
        self._log.info("connection refused", reason=error.message, source=source)
        if self._refusals is not None:
            self._refusals.connection(source, error)

    def _who(self, peer: Any) -> Certified | None:
        connection = self._connections.get(peer._transport)  # noqa: SLF001 - grpclib gives no other way
        if connection is None:
            raise RejectedError("The connection has ended.")
        return connection.peer

    def _objection(self, peer: Certified) -> str | None:
        return self._gate.objection(peer) if self._gate is not None else None
