"""Threads of the machine and threads that are none keep the same promises."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from collective.core.errors import NotFoundError
from collective.core.world import InlineThreads, OsThreads, Runs, Threads
from collective.core.world.threads import OsPool, _Mailbox, _Piece


@pytest.fixture(params=[OsThreads, InlineThreads])
def threads(request: pytest.FixtureRequest) -> Threads:
    made: Callable[[], Threads] = request.param
    return made()


def no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def fail() -> None:
    raise NotFoundError("gone")


async def test_work_gives_back_its_result_and_its_error(threads: Threads) -> None:
    pool = threads.pool(2, "test")
    runs: tuple[Runs, ...] = (pool, threads)
    for place in runs:
        assert await place.run(divmod, 7, 2) == (3, 1)
        assert await place.run(int, "ff", base=16) == 255
        assert await place.run_to_end(divmod, 7, 2) == (3, 1)
        for run in (place.run, place.run_to_end):
            with pytest.raises(NotFoundError):
                await run(fail)
    await pool.close()


async def test_one_worker_does_one_piece_after_the_other_in_order(threads: Threads) -> None:
    pool = threads.pool(1, "test")
    done: list[int] = []
    running = [asyncio.ensure_future(pool.run(done.append, 0))]
    await asyncio.sleep(0)
    pool.start(done.append, 1)
    running.append(asyncio.ensure_future(pool.run_to_end(done.append, 2)))
    await asyncio.sleep(0)
    pool.start(done.append, 3)
    await asyncio.gather(*running)
    await pool.close()
    assert done == [0, 1, 2, 3]


async def test_closing_waits_for_what_was_given(threads: Threads) -> None:
    pool = threads.pool(1, "test")
    done: list[int] = []
    for number in range(50):
        pool.start(done.append, number)
    await pool.close()
    assert done == list(range(50))
    await pool.close()


async def test_cancelling_leaves_work_that_has_begun() -> None:
    pool = OsThreads().pool(1, "test")
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait()
        ended.set()

    task = asyncio.ensure_future(pool.run(work))
    await asyncio.to_thread(began.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended.is_set(), "the wait ends at once"
    go_on.set()
    await pool.close()
    assert ended.is_set(), "the work does not"


async def test_cancelling_is_held_back_until_the_end_where_buffers_are_lent() -> None:
    pool = OsThreads().pool(1, "test")
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait()
        ended.set()

    task = asyncio.ensure_future(pool.run_to_end(work))
    await asyncio.to_thread(began.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    await pool.close()


async def test_work_that_is_lent_buffers_runs_even_if_nobody_waits(threads: Threads) -> None:
    pool = threads.pool(1, "test")
    done: list[int] = []
    task = asyncio.ensure_future(pool.run_to_end(done.append, 1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]
    await pool.close()


async def test_an_abandoned_pool_drops_what_has_not_begun() -> None:
    pool = OsThreads().pool(1, "test")
    began, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> None:
        began.set()
        go_on.wait()

    pool.start(work)
    await asyncio.to_thread(began.wait)
    pool.start(done.append, 1)
    pool.abandon()
    go_on.set()
    await pool.close()
    assert done == []


async def test_a_closed_pool_refuses_work() -> None:
    for end in ("close", "abandon"):
        pool = OsThreads().pool(1, "test")
        await pool.run(int)
        if end == "close":
            await pool.close()
        else:
            pool.abandon()
        with pytest.raises(RuntimeError, match="closed"):
            await pool.run(int)


async def test_the_loop_hears_once_of_all_that_was_done_while_it_did_not_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = OsThreads().pool(1, "test")
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    tell = loop.call_soon_threadsafe

    def counted(*args: Any, **kwargs: Any) -> asyncio.Handle:
        calls.append(args)
        return tell(*args, **kwargs)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    last = threading.Event()
    tasks: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(pool.run(divmod, number, 3)) for number in range(20)
    ]
    tasks.append(asyncio.ensure_future(pool.run(last.set)))
    await asyncio.sleep(0)  # all are given
    assert last.wait(10)  # and done, while the loop stands still
    assert (await asyncio.gather(*tasks))[:20] == [divmod(number, 3) for number in range(20)]
    assert len(calls) == 1
    monkeypatch.undo()
    await pool.close()


async def test_as_many_pieces_run_at_once_as_there_are_workers() -> None:
    pool = OsThreads().pool(3, "test")
    meet = threading.Barrier(3, timeout=10)
    await asyncio.gather(*(pool.run(meet.wait) for _ in range(3)))
    await pool.close()


@pytest.mark.parametrize("ends_late", [False, True])
def test_a_pool_serves_a_loop_that_comes_after_one_that_did_not_wait(ends_late: bool) -> None:
    """What the first one left may end, and find its loop closed, before or after the second gives work."""
    pool = OsPool(1, "test")
    gate, done = threading.Event(), threading.Event()

    async def give() -> None:
        pool._begin(gate.wait)

    async def used() -> int:
        wanted = asyncio.ensure_future(pool.run(int, "7"))
        await asyncio.sleep(0)
        gate.set()
        async with asyncio.timeout(10):
            return await wanted

    loop = asyncio.new_event_loop()
    loop.run_until_complete(give())
    loop.close()
    if not ends_late:
        gate.set()
        pool.start(done.set)
        assert done.wait(10)
    assert asyncio.run(used()) == 7
    asyncio.run(pool.close())


async def test_what_is_done_while_the_loop_looks_wakes_it_again() -> None:
    box = _Mailbox(asyncio.get_running_loop())
    first, last = (asyncio.get_running_loop().create_future() for _ in range(2))

    class DoneLast(deque[_Piece]):
        """A thread ends its piece just after the loop found nothing more."""

        def __bool__(self) -> bool:
            if len(self):
                return True
            if not last.done() and first.done():
                _Piece(int, last, box).do()
            return False

    box._done = DoneLast()
    _Piece(int, first, box).do()
    async with asyncio.timeout(10):
        assert list(await asyncio.gather(first, last)) == [0, 0]


async def test_a_thread_that_cannot_be_made_fails_one_piece_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = OsPool(1, "test")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="new thread"):
            await pool.run(int, "6")
    async with asyncio.timeout(10):
        assert list(await asyncio.gather(pool.run(int, "7"), pool.run(int, "8"))) == [7, 8]
    await pool.close()


async def test_a_second_thread_that_cannot_be_made_fails_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = OsPool(2, "test")
    begun, gate = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        gate.wait(10)

    held = asyncio.ensure_future(pool.run(hold))
    await asyncio.sleep(0)
    assert begun.wait(10)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        waiting = asyncio.ensure_future(pool.run(int, "7"))
        await asyncio.sleep(0)
    gate.set()
    async with asyncio.timeout(10):
        assert await waiting == 7
        await held
    await pool.close()


async def test_work_that_raises_what_no_future_can_hold_fails_by_another_error(
    threads: Threads,
) -> None:
    pool = threads.pool(1, "test")
    nothing: list[int] = []
    with pytest.raises(RuntimeError):
        await pool.run(lambda: next(iter(nothing)))
    await pool.close()


async def test_what_was_started_and_raises_holds_up_nothing() -> None:
    pool = OsThreads().pool(1, "test")
    pool.start(fail)
    assert await pool.run(int, "7") == 7
    await pool.close()


def test_the_only_thread_never_pauses() -> None:
    with pytest.raises(AssertionError, match="only thread"):
        InlineThreads().pause(1.0)
