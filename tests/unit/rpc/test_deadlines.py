"""Calls that end early leave the tasks around them as they found them."""

from __future__ import annotations

import asyncio
from typing import Never

import pytest
from grpclib.exceptions import StreamTerminatedError

from collective.core.errors import BusyError
from collective.rpc.deadlines import CallWrapper


def end_soon(wrapper: CallWrapper) -> None:
    """Do what grpclib does when the connection of a call breaks."""
    asyncio.get_running_loop().call_soon(wrapper.cancel, StreamTerminatedError("Connection lost"))


async def never() -> Never:
    await asyncio.Event().wait()
    raise AssertionError


async def cancel_count_is_left_behind() -> None:
    """Let a child fail while its group is being left: Python 3.11 never takes that cancel back."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise BusyError("Later.")

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())


async def test_a_broken_connection_is_an_error_and_takes_its_cancellation_back() -> None:
    wrapper = CallWrapper()
    end_soon(wrapper)
    with pytest.raises(StreamTerminatedError), wrapper:
        await never()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_broken_connection_is_an_error_after_a_task_group_failed_in_the_same_task() -> None:
    async def work() -> str:
        await cancel_count_is_left_behind()
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        wrapper = CallWrapper()
        try:
            with wrapper:
                end_soon(wrapper)
                await never()
        except StreamTerminatedError:
            assert task.cancelling() == before
            return "told"

    assert await asyncio.create_task(work()) == "told"


async def test_a_task_that_is_cancelled_while_its_connection_breaks_ends_cancelled() -> None:
    wrapper = CallWrapper()

    async def work() -> None:
        await cancel_count_is_left_behind()
        with wrapper:
            inside.set()
            await never()

    inside = asyncio.Event()
    task = asyncio.create_task(work())
    await inside.wait()
    wrapper.cancel(StreamTerminatedError("Connection lost"))
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
