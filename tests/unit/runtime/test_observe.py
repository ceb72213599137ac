"""Metrics and the pages of the health listener, without a socket."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest

from collective.core.units import Address
from collective.roles.runtime.http import ObserveListener
from collective.roles.runtime.metrics import Metrics
from collective.roles.runtime.notify import Notifier


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /metrics HTTP/1.1", HTTPStatus.OK),
        (b"GET /healthz HTTP/1.0", HTTPStatus.OK),
        (b"GET /readyz?x=1 HTTP/1.1", HTTPStatus.SERVICE_UNAVAILABLE),
        (b"GET /etc/passwd HTTP/1.1", HTTPStatus.NOT_FOUND),
        (b"POST /metrics HTTP/1.1", HTTPStatus.METHOD_NOT_ALLOWED),
        (b"\x16\x03\x01", HTTPStatus.BAD_REQUEST),
        (b"", HTTPStatus.BAD_REQUEST),
    ],
)
def test_pages(line: bytes, status: HTTPStatus) -> None:
    listener = ObserveListener(Metrics().exposition, lambda: ("node is not ready",))
    assert listener.answer(line)[0].status is status


@pytest.mark.parametrize("micros", ["", "0", "-5", "x"])
def test_no_watchdog_without_a_sound_interval(micros: str) -> None:
    assert Notifier({"WATCHDOG_USEC": micros}).watchdog_interval_s is None


def test_watchdog_at_half_the_interval() -> None:
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_interval_s == 15.0


async def test_forty_scrapes_at_once_from_one_address_are_answered() -> None:
    listener = ObserveListener(lambda: b"x 1\n", tuple)
    address = await listener.start(Address("127.0.0.1", 0))

    async def scrape() -> bytes:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        answer = await reader.read(15)
        writer.transport.abort()
        return answer

    async with asyncio.timeout(60):
        answers = await asyncio.gather(*(scrape() for _ in range(40)))
    await listener.stop()
    assert answers == [b"HTTP/1.1 200 OK"] * 40
