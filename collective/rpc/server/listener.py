"""The listener of a process: gRPC and the chunk stream on one port, told apart by ALPN.

Invariants: the peer's certificate is checked by the gate before any byte is acted on; each open
connection is known with its identity, so trust that ends closes it; connections, handshakes and
messages have limits, and where clients have no certificate connections do not last.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from grpclib.const import Status
from grpclib.events import RecvRequest, SendInitialMetadata, listen
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.server import Handler, Server, Stream
from h2.exceptions import ProtocolError as H2ProtocolError

from collective.core.errors import BusyError, CollectiveError, RejectedError
from collective.core.ids import SpiffeRole
from collective.core.log_rate import LogRate
from collective.core.units import Address
from collective.core.world import World
from collective.pki.certificates import Certified
from collective.pki.trust import RevokedCertificateError
from collective.rpc.batching.bounds import EXCHANGES_MAX
from collective.rpc.batching.rule import EXCHANGE
from collective.rpc.batching.serving import Batches
from collective.rpc.errors import to_detail, to_metadata, to_status
from collective.rpc.headers import NEWEST_AUTHORITY_KEY, SERVER_TIME_KEY
from collective.rpc.http2 import goaway
from collective.rpc.http2.member_share import MemberShare, MemberShares
from collective.rpc.http2.protocol import (
    FOREIGN_CONFIG,
    SERVER_CONFIG,
    BoundedH2Protocol,
    BoundedStream,
)
from collective.rpc.links import HANDSHAKE_TIMEOUT_S, SHUT_GRACE_S, ChunkFactory
from collective.rpc.server.acceptor import Door
from collective.rpc.server.connection_limits import (
    CERTIFIED,
    UNCERTIFIED,
    Bounds,
    Crowd,
    OpenConnection,
    source_of,
)
from collective.rpc.server.service_edge import Refusals, ServedCall, ServiceEdge
from collective.rpc.tls.contexts import ALPN_CHUNK, ALPN_GRPC
from collective.rpc.tls.gate import ALL_ROLES, REVOKED, PeerGate
from collective.rpc.tls.handshake import Handshaken, host_of, leaf_of
from collective.rpc.wire.decoding import StrictCodec

if TYPE_CHECKING:
    from grpclib._typing import IServable

SHUTDOWN_TIMEOUT_S: Final = 1.0
SWEEP_INTERVAL_S: Final = 5.0
OVERDUE_INTERVAL_S: Final = 1.0
_HEALTH: Final = "/grpc.health.v1.Health/"


class _H2End:
    """The way back to the caller of one call over HTTP/2."""

    def __init__(self, stream: Stream[Any, Any]) -> None:
        self._stream = stream

    async def fail(self, error: CollectiveError, request_id: str) -> None:
        """Send the error as status and trailing metadata."""
        with suppress(H2ProtocolError):  # the caller has closed the stream
            await self._stream.send_trailing_metadata(
                status=to_status(error),
                status_message=to_detail(error, request_id).message,
                metadata=to_metadata(error, request_id),
            )

    def has_left(self) -> bool:
        """Tell whether the connection is closing."""
        return self._stream._stream.connection.is_closing()  # noqa: SLF001 - told nowhere else


class TlsListener(Server):
    """A :class:`~collective.rpc.links.Listener` over sockets, TLS and HTTP/2."""

    def __init__(
        self,
        services: Collection[IServable],
        gate: PeerGate | None,
        tls: Callable[[], ssl.SSLContext],
        world: World,
        *,
        chunk_factory: ChunkFactory | None = None,
        accept_roles: frozenset[SpiffeRole] = ALL_ROLES,
        service_roles: Mapping[str, frozenset[SpiffeRole]] | None = None,
        served: ServedCall | None = None,
        refusals: Refusals | None = None,
        newest_authority: Callable[[], bytes] | None = None,
        bounds: Bounds | None = None,
        handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
    ) -> None:
        """Prepare; see :meth:`collective.rpc.links.Links.listener`.

        ``tls`` gives a context of :func:`collective.rpc.tls.contexts.server_context` for each handshake, which may
        take ``handshake_timeout_s``.
        """
        codec = StrictCodec()
        self._edge = ServiceEdge(
            self._objection, service_roles or {}, world.randomness, served, refusals
        )
        self._batches = Batches(self._edge, lambda: self._mapping, codec, newest_authority)
        everything = services if gate is None else (*services, self._batches)
        super().__init__(everything, codec=codec, config=SERVER_CONFIG)
        self._status_details_codec = None
        self._gate = gate
        if gate is not None:
            gate.attach(self)
        self._tls = tls
        self._refusals = refusals
        self._lines = LogRate()
        self._chunk_factory = chunk_factory
        self._accept_roles = accept_roles
        self._handshake_timeout_s = handshake_timeout_s
        self._clock = world.clock
        self._crowd = Crowd(bounds or (CERTIFIED if gate else UNCERTIFIED), self._clock.monotonic_s)
        self._farewells = goaway.Farewells()
        self._shares = MemberShares()
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept_s = self._clock.monotonic_s()
        self._log = structlog.get_logger("collective.rpc.server")
        listen(self, RecvRequest, self._on_request)
        self._newest_authority = newest_authority
        if newest_authority is not None:
            listen(self, SendInitialMetadata, self._say_newest_authority)

    # --- life ------------------------------------------------------------------------------------

    async def listen(self, address: Address) -> Address:
        """Listen on ``address``; return it with the port that was taken (port 0 takes any).

        Raises:
            CannotListenError: The address cannot be listened on.
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
        self._sweeper = loop.call_later(OVERDUE_INTERVAL_S, self._tick)
        return taken

    async def shut(self, grace_s: float = SHUT_GRACE_S) -> None:
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
                await self._batches.wait_sent()
            # The last call's end is written by now; it goes out with this turn.
            await asyncio.sleep(0)
        except TimeoutError:
            self._log.warning("calls cut off", calls=self._edge.active_calls)
        finally:
            self.close()
            self.close_connections_of(lambda _: True)
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_S):
                await self.wait_closed()
        except TimeoutError:
            for connection in self._crowd.all():
                connection.transport.abort()
        finally:
            self._farewells.cut_off()

    # --- connections -----------------------------------------------------------------------------

    @property
    def connections(self) -> tuple[OpenConnection, ...]:
        """Connections that stand now."""
        return self._crowd.all()

    @property
    def active_calls(self) -> int:
        """GRPC calls running now."""
        return self._edge.active_calls

    def close_connections_of(self, unwanted: Callable[[Certified | None], bool]) -> int:
        """Abort every connection whose peer ``unwanted`` says so; return how many."""
        doomed = [c for c in self.connections if unwanted(c.peer)]
        for connection in doomed:
            connection.transport.abort()
            self._crowd.forget(connection.transport)
        return len(doomed)

    def sweep(self) -> int:
        """End connections of peers that were revoked or expired or lost trust; return how many.

        Runs every few seconds, and whenever the gate is given something newer.
        """
        ended = 0
        for connection in self.connections:
            peer = connection.peer
            reason = self._objection(peer) if peer is not None else None
            if reason is None or peer is None:
                continue
            self._log.warning("connection closed", peer=str(peer.identity), reason=reason)
            if reason == REVOKED and isinstance(connection.protocol, BoundedH2Protocol):
                connection.protocol.say_farewell(self._farewells, goaway.REVOKED)
            else:
                connection.transport.abort()
            self._crowd.forget(connection.transport)
            ended += 1
        return ended

    def _tick(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._swept_s >= SWEEP_INTERVAL_S:
            self._swept_s = now_s
            self.sweep()
        for connection in self._crowd.overdue():
            self._log.debug("connection overdue", source=connection.source)
            if connection.is_in_use():
                connection.transport.abort()
            elif isinstance(connection.protocol, BoundedH2Protocol):
                connection.protocol.end()
            else:
                connection.transport.close()
            self._crowd.forget(connection.transport)
        self._sweeper = asyncio.get_running_loop().call_later(OVERDUE_INTERVAL_S, self._tick)

    # --- a fresh connection ----------------------------------------------------------------------

    def _protocol_factory(self) -> H2Protocol:
        # what grpclib's Server declares; the real protocol is chosen after the handshake
        return cast("H2Protocol", Handshaken(self._admit, self._refused, self._farewell))

    def _admit(
        self, ssl_object: ssl.SSLObject, alpn: str | None, transport: asyncio.Transport
    ) -> asyncio.BaseProtocol:
        peer, source, member = None, source_of(host_of(transport)), ""
        if self._gate is not None:
            peer = self._gate.verify(leaf_of(ssl_object), self._accept_roles, "client")
            member = self._gate.other_member(peer)
        is_stream = alpn == ALPN_CHUNK and self._chunk_factory is not None and peer is not None
        if alpn is None or not (is_stream or alpn == ALPN_GRPC):
            raise RejectedError(f"No service for ALPN {alpn!r} here.")
        pushed_out = self._crowd.make_room(peer, source, member)
        if pushed_out is not None:
            self._log.debug(
                "connection gave way", holder=pushed_out.holder, source=pushed_out.source
            )
            pushed_out.transport.abort()
        protocol: asyncio.BaseProtocol
        handler: Handler | None = None
        if is_stream and self._chunk_factory is not None and peer is not None:
            protocol = self._chunk_factory(peer)
        else:
            handler = self._new_handler()
            share = self._shares.of(member) if member else None
            protocol = self._grpc_protocol(handler, transport, share)
        self._crowd.add(
            OpenConnection(transport, peer, alpn, protocol, source, member, handler=handler)
        )
        return protocol

    def _new_handler(self) -> Handler:
        self.__gc_step__()
        handler = Handler(self._mapping, self._codec, None, self.__dispatch__)
        self._handlers.add(handler)
        return handler

    def _grpc_protocol(
        self, handler: Handler, transport: asyncio.Transport, share: MemberShare | None
    ) -> BoundedH2Protocol:
        config = self._config if share is None else FOREIGN_CONFIG.__for_server__()
        protocol = BoundedH2Protocol(handler, config, self._h2_config)
        protocol.share = share
        protocol.on_lost = lambda: self._crowd.forget(transport)
        return protocol

    def _farewell(
        self, error: CollectiveError, alpn: str | None, transport: asyncio.Transport
    ) -> bool:
        """Tell whoever holds a certificate that was ours to give that it was revoked."""
        if not isinstance(error, RevokedCertificateError) or alpn != ALPN_GRPC:
            return False
        self._farewells.say(transport, goaway.first_words(goaway.REVOKED))
        return True

    def _refused(self, error: CollectiveError, source: str) -> None:
        line = self._lines.take(source, self._clock.monotonic_s(), is_proven=False)
        if line is not None:
            self._log.info("connection refused", reason=error.message, source=source, **line)
        if self._refusals is not None:
            self._refusals.connection(source, error)

    async def _say_newest_authority(self, event: SendInitialMetadata) -> None:
        newest = self._newest_authority() if self._newest_authority else b""
        if newest:
            event.metadata[NEWEST_AUTHORITY_KEY] = newest.hex()

    async def _on_request(self, event: RecvRequest) -> None:
        """Have the edge serve one call."""
        method, peer = event.method_func, event.peer
        name, deadline = event.method_name, event.deadline
        metadata = {str(key): value for key, value in event.metadata.items()}

        async def served(stream: Stream[Any, Any]) -> None:
            connection = self._connection_of(peer)
            connection.used_s = self._clock.monotonic_s()
            bounded = cast("BoundedStream", stream._stream)  # noqa: SLF001 - made by BoundedH2Protocol
            if name == EXCHANGE:
                await self._exchange(stream, bounded, connection, _host(peer.addr()))
                return
            if name.startswith(_HEALTH):
                time_ms = str(int(self._clock.wall_s() * 1000))
                await stream.send_initial_metadata(metadata={SERVER_TIME_KEY: time_ms})
            call = self._edge.call(connection.peer, name, metadata, deadline, _host(peer.addr()))
            try:
                await self._edge.serve(
                    call, lambda: _within_share(bounded, lambda: method(stream)), _H2End(stream)
                )
            finally:
                connection.used_s = self._clock.monotonic_s()

        event.method_func = served

    async def _exchange(
        self,
        stream: Stream[Any, Any],
        bounded: BoundedStream,
        connection: OpenConnection,
        source: str,
    ) -> None:
        """Serve an exchange of batches; it is no call itself: those that it carries are."""
        peer = connection.peer
        if bounded.share is not None or peer is None:
            # what another member holds is counted by the call
            raise GRPCError(Status.UNIMPLEMENTED, "Calls of another member go by themselves.")
        connection.exchanges += 1
        try:
            if connection.exchanges > EXCHANGES_MAX:
                raise BusyError(f"A connection has {EXCHANGES_MAX} exchanges of calls at most.")
            await self._batches.serve(stream, peer, source)
        except CollectiveError as error:
            self._log.debug(
                "exchange ended", peer=str(peer.identity), source=source, reason=error.message
            )
            await _H2End(stream).fail(error, "")
        finally:
            connection.exchanges -= 1

    def _connection_of(self, peer: Any) -> OpenConnection:
        transport = peer._transport.transport  # noqa: SLF001 - grpclib gives no other way
        connection = self._crowd.get(transport)
        if connection is None:
            raise RejectedError("The connection has ended.")
        return connection

    def _objection(self, peer: Certified) -> str | None:
        return self._gate.objection(peer) if self._gate is not None else None


async def _within_share(stream: BoundedStream, method: Callable[[], Awaitable[None]]) -> None:
    """Run a method; BusyError where the member that calls has too many under way."""
    share = stream.share
    if share is None:
        await method()
        return
    share.enter()
    try:
        await method()
    finally:
        share.leave()
        stream.give_back()


def _host(address: Any) -> str:
    """Return the host of a socket's peer address; empty for one that has gone."""
    return str(address[0]) if isinstance(address, tuple) and address else ""
