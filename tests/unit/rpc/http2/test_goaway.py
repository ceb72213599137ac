"""The last word to the revoked: how it is put, what of it is heard, and what bounds it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated

from collective.core.errors import ExitCode, ShutOutError
from collective.rpc.http2 import goaway
from collective.rpc.http2.goaway import FAREWELLS_MAX, REVOKED, Farewells, first_words, heard


class Transport:
    """Only what a goaway uses."""

    def __init__(self) -> None:
        self.written = b""
        self.is_aborted = False
        self.protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True


def said_to(farewells: Farewells) -> Transport:
    transport = Transport()
    farewells.say(cast("asyncio.Transport", transport), b"bye")
    return transport


def test_any_client_of_http2_can_read_it() -> None:
    client = H2Connection()
    client.initiate_connection()
    (ended,) = [
        event
        for event in client.receive_data(first_words(REVOKED))
        if isinstance(event, ConnectionTerminated)
    ]
    assert ended.additional_data == REVOKED
    assert ended.error_code == ErrorCodes.INADEQUATE_SECURITY
    assert ended.last_stream_id == 0


def test_only_the_word_is_heard_and_the_sentence_is_ours() -> None:
    error = heard(REVOKED.partition(b":")[0] + b": \x1b[31mcall +1 900 HACKER\n" * 99, "home.alice")
    assert isinstance(error, ShutOutError)
    assert error.exit_code is ExitCode.CONFLICT
    assert not error.retryable
    assert error.message == (
        "home.alice says that your certificate was revoked; ask its operator for a new invitation."
    )


@pytest.mark.parametrize(
    "said",
    [
        None,
        b"",
        b"max_age",
        b"certificate_revokedX",
        b" certificate_revoked",
        b"CERTIFICATE_REVOKED",
        b"\xff\xfe",
        b"certificate_revoked" * 1000,
    ],
)
def test_other_words_mean_nothing(said: bytes | None) -> None:
    assert heard(said, "home.alice") is None


async def test_so_many_at_once_and_those_beyond_are_cut_off() -> None:
    farewells = Farewells()
    told = [said_to(farewells) for _ in range(FAREWELLS_MAX)]
    late = said_to(farewells)
    assert late.is_aborted
    assert late.written == b""
    assert not any(one.is_aborted for one in told)
    told[0].protocol.connection_lost(None)
    assert not said_to(farewells).is_aborted
    farewells.cut_off()
    assert all(one.is_aborted for one in told[1:])
    for one in told[1:]:
        one.protocol.connection_lost(None)


async def test_who_floods_or_stays_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goaway, "LINGER_S", 0.0)
    flooding = said_to(Farewells())
    for _ in range(5):
        flooding.protocol.data_received(bytes(64 * 1024))
    assert flooding.is_aborted
    staying = said_to(Farewells())
    while not staying.is_aborted:
        await asyncio.sleep(0)
