"""Leases are given back together, and never in anyone's way."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from collective.client.control import Control
from collective.client.leases import LeaseReturns
from collective.core.clock import SystemClock
from collective.core.errors import UnreachableError
from collective.core.limits import BATCH_MAX_CHUNKS
from collective.rpc.gen.collective.v1.reads import CloseReadRequest, CloseReadResponse


class FakeFiles:
    def __init__(self, *, fails: bool = False) -> None:
        self.requests: list[CloseReadRequest] = []
        self.fails = fails

    async def close_read(self, message: CloseReadRequest, **_: Any) -> CloseReadResponse:
        self.requests.append(message)
        if self.fails:
            raise UnreachableError("gone")
        return CloseReadResponse()


def returns(files: FakeFiles) -> LeaseReturns:
    stub = cast("Any", files)
    return LeaseReturns(Control(SystemClock()), stub)


async def test_many_leases_go_back_in_few_calls_and_each_once() -> None:
    files = FakeFiles()
    leases = returns(files)
    names = [f"{number:032x}" for number in range(2 * BATCH_MAX_CHUNKS)]
    for name in names:
        leases.give_back(name)
    await leases.close()
    assert len(files.requests) == 2
    assert [
        name
        for request in files.requests
        for name in (request.lease_id, *request.further_lease_ids)
    ] == names


async def test_a_coordinator_that_is_gone_is_nobodys_trouble() -> None:
    files = FakeFiles(fails=True)
    leases = returns(files)
    leases.give_back("0" * 32)
    await leases.close()
    assert len(files.requests) == 1


async def test_nothing_is_called_where_nothing_was_read() -> None:
    files = FakeFiles()
    await returns(files).close()
    assert not files.requests


async def test_a_lease_goes_back_by_itself() -> None:
    files = FakeFiles()
    leases = returns(files)
    leases.give_back("0" * 32)
    async with asyncio.timeout(60):
        while not files.requests:
            await asyncio.sleep(0.01)
    leases.give_back("1" * 32)
    await leases.close()
    assert [request.lease_id[0] for request in files.requests] == ["0", "1"]
