"""The client side of gRPC: a channel that knows whom it talks to.

An :class:`RpcChannel` connects when it is first used, tries its addresses in turn, checks the
server's identity before it sends anything, connects again after a loss, and raises
:class:`CollectiveError` classes only.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from grpclib.client import Channel, Handler, Stream
from grpclib.const import Cardinality
from grpclib.events import RecvInitialMetadata, listen
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline, decode_metadata
from grpclib.protocol import H2Protocol
from multidict import MultiDict

from collective.core.errors import CollectiveError, NotJoinedError, UnreachableError
from collective.core.randomness import Randomness
from collective.core.units import Address
from collective.pki.certificates import Certified
from collective.rpc.batching.rule import EXCHANGE, BatchingRule
from collective.rpc.client.connect import open_first
from collective.rpc.deadlines import UNARY_TIMEOUT_S, CallWrapper
from collective.rpc.errors import from_grpc, is_expected
from collective.rpc.headers import (
    NEWEST_AUTHORITY_KEY,
    REQUEST_ID_KEY,
    SERVER_TIME_KEY,
    current_request_id,
    new_request_id,
)
from collective.rpc.http2.closing import OpenTransports
from collective.rpc.http2.goaway import heard
from collective.rpc.http2.member_share import MemberShare
from collective.rpc.http2.protocol import (
    CLIENT_CONFIG,
    FOREIGN_CLIENT_CONFIG,
    BoundedH2Protocol,
    BoundedStream,
)
from collective.rpc.tls.contexts import ALPN_GRPC
from collective.rpc.tls.gate import Expectation, Gate
from collective.rpc.wire.decoding import StrictCodec

if TYPE_CHECKING:
    from collective.rpc.batching.calling import CallBatches

S = TypeVar("S")
_DIGEST_BYTES: Final = 32
_DIGEST_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")
_UNIX_MS: Final = re.compile(r"[0-9]{1,15}\Z")

_STREAMING: Final = frozenset(
    (Cardinality.UNARY_STREAM, Cardinality.STREAM_UNARY, Cardinality.STREAM_STREAM)
)


class RpcStream(Stream[Any, Any]):
    """One call; what it raises is a :class:`CollectiveError`."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        if self._deadline is None:
            self._wrapper = CallWrapper()
        else:
            assert self._wrapper_ctx is not None
            self._wrapper_ctx.__exit__(None, None, None)  # the one that super() made
            wrapper = CallWrapper()
            self._wrapper = wrapper
            self._wrapper_ctx = wrapper.start(self._deadline)
            self._wrapper_ctx.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(exc_type, exc_val, exc_tb)
        except Exception as error:
            if not is_expected(error):
                raise
            raise self._ours(error) from error
        finally:
            stream = getattr(self, "_stream", None)  # there is none before the request is sent
            if isinstance(stream, BoundedStream):
                stream.give_back()
            if self._wrapper_ctx is not None and not self._send_request_done:
                with suppress(TimeoutError):
                    self._wrapper_ctx.__exit__(None, None, None)
        if exc_val is not None and is_expected(exc_val):
            raise self._ours(exc_val) from exc_val

    def _raise_for_content_type(self, headers_map: dict[str, str]) -> None:
        # grpclib's server sends "no such method" without a content type: its status says enough.
        if "content-type" in headers_map or "grpc-status" not in headers_map:
            super()._raise_for_content_type(headers_map)

    def _ours(self, error: BaseException) -> CollectiveError:
        metadata = cast("dict[str, str | bytes] | None", self.trailing_metadata)
        if metadata is None and isinstance(error, GRPCError):
            # It answered, and the connection ended before anybody looked.
            answer = self._stream.trailers or self._stream.headers or []
            metadata = cast("dict[str, str | bytes]", decode_metadata(answer))
        farewell = cast("RpcChannel", self._channel).farewell
        if farewell is not None and not isinstance(error, CollectiveError | GRPCError):
            return farewell
        return from_grpc(error, metadata, peer=str(self._channel))


class RpcChannel(Channel):
    """A :class:`~collective.rpc.links.Channel` over TLS and HTTP/2."""

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        tls: Callable[[], ssl.SSLContext],
        gate: Gate,
        expect: Expectation,
        connect_timeout_s: float,
        randomness: Randomness,
        share: MemberShare | None = None,
    ) -> None:
        """See :meth:`collective.rpc.links.Links.channel`; ``tls`` gives a client context for ``h2``.

        It is asked whenever the channel connects.
        """
        if not addresses:
            raise NotJoinedError("No address to talk to is known; give --coordinator HOST:PORT.")
        first = addresses[0]
        super().__init__(
            _in_header(first.host),
            first.port,
            codec=StrictCodec(),
            ssl=tls(),
            config=CLIENT_CONFIG if share is None else FOREIGN_CLIENT_CONFIG,
        )
        self._share = share
        self._status_details_codec = None
        self._addresses = tuple(addresses)
        self._tls = tls
        self._gate = gate
        self._expect = expect
        self._connect_timeout_s = connect_timeout_s
        self._randomness = randomness
        self._peer: Certified | None = None
        self._farewell: CollectiveError | None = None
        self._is_closed = False
        self._open_transports = OpenTransports()
        self._newest_authority = b""
        self._server_time_ms = 0
        self._batches: CallBatches | None = None
        self._batching = BatchingRule()
        listen(self, RecvInitialMetadata, self._hear_beside)

    async def __aenter__(self) -> Self:
        return self

    def __str__(self) -> str:
        return str(self._addresses[0])

    @property
    def peer(self) -> Certified | None:
        """Who answered; None before the first connection."""
        return self._peer

    @property
    def address(self) -> Address:
        """Where the connection made last leads; before the first, where it is tried first."""
        return self._addresses[0]

    @property
    def newest_authority(self) -> bytes:
        """What the server said last of a CA to follow: its key's SHA-256; empty for nothing.

        A hint to ask by, never to believe: ``pki.succession`` decides.
        """
        return self._newest_authority

    @property
    def server_time_ms(self) -> int:
        """The server's clock as its last health check told it, Unix milliseconds; 0: it has told nothing."""
        return self._server_time_ms

    @property
    def farewell(self) -> CollectiveError | None:
        """Why the server ended the connection made last, if it said so."""
        return self._farewell

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands now."""
        return bool(self._connected)

    def stub(self, stub_class: Callable[[Channel], S]) -> S:
        """Return a stub of ``stub_class`` on this channel."""
        return stub_class(self)

    async def connect(self) -> Certified:
        """Connect now if not connected; return who answered.

        Raises:
            UnreachableError, RejectedError: As :func:`collective.rpc.client.connect.open_first`.
        """
        await self.__connect__()
        assert self._peer is not None
        return self._peer

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[Any],
        reply_type: type[Any],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: Any = None,
    ) -> RpcStream:
        """Begin a call (stubs do); adds the request id and, for unary calls, a deadline.

        Unary calls that come one upon the other go in batches (:mod:`collective.rpc.batching`).
        """
        if timeout is None and deadline is None and cardinality not in _STREAMING:
            timeout = UNARY_TIMEOUT_S
        if timeout is not None:
            own = Deadline.from_timeout(timeout)
            deadline = own if deadline is None else min(own, deadline)
        merged: MultiDict[str | bytes] = MultiDict(metadata or ())
        if REQUEST_ID_KEY not in merged:
            merged.add(REQUEST_ID_KEY, current_request_id() or new_request_id(self._randomness))

        def alone() -> RpcStream:
            return RpcStream(
                self,
                name,
                cast("Any", merged),
                cardinality,
                request_type,
                reply_type,
                codec=self._codec,
                status_details_codec=None,
                dispatch=self.__dispatch__,
                deadline=deadline,
            )

        if cardinality is not Cardinality.UNARY_UNARY or not self._goes_in_batches(name):
            return alone()
        assert deadline is not None
        call = dict(merged)
        if not all(isinstance(value, str) for value in call.values()):
            return alone()
        return cast("RpcStream", self._in_batches().stream(name, call, deadline, reply_type, alone))

    def _goes_in_batches(self, name: str) -> bool:
        if self._share is not None:  # what other members hold is counted by the call
            return False
        is_refused = self._batches is not None and self._batches.is_refused
        return self._batching.takes(name) and not is_refused

    def _in_batches(self) -> CallBatches:
        if self._batches is None:
            # a short command makes no batches
            from collective.rpc.batching.calling import CallBatches  # noqa: PLC0415
            from collective.rpc.gen.collective.v1.batches import (  # noqa: PLC0415
                AnswerBatch,
                CallBatch,
            )

            def exchange() -> RpcStream:
                return self.request(EXCHANGE, Cardinality.STREAM_STREAM, CallBatch, AnswerBatch)

            self._batches = CallBatches(
                exchange, self._hear_authority, lambda: str(self), self._codec
            )
        return self._batches

    def _protocol_for(self, peer: Certified) -> BoundedH2Protocol:
        self._peer = peer
        self._farewell = None
        if self._batches is not None:
            self._batches.is_refused = False  # it may be another version

        def goodbye(said: bytes | None) -> None:
            self._farewell = heard(said, str(peer.identity.trust_domain))

        protocol = BoundedH2Protocol(Handler(), self._config, self._h2_config)
        protocol.open_transports = self._open_transports
        protocol.share = self._share
        protocol.on_goodbye = goodbye
        return protocol

    async def _hear_beside(self, event: RecvInitialMetadata) -> None:
        time = event.metadata.get(SERVER_TIME_KEY)
        if isinstance(time, str) and _UNIX_MS.match(time):
            self._server_time_ms = int(time)
        said = event.metadata.get(NEWEST_AUTHORITY_KEY)
        if isinstance(said, str) and _DIGEST_HEX.match(said):
            self._hear_authority(bytes.fromhex(said))

    def _hear_authority(self, digest: bytes) -> None:
        if len(digest) == _DIGEST_BYTES:
            self._newest_authority = digest

    async def _create_connection(self) -> H2Protocol:
        if self._is_closed:
            raise UnreachableError("The channel has been closed.")
        _, protocol, address = await open_first(
            self._addresses,
            self._tls(),
            self._protocol_for,
            gate=self._gate,
            expect=self._expect,
            alpn=ALPN_GRPC,
            timeout_s=self._connect_timeout_s,
        )
        # What has worked is tried first the next time.
        self._addresses = (address, *(one for one in self._addresses if one != address))
        return protocol

    def close(self) -> None:
        """Close the connection; calls in flight fail.  Closing twice is fine."""
        self._is_closed = True
        if self._batches is not None:
            self._batches.close()
        super().close()

    async def aclose(self) -> None:
        """Close, and wait about a second at most until the connection has gone."""
        self.close()
        await asyncio.sleep(0)
        if self._batches is not None:
            await self._batches.ended()
        await self._open_transports.leave()


def _in_header(host: str) -> str:
    """Return ``host`` as a header may have it; nothing depends on it, and it may be no name at all."""
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return "invalid"
