"""Closed connections are waited for, but not for long."""

from __future__ import annotations

import asyncio

import pytest

from collective.rpc.http2.closing import OpenTransports


class SlowTransport(asyncio.Transport):
    """Goes when it is aborted."""

    def __init__(self, known: OpenTransports) -> None:
        super().__init__()
        self.known = known
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True
        asyncio.get_running_loop().call_soon(self.known.gone, self)


async def test_leaving_waits_for_what_goes_by_itself() -> None:
    known = OpenTransports()
    transport = SlowTransport(known)
    known.made(transport)
    asyncio.get_running_loop().call_soon(known.gone, transport)
    await known.leave(30.0)
    assert not known
    assert not transport.aborted


async def test_leaving_cuts_off_a_peer_that_does_not_answer() -> None:
    known = OpenTransports()
    slow, quick = SlowTransport(known), SlowTransport(known)
    known.made(slow)
    known.made(quick)
    known.gone(quick)
    await known.leave(0.001)
    assert not known
    assert (slow.aborted, quick.aborted) == (True, False)


@pytest.mark.virtual_time
async def test_leaving_with_nothing_open_is_at_once() -> None:
    async with asyncio.timeout(0.5):
        await OpenTransports().leave(30.0)
