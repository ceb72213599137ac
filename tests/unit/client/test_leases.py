"""Leases are given back together, and never in anyone's way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from collective.core.errors import UnreachableError
from collective.core.ids import Domain, LeaseId, LeaseKey
from collective.core.limits import BATCH_MAX_CHUNKS
from collective.model.calls import Call
from collective.transfer.engine.control import ReadControl
from collective.transfer.engine.lease_returns import LeaseReturns

DOMAIN = Domain("home.alice")


class FakeFiles:
    def __init__(self, *, fails: bool = False) -> None:
        self.requests: list[Sequence[LeaseId]] = []
        self.fails = fails

    async def close_reads(self, _call: Call, leases: Sequence[LeaseId]) -> None:
        self.requests.append(leases)
        if self.fails:
            raise UnreachableError("gone")


def returns(files: FakeFiles) -> LeaseReturns:
    return LeaseReturns(cast("ReadControl", files), Call.own(DOMAIN))


def lease(number: int) -> LeaseId:
    return LeaseId(LeaseKey(f"{number:032x}"), DOMAIN)


async def test_many_leases_go_back_in_few_calls_and_each_once() -> None:
    files = FakeFiles()
    leases = returns(files)
    names = [lease(number) for number in range(2 * BATCH_MAX_CHUNKS)]
    for name in names:
        await leases.give_back(name)
    await leases.close()
    assert len(files.requests) == 2
    assert [name for request in files.requests for name in request] == names


async def test_a_coordinator_that_is_gone_is_nobodys_trouble() -> None:
    files = FakeFiles(fails=True)
    leases = returns(files)
    await leases.give_back(lease(0))
    await leases.close()
    assert len(files.requests) == 1


async def test_nothing_is_called_where_nothing_was_read() -> None:
    files = FakeFiles()
    await returns(files).close()
    assert not files.requests


async def test_a_lease_goes_back_by_itself() -> None:
    files = FakeFiles()
    leases = returns(files)
    await leases.give_back(lease(0))
    async with asyncio.timeout(60):
        while not files.requests:
            await asyncio.sleep(0.01)
    await leases.give_back(lease(1))
    await leases.close()
    assert files.requests == [[lease(0)], [lease(1)]]
