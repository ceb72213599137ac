"""The loop on virtual time that other tests stand on."""

from __future__ import annotations

import asyncio

import pytest

from tests.virtual_time import VirtualTimeLoop


@pytest.mark.virtual_time
async def test_time_passes_only_by_waiting_and_exactly_as_long() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert loop.time() == 0.0
    async with asyncio.TaskGroup() as group:
        for number in range(1, 4):
            group.create_task(asyncio.sleep(number * 3600.0))
    assert loop.time() == 3 * 3600.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(7.5):
            await asyncio.Event().wait()
    assert loop.time() == 3 * 3600.0 + 7.5


def test_waiting_for_nothing_is_an_error_and_does_not_hang() -> None:
    loop = VirtualTimeLoop()
    waiting = loop.create_future()
    with pytest.raises(AssertionError, match="Nothing is left to happen"):
        loop.run_until_complete(waiting)
    loop.close()
