"""grpclib's HTTP/2 protocol with bounds on the size of one message and on answers not read.

grpclib reads a message of whatever length its prefix says, up to 4 GiB, into memory.  Here a
length over the limit raises before a byte of the body is kept.  It also answers every ping and
settings frame, whether the peer reads or not; a peer that lets answers pile up is cut off.
"""

from __future__ import annotations

from asyncio import BaseTransport, Transport
from collections.abc import Callable
from dataclasses import replace
from typing import Final, cast

from grpclib.config import Configuration
from grpclib.protocol import H2Protocol, Stream
from grpclib.utils import Wrapper
from h2.events import ConnectionTerminated
from h2.exceptions import ProtocolError as H2ProtocolError

from collective.core.errors import UsageError
from collective.core.limits import RPC_MESSAGE_MAX_BYTES
from collective.rpc.http2.closing import OpenTransports
from collective.rpc.http2.goaway import Farewells, last_words
from collective.rpc.http2.member_share import (
    FOREIGN_UNREAD_MAX_BYTES,
    FOREIGN_WINDOW_BYTES,
    FOREIGN_WRITE_BYTES,
    MemberShare,
)
from collective.rpc.wire.gathered_writes import GatheredWrites

SERVER_CONFIG: Final = Configuration(
    _keepalive_time=30.0,
    _keepalive_timeout=20.0,
    _keepalive_permit_without_calls=True,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=10.0,
)
CLIENT_CONFIG: Final = Configuration(
    _keepalive_time=10.0,
    _keepalive_timeout=10.0,
    _keepalive_permit_without_calls=True,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=5.0,
)
FOREIGN_CLIENT_CONFIG: Final = replace(
    CLIENT_CONFIG,
    http2_connection_window_size=FOREIGN_WINDOW_BYTES,
    http2_stream_window_size=FOREIGN_WINDOW_BYTES,
)
"""Of connections to another member's coordinator."""
UNREAD_MAX_BYTES: Final = 8 * 1024 * 1024
"""Messages wait for the peer long before that; only answers to control frames do not."""


FOREIGN_CONFIG: Final = replace(
    SERVER_CONFIG,
    http2_connection_window_size=FOREIGN_WINDOW_BYTES,
    http2_stream_window_size=FOREIGN_WINDOW_BYTES,
)
"""Of connections that another member shares with others."""


class BoundedStream(Stream):
    """One call's stream; refuses to receive a message over the limit, or beyond the share of its member."""

    share: MemberShare | None = None
    """Of the other member that the connection comes from."""
    _held_bytes = 0

    def give_back(self) -> None:
        """Count the messages of this call no longer; it has ended."""
        if self.share is not None:
            self.share.give_back(self._held_bytes)
        self._held_bytes = 0

    def _take(self, size: int) -> None:
        if self.share is not None:
            self.share.take(size)
            self._held_bytes += size

    async def send_data(
        self,
        data: bytes,
        end_stream: bool = False,  # noqa: FBT001, FBT002 - as grpclib has it
    ) -> None:
        """Send an answer, as fast as the peer takes it."""
        self._take(len(data))
        await super().send_data(data, end_stream)

    async def recv_data(self, size: int) -> bytes:
        """Return ``size`` bytes; :class:`UsageError` if that is more than a message may have."""
        if size > RPC_MESSAGE_MAX_BYTES:
            raise UsageError(
                f"A message of {size} bytes is over the limit of {RPC_MESSAGE_MAX_BYTES}; "
                "send less in one message."
            )
        self._take(size)
        return await super().recv_data(size)


class BoundedH2Protocol(H2Protocol):
    """H2Protocol whose streams are bounded, and which tells when the connection ends."""

    on_lost: Callable[[], None] | None = None
    open_transports: OpenTransports | None = None
    """Told of the transport, if set before the connection is made."""
    share: MemberShare | None = None
    """Of the other member that the connection comes from, if set before the connection is made."""
    on_goodbye: Callable[[bytes | None], None] | None = None
    """Told what the other side said when it ended the connection, before calls hear of the end."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin HTTP/2 on ``transport``, whose peer has been verified."""
        self._transport = cast("Transport", transport)  # uvloop's is no subclass
        self._writes = GatheredWrites(self._transport)
        gathered = cast("Transport", self._writes)
        super().connection_made(gathered)
        connection = self.connection
        if self.open_transports is not None:
            self.open_transports.made(self._transport)
        share = self.share
        if share is not None:
            self._transport.set_write_buffer_limits(high=FOREIGN_WRITE_BYTES)

        def create_stream(
            *, stream_id: int | None = None, wrapper: Wrapper | None = None
        ) -> Stream:
            h2_connection = connection._connection  # noqa: SLF001 - as grpclib makes its streams
            stream = BoundedStream(
                connection, h2_connection, gathered, stream_id=stream_id, wrapper=wrapper
            )
            stream.share = share
            return stream

        connection.create_stream = create_stream  # type: ignore[method-assign]
        self.processor.processors[ConnectionTerminated] = self._terminated

    def say_farewell(self, farewells: Farewells, sentence: bytes) -> None:
        """End all calls and, with ``sentence`` as the last word, the connection."""
        connection = self.connection
        try:
            words = last_words(connection._connection, sentence)  # noqa: SLF001 - grpclib ends none so
        except H2ProtocolError:  # the other side has said its own last word
            self._transport.abort()
            return
        del connection._transport  # noqa: SLF001 - it would close at once, and the word be lost
        self._writes.flush()
        farewells.say(self._transport, words)
        self.connection_lost(None)

    def end(self) -> None:
        """Close the connection once what was written has gone."""
        self._writes.close()

    def _terminated(self, event: ConnectionTerminated) -> None:
        if self.on_goodbye is not None:
            self.on_goodbye(event.additional_data)
        self.processor.process_connection_terminated(event)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless the peer reads none of the answers."""
        most = UNREAD_MAX_BYTES if self.share is None else FOREIGN_UNREAD_MAX_BYTES
        if self._writes.get_write_buffer_size() > most:
            self._transport.abort()
            return
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End all calls and report."""
        super().connection_lost(exc)
        # breaks the cycle connection -> create_stream -> connection
        self.connection.__dict__.pop("create_stream", None)
        if self.open_transports is not None:
            self.open_transports.gone(self._transport)
        if self.on_lost is not None:
            self.on_lost()
