"""A loop in a thread of its own, for scripts: results, errors, Ctrl-C, contexts and what ends them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager

import pytest

from collective.client.sync import Portal
from collective.core.errors import UnreachableError
from tests.worlds import REAL


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal(REAL)
    with made.open():
        yield made


class Waits:
    """Something that goes on for ever, and notes how it ended."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = ""

    async def go_on(self, *_: object) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.ended = "cancelled"
            raise


def interrupt_once(began: threading.Event) -> threading.Thread:
    """Have Ctrl-C come to this thread once something has begun."""
    here = threading.get_ident()

    def run() -> None:
        began.wait()
        signal.pthread_kill(here, signal.SIGINT)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


async def answer() -> int:
    return 42


async def fail() -> None:
    raise ZeroDivisionError


def test_results_and_errors_come_back(portal: Portal) -> None:
    assert portal.call(answer) == 42
    with pytest.raises(ZeroDivisionError):
        portal.call(fail)
    assert portal.call(answer) == 42, "an error ends no other call"


def test_an_interrupt_cancels_what_is_under_way_and_waits_for_its_end(portal: Portal) -> None:
    waits = Waits()
    thread = interrupt_once(waits.began)
    with pytest.raises(KeyboardInterrupt):
        portal.call(waits.go_on)
    thread.join()
    assert waits.ended == "cancelled"
    assert portal.call(answer) == 42, "the loop goes on"


def test_an_interrupt_at_any_moment_of_a_call_leaves_the_loop_usable(portal: Portal) -> None:
    for _ in range(200):
        waits = Waits()
        thread = interrupt_once(waits.began)
        with pytest.raises(KeyboardInterrupt):
            portal.call(waits.go_on)
        thread.join()
        assert waits.ended == "cancelled"
    assert portal.call(answer) == 42


def test_without_a_loop_nothing_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(work: Coroutine[object, object, None]) -> None:
        work.close()
        raise OSError("too many open files")

    monkeypatch.setattr(asyncio, "run", fail)
    with pytest.raises(OSError, match="too many"), Portal(REAL).open():
        raise AssertionError("never entered")


def test_the_end_cancels_what_another_thread_waits_for() -> None:
    waits, portal = Waits(), Portal(REAL)
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            portal.call(waits.go_on)
        except BaseException as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    with portal.open():
        thread = threading.Thread(target=wait)
        thread.start()
        waits.began.wait()
    thread.join()
    assert [type(one) for one in failed] == [asyncio.CancelledError]
    assert waits.ended == "cancelled"


def test_each_connection_has_a_loop_of_its_own() -> None:
    one, other = Portal(REAL), Portal(REAL)
    with one.open():
        with other.open():
            assert one.call(loop_of) != other.call(loop_of)
        assert one.call(answer) == 42


async def loop_of() -> int:
    return id(asyncio.get_running_loop())


def test_an_iterator_is_closed_when_it_is_left(portal: Portal) -> None:
    closed = threading.Event()

    async def numbers() -> AsyncGenerator[int]:
        try:
            for number in range(5):
                yield number
        finally:
            await asyncio.sleep(0)
            closed.set()

    assert list(portal.each(numbers)) == [0, 1, 2, 3, 4]
    closed.clear()
    some = portal.each(numbers)
    assert next(some) == 0
    some.close()
    assert closed.is_set()


class Context:
    """A context that belongs to the task that entered it, as those of task groups do."""

    def __init__(self, *, fails: asyncio.Event | None = None) -> None:
        self.told: list[str] = []
        self.fails = fails

    @asynccontextmanager
    async def make(self) -> AsyncIterator[Context]:
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._fail())
                try:
                    yield self
                finally:
                    watching.cancel()
        except BaseException as error:
            self.told.append(type(error).__name__)
            raise
        self.told.append("left")

    async def _fail(self) -> None:
        if self.fails is None:
            await asyncio.Event().wait()
        else:
            await self.fails.wait()
            raise ZeroDivisionError

    async def strike(self) -> None:
        assert self.fails is not None
        self.fails.set()
        await asyncio.Event().wait()


def test_a_context_is_left_without_an_error_or_as_cancelled(portal: Portal) -> None:
    context = Context()
    with portal.entered(context.make) as held:
        assert held.value is context
        assert held.call(lambda _: answer()) == 42
    assert context.told == ["left"]

    def leave_by_an_error() -> None:
        with portal.entered(context.make):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave_by_an_error()
    assert context.told == ["left", "CancelledError"]


def test_what_ends_a_context_ends_the_call_within_it(portal: Portal) -> None:
    context = Context(fails=asyncio.Event())

    def strike() -> None:
        with portal.entered(context.make) as held:
            held.call(lambda one: one.strike())

    with pytest.raises(ExceptionGroup) as caught:
        strike()
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
    assert context.told == ["ExceptionGroup"]


def test_an_interrupt_within_a_context_leaves_it_as_cancelled(portal: Portal) -> None:
    context, waits = Context(), Waits()
    thread = interrupt_once(waits.began)

    def wait() -> None:
        with portal.entered(context.make) as held:
            held.call(waits.go_on)

    with pytest.raises(KeyboardInterrupt):
        wait()
    thread.join()
    assert (waits.ended, context.told) == ("cancelled", ["CancelledError"])


def test_an_interrupt_while_a_context_is_entered_ends_it(portal: Portal) -> None:
    waits = Waits()

    @asynccontextmanager
    async def make() -> AsyncIterator[None]:
        await waits.go_on()
        yield

    def enter() -> None:
        with portal.entered(make):
            raise AssertionError("never entered")

    thread = interrupt_once(waits.began)
    with pytest.raises(KeyboardInterrupt):
        enter()
    thread.join()
    assert waits.ended == "cancelled"


def test_threads_that_call_while_another_one_closes_are_told() -> None:
    for _ in range(20):
        portal = Portal(REAL)
        told: list[BaseException] = []

        def call(portal: Portal = portal, told: list[BaseException] = told) -> None:
            try:
                while True:
                    portal.call(answer)
            except (UnreachableError, asyncio.CancelledError) as error:
                told.append(error)

        threads = [threading.Thread(target=call, daemon=True) for _ in range(4)]
        with portal.open():
            for thread in threads:
                thread.start()
            portal.call(answer)
        for thread in threads:
            thread.join(30)
        assert len(told) == len(threads)


def test_a_call_after_the_end_says_that_it_is_closed() -> None:
    portal = Portal(REAL)
    with portal.open():
        pass
    with pytest.raises(UnreachableError, match="closed"):
        portal.call(answer)
