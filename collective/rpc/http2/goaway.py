"""The last word to a peer whose certificate was revoked: an HTTP/2 GOAWAY with a fixed sentence.

The sentence begins with a code word.  Our client acts on the word alone and shows words of its own;
other clients show what they get.  Invariants: nothing that the peer sends is acted on; a farewell
takes at most ``LINGER_S`` seconds, and at most ``FAREWELLS_MAX`` stand at once.
"""

from __future__ import annotations

import asyncio
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from collective.core.errors import CollectiveError, ShutOutError

REVOKED: Final = (
    b"certificate_revoked: this certificate was revoked; ask the operator for a new invitation"
)
LINGER_S: Final = 1.0
"""For the peer to read it and leave: a connection that is cut off at once may lose the word."""
FAREWELLS_MAX: Final = 64
_DISCARDED_MAX_BYTES: Final = 256 * 1024
_WORD_MAX_BYTES: Final = 64
_REVOKED_WORD: Final = REVOKED.partition(b":")[0]


def first_words(sentence: bytes) -> bytes:
    """Return what a server says that ends a connection with ``sentence`` before any call."""
    connection = H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    return connection.data_to_send() + last_words(connection, sentence)


def last_words(connection: H2Connection, sentence: bytes) -> bytes:
    """End ``connection`` with ``sentence``; return the bytes to send, the last there are."""
    connection.close_connection(ErrorCodes.INADEQUATE_SECURITY, additional_data=sentence)
    return connection.data_to_send()


def heard(said: bytes | None, who: str) -> CollectiveError | None:
    """Return what a GOAWAY of ``who`` that carried ``said`` means; None for any but our own words."""
    word = (said or b"")[:_WORD_MAX_BYTES].partition(b":")[0]
    if word != _REVOKED_WORD:
        return None
    return ShutOutError(
        f"{who} says that your certificate was revoked; ask its operator for a new invitation."
    )


class Farewells:
    """The connections of one listener that were told to go and have not gone yet."""

    def __init__(self) -> None:
        """Know of none."""
        self._leaving: set[asyncio.Transport] = set()

    def __len__(self) -> int:
        return len(self._leaving)

    def say(self, transport: asyncio.Transport, words: bytes) -> None:
        """Send ``words`` as the last bytes of a connection; its former protocol hears no more."""
        if len(self._leaving) >= FAREWELLS_MAX:
            transport.abort()
            return
        self._leaving.add(transport)
        transport.set_protocol(_Leaving(self, transport))
        transport.write(words)

    def gone(self, transport: asyncio.Transport) -> None:
        """Hear that a connection has ended."""
        self._leaving.discard(transport)

    def cut_off(self) -> None:
        """End those that have not gone."""
        for transport in tuple(self._leaving):
            transport.abort()


class _Leaving(asyncio.Protocol):
    """Lets what the peer sends fall, until it leaves or the time is over."""

    def __init__(self, farewells: Farewells, transport: asyncio.Transport) -> None:
        self._farewells = farewells
        self._transport = transport
        self._discarded = 0
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > _DISCARDED_MAX_BYTES:
            self._transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        del exc
        self._timer.cancel()
        self._farewells.gone(self._transport)
