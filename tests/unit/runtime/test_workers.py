"""The runner of background work: shares, back-off, reports, the end."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import collective
from collective.core.backoff import Backoff
from collective.core.clock import ManualClock
from collective.core.errors import CollectiveError, NoSpaceError, UnreachableError
from collective.core.randomness import SeededRandomness
from collective.core.work import (
    BUSY,
    FAILING_WARNING_S,
    IDLE,
    STEP_WARNING_S,
    Outcome,
    Periodic,
    State,
    Worker,
    report_warnings,
    retry,
)
from collective.roles.runtime.metrics import Metrics
from collective.roles.runtime.workers import REST_MOST_S, Workers

TURNS = 10
"""More turns of the loop than anything here takes."""


class Scripted(Worker):
    """Does what it is told, one step after the other, then waits until it is woken."""

    def __init__(self, name: str, *steps: Callable[[], Awaitable[Outcome]]) -> None:
        self.name = name
        self.steps = list(steps)
        self.done = 0
        self.waits = 0
        self.woken = asyncio.Event()
        self.left: int | None = None

    @property
    def backoff(self) -> Backoff:
        return Backoff(1.0, 60.0)

    async def work(self) -> Outcome:
        if not self.steps:
            return IDLE
        step = self.steps.pop(0)
        outcome = await step()
        self.done += 1
        return outcome

    async def wait(self) -> None:
        self.waits += 1
        await self.woken.wait()
        self.woken.clear()

    def queue(self) -> int | None:
        return self.left


def says(outcome: Outcome) -> Callable[[], Awaitable[Outcome]]:
    async def step() -> Outcome:
        return outcome

    return step


def raises(error: Exception) -> Callable[[], Awaitable[Outcome]]:
    async def step() -> Outcome:
        raise error

    return step


class Bench:
    """A runner whose sleeps only move the clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.slept_s: list[float] = []
        self.workers = Workers(
            "tester", self.metrics, self.clock, SeededRandomness(1), sleep=self.sleep
        )
        self.tasks: list[asyncio.Task[None]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    def start(self, *workers: Worker, share: float = 0.25) -> None:
        def spawn(work: Awaitable[None], name: str) -> asyncio.Task[None]:
            task = asyncio.ensure_future(work)
            task.set_name(name)
            self.tasks.append(task)
            return task

        self.workers.start(spawn, workers, share=share)

    async def turn(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def sample(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self.metrics.exposition().decode()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_busy_steps_follow_each_other_and_idle_ones_wait_until_woken(bench: Bench) -> None:
    worker = Scripted("w", says(BUSY), says(BUSY), says(IDLE), says(IDLE))
    bench.start(worker)
    await bench.turn()
    assert (worker.done, worker.waits) == (3, 1)
    worker.woken.set()
    await bench.turn()
    assert worker.done == 4
    await bench.workers.stop()


async def test_a_step_says_how_long_to_rest(bench: Bench) -> None:
    worker = Scripted("w", says(Outcome.rest(7.0)), says(IDLE))
    bench.start(worker)
    await bench.turn()
    assert worker.done == 2
    assert bench.slept_s == [7.0]
    await bench.workers.stop()


async def test_a_worker_rests_in_proportion_to_the_time_it_kept_the_loop(bench: Bench) -> None:
    async def hard() -> Outcome:
        bench.clock.advance(0.03)
        await asyncio.sleep(0)
        bench.clock.advance(0.01)
        return BUSY

    async def others_turn() -> Outcome:
        ready = asyncio.Event()

        def somebody_else() -> None:
            bench.clock.advance(500.0)
            ready.set()

        asyncio.get_running_loop().call_soon(somebody_else)
        await ready.wait()
        return BUSY

    async def monstrous() -> Outcome:
        bench.clock.advance(100.0)
        return BUSY

    bench.start(Scripted("w", hard, others_turn, monstrous), share=0.25)
    await bench.turn()
    await bench.turn()
    assert bench.slept_s == pytest.approx([0.12, 0.0, REST_MOST_S])
    assert bench.sample("collective_worker_loop_seconds_total", worker="w") == pytest.approx(100.04)
    await bench.workers.stop()


async def test_a_failing_worker_backs_off_while_the_others_go_on(bench: Bench) -> None:
    error = NoSpaceError("The disk is full; free some space.")
    bad = Scripted("bad", *[raises(error)] * 3)
    good = Scripted("good", *[says(BUSY)] * 5)
    bench.start(bad, good)
    await bench.turn()
    await bench.turn()
    delays = [seconds for seconds in bench.slept_s if seconds]
    assert len(delays) == 3
    for seconds, full_s in zip(delays, (1.0, 2.0, 4.0), strict=True):
        assert full_s / 2 < seconds <= full_s
    assert (good.done, bad.waits) == (5, 1)
    assert bench.sample("collective_worker_errors_total", worker="bad", error="no_space") == 3
    await bench.workers.stop()


@pytest.mark.parametrize("error", [RuntimeError("a defect"), OSError(5, "Input/output error")])
async def test_an_unexpected_error_is_logged_with_its_traceback_and_ends_nothing(
    bench: Bench, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Scripted("w", raises(error), says(IDLE))
    bench.start(worker)
    await bench.turn()
    assert worker.done == 1
    assert not bench.tasks[0].done()
    (report,) = bench.workers.reports()
    assert report.error == ""
    name = type(error).__name__
    assert bench.sample("collective_worker_errors_total", worker="w", error=name) == 1
    await bench.workers.stop()


async def test_a_wait_that_breaks_is_a_failure_like_any_other(bench: Bench) -> None:
    worker = Scripted("w", says(IDLE))

    async def broken() -> None:
        worker.wait = lambda: asyncio.Event().wait()  # type: ignore[method-assign,assignment,return-value]
        raise OSError(5, "Input/output error")

    worker.wait = broken  # type: ignore[method-assign]
    bench.start(worker)
    await bench.turn()
    assert not bench.tasks[0].done()
    assert bench.sample("collective_worker_errors_total", worker="w", error="OSError") == 1
    await bench.workers.stop()


async def test_reports_say_state_success_queue_and_why_it_fails(bench: Bench) -> None:
    hold = asyncio.Event()

    async def held() -> Outcome:
        await hold.wait()
        return IDLE

    worker = Scripted("w", held, raises(UnreachableError("Nobody is there.")))
    worker.left = 3
    bench.start(worker)
    await bench.turn()
    bench.clock.advance(STEP_WARNING_S)
    (report,) = bench.workers.reports()
    assert (report.name, report.state, report.queue) == ("w", State.WORKING, 3)
    assert report.last_success_ms == 0
    assert "at one step for 15 minutes" in report_warnings([report])[0]
    hold.set()
    await bench.turn()
    (report,) = bench.workers.reports()
    assert report.state is State.WAITING
    assert report.last_success_ms == int(bench.clock.wall_s() * 1000)
    assert bench.sample("collective_worker_queue", worker="w") == 3
    assert bench.sample("collective_worker_state", worker="w", state="waiting") == 1
    assert bench.sample("collective_worker_state", worker="w", state="working") == 0
    assert report_warnings([report]) == []
    await bench.workers.stop()


async def test_a_worker_that_fails_for_long_is_a_warning(bench: Bench) -> None:
    stuck = asyncio.Event()

    async def sleep_once(seconds: float) -> None:
        bench.slept_s.append(seconds)
        await stuck.wait()

    bench.workers = Workers("t", bench.metrics, bench.clock, SeededRandomness(1), sleep=sleep_once)
    bench.start(Scripted("snapshot", raises(NoSpaceError("The disk is full."))))
    await bench.turn()
    (report,) = bench.workers.reports()
    assert (report.state, report.error) == (State.FAILING, "The disk is full.")
    assert report.next_s == bench.slept_s[0]
    assert report_warnings([report]) == []
    bench.clock.advance(FAILING_WARNING_S)
    assert report_warnings(bench.workers.reports()) == [
        "The worker 'snapshot' has failed for 5 minutes: The disk is full."
    ]
    await bench.workers.stop()


async def test_a_stop_ends_waits_at_once_and_lets_a_step_finish(bench: Bench) -> None:
    hold = asyncio.Event()

    async def held() -> Outcome:
        await hold.wait()
        return BUSY

    at_a_step, waiting = Scripted("step", held, says(BUSY)), Scripted("wait")
    bench.start(at_a_step, waiting)
    await bench.turn()
    stopping = asyncio.create_task(bench.workers.stop(grace_s=3600.0))
    await bench.turn()
    assert [task.done() for task in bench.tasks] == [False, True]
    hold.set()
    await stopping
    assert at_a_step.done == 1
    assert [report.state for report in bench.workers.reports()] == [State.STOPPED] * 2


async def test_a_step_that_outlasts_its_grace_is_cancelled(bench: Bench) -> None:
    async def endless() -> Outcome:
        await asyncio.Event().wait()
        return IDLE

    worker = Scripted("w", endless)
    bench.start(worker)
    await bench.turn()
    await bench.workers.stop(grace_s=0.0)
    assert bench.tasks[0].cancelled()


async def test_a_step_that_will_not_even_be_cancelled_holds_nothing_up(bench: Bench) -> None:
    release = asyncio.Event()

    async def stubborn() -> Outcome:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return IDLE

    bench.start(Scripted("w", stubborn))
    await bench.turn()
    await bench.workers.stop(grace_s=0.0, cancel_grace_s=0.0)
    assert not bench.tasks[0].done()
    release.set()
    await bench.tasks[0]


async def test_periodic_work_begins_at_once_or_after_a_wait_and_when_it_is_woken() -> None:
    rounds = 0

    async def step() -> bool:
        nonlocal rounds
        rounds += 1
        return rounds % 2 == 1

    wake = asyncio.Event()
    worker = Periodic("p", 3600.0, step, wake=wake, sleeps_first=True)
    assert await worker.work() == IDLE
    assert rounds == 0
    wake.set()
    await worker.wait()
    assert await worker.work() == BUSY
    assert await worker.work() == IDLE
    assert await Periodic("q", 1.0, step).work() == BUSY


async def test_a_retry_waits_longer_each_time_and_passes_on_what_does_not_pass() -> None:
    answers: list[Exception | str] = [UnreachableError("a"), UnreachableError("b"), "done"]
    told: list[str] = []
    slept: list[float] = []

    async def attempt() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def failed(error: CollectiveError) -> None:
        told.append(error.message)

    async def run() -> str:
        return await retry(
            attempt,
            (UnreachableError,),
            Backoff(1.0, 60.0),
            lambda: 0.0,
            failed=failed,
            sleep=sleep,
        )

    assert await run() == "done"
    assert (told, slept) == (["a", "b"], [1.0, 2.0])
    answers.append(NoSpaceError("The disk is full."))
    with pytest.raises(NoSpaceError):
        await run()


def test_roles_and_member_have_no_loop_of_their_own_that_sleeps() -> None:
    allowed = {
        "roles/runtime/workers.py",
        "roles/runtime/lifecycle.py",  # polls readiness during the start
        "member/files/rights_watch.py",  # watches one call for as long as it runs
    }
    root = Path(collective.__file__).parent
    found = [
        f"{path.relative_to(root)}:{loop.lineno}"
        for room in ("roles", "member")
        for path in sorted((root / room).rglob("*.py"))
        if str(path.relative_to(root)) not in allowed
        for loop in sleeping_loops(path.read_text())
    ]
    assert found == [], "background work is a Worker, what must be done first a retry()"


def sleeping_loops(source: str) -> list[ast.While]:
    """Return the ``while`` loops in ``source`` that wait for time to pass."""
    return [
        loop
        for loop in ast.walk(ast.parse(source))
        if isinstance(loop, ast.While)
        and any(
            isinstance(node, ast.Await)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func).rpartition(".")[2].lstrip("_") in {"sleep", "pause"}
            for node in ast.walk(loop)
        )
    ]


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("async def f():\n while True:\n  await asyncio.sleep(1)", 1),
        ("async def f():\n while not g():\n  await self._sleep(1)", 1),
        ("async def f():\n while True:\n  try:\n   await pause(event, 3)\n  finally: pass", 1),
        ("async def f():\n while True:\n  await queue.get()", 0),
        ("async def f():\n await asyncio.sleep(1)", 0),
    ],
)
def test_the_check_for_loops_sees_them(source: str, count: int) -> None:
    assert len(sleeping_loops(source)) == count


async def test_a_step_that_ends_by_somebody_elses_cancellation_is_tried_again() -> None:
    bench = Bench()

    async def waits_for_what_was_cancelled() -> Outcome:
        gone: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        gone.cancel()
        return await gone

    worker = Scripted("w", waits_for_what_was_cancelled, says(IDLE))
    bench.start(worker)
    await bench.turn()
    (report,) = bench.workers.reports()
    assert worker.done == 1
    assert report.state is State.WAITING
    await bench.workers.stop()
