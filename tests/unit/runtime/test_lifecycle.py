"""Start, ready, drain, stop, and what a failure does to the process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from collective.core.clock import ManualClock
from collective.core.errors import DataDirError, ExitCode
from collective.core.randomness import SeededRandomness
from collective.core.settings import ServeSettings
from collective.roles.runtime.lifecycle import Role, Runtime, Supervisor, serve
from collective.roles.runtime.metrics import Metrics
from collective.roles.runtime.notify import Notifier
from tests.worlds import LINKS, world_of


class Recorder:
    """A role that writes down what happens to it."""

    def __init__(self, name: str, seen: list[str], *, fail: str = "") -> None:
        self.name = name
        self.seen = seen
        self.fail = fail

    def _did(self, what: str) -> None:
        self.seen.append(f"{self.name} {what}")
        if self.fail == what:
            raise DataDirError("The data dir is gone.")

    async def start(self, supervisor: Supervisor) -> None:
        self._did("start")
        if self.fail == "task":
            supervisor.spawn(self._crash(), "crash")

    async def _crash(self) -> None:
        raise DataDirError("The disk went away.")

    def ready(self) -> bool:
        return True

    async def drain(self) -> None:
        self._did("drain")

    async def stop(self) -> None:
        self._did("stop")


class Told(Notifier):
    """Sets the stop signal once the process says that it is ready."""

    def __init__(self, stop: asyncio.Event) -> None:
        super().__init__({})
        self.stop = stop

    def ready(self, status: str) -> None:
        assert status
        self.stop.set()


async def run(roles: Sequence[Role]) -> int:
    settings = ServeSettings(roles=frozenset({"node"}))
    runtime = Runtime(settings, Metrics(), world_of(ManualClock(), SeededRandomness(1)), LINKS, {})
    stop = asyncio.Event()
    return await serve(runtime, lambda _: roles, stop, Told(stop))


async def test_roles_stop_in_reverse_after_draining() -> None:
    seen: list[str] = []
    assert await run([Recorder("a", seen), Recorder("b", seen)]) == ExitCode.DONE
    assert seen == ["a start", "b start", "b drain", "a drain", "b stop", "a stop"]


async def test_failed_start_stops_what_began() -> None:
    seen: list[str] = []
    code = await run([Recorder("a", seen), Recorder("b", seen, fail="start")])
    assert code == DataDirError.exit_code
    assert seen == ["a start", "b start", "b stop", "a stop"]


async def test_crashed_task_ends_the_process() -> None:
    seen: list[str] = []
    role = Recorder("a", seen, fail="task")
    role.ready = lambda: False  # type: ignore[method-assign]
    assert await run([role]) == DataDirError.exit_code
    assert seen[-1] == "a stop"


async def test_one_role_that_cannot_stop_hinders_no_other() -> None:
    seen: list[str] = []
    assert await run([Recorder("a", seen), Recorder("b", seen, fail="stop")]) == ExitCode.DONE
    assert seen[-2:] == ["b stop", "a stop"]
