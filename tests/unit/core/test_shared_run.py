"""Work that is shared by those who ask for it at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from collective.core.shared_run import SharedRuns


class Work:
    """Work that ends when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.cancelled = 0
        self.release = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.ended += 1
        return number


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def leave(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_six_that_ask_at_once_have_it_done_once() -> None:
    runs, work = SharedRuns[str, int](), Work()
    asking = [asyncio.create_task(runs.run("all", work)) for _ in range(6)]
    await settle()
    work.release.set()
    assert await asyncio.gather(*asking) == [1] * 6
    assert (work.begun, len(runs)) == (1, 0)
    assert await runs.run("all", work) == 2, "nothing of a result is kept"


async def test_what_is_asked_for_by_another_key_is_done_by_itself() -> None:
    runs, work = SharedRuns[str, int](), Work()
    work.release.set()
    found = await asyncio.gather(runs.run("a", work), runs.run("b", work))
    assert list(found) == [1, 2]


async def test_it_goes_on_while_one_waits_and_ends_with_the_last() -> None:
    runs, work = SharedRuns[str, int](), Work()
    asking = [asyncio.create_task(runs.run("all", work)) for _ in range(6)]
    await settle()
    await leave(*asking[:5])
    assert (work.ended, len(runs)) == (0, 1)
    await leave(asking[5])
    assert (work.ended, work.cancelled, len(runs)) == (1, 1, 0), "the last returned after it ended"


async def test_one_who_asks_while_it_is_being_ended_has_it_begun_anew() -> None:
    runs: SharedRuns[str, str] = SharedRuns()
    ending, release = asyncio.Event(), asyncio.Event()

    async def slow_to_end() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await release.wait()
        return "never"

    async def quick() -> str:
        return "anew"

    first = asyncio.create_task(runs.run("all", slow_to_end))
    await settle()
    first.cancel()
    await ending.wait()
    assert await runs.run("all", quick) == "anew"
    assert not first.done()
    release.set()
    with suppress(asyncio.CancelledError):
        await first


async def test_an_error_goes_to_all_and_is_not_kept() -> None:
    runs: SharedRuns[str, int] = SharedRuns()
    release = asyncio.Event()

    async def fails() -> int:
        await release.wait()
        raise ValueError("no")

    asking = [asyncio.create_task(runs.run("all", fails)) for _ in range(3)]
    await settle()
    release.set()
    for task in asking:
        with pytest.raises(ValueError, match="no"):
            await task
    assert len(runs) == 0


async def test_an_error_that_nobody_waits_for_any_more_is_dropped() -> None:
    runs: SharedRuns[str, int] = SharedRuns()

    async def fails_at_the_end() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise ValueError("too late") from error
        return 0

    asking = asyncio.create_task(runs.run("all", fails_at_the_end))
    await settle()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
