"""A simulated machine: its disk, its clocks, and the world of the program that runs on it."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from collective.core.randomness import SeededRandomness
from collective.core.world import Sqlite, World
from tests.simulation.database import SimulatedVfs
from tests.simulation.disk import ProcessDisk, SimulatedDisk
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network, SimulatedLinks
from tests.simulation.process import Process
from tests.simulation.trace import Trace

P = ParamSpec("P")
T = TypeVar("T")

START_WALL_S: Final = 1_800_000_000.0
_JOB_LEAST_S: Final = 0.00002
_JOB_MOST_S: Final = 0.002


class SimulatedClock:
    """The clocks of one machine: the wall clock can be set, the other one cannot."""

    def __init__(self, loop: VirtualLoop) -> None:
        """Begin as every machine does."""
        self._loop = loop
        self.offset_s = 0.0

    def wall_s(self) -> float:
        """Return Unix time as this machine knows it."""
        return START_WALL_S + self.offset_s + self._loop.now_s

    def monotonic_s(self) -> float:
        """Return virtual seconds."""
        return self._loop.now_s


class SimulatedPool:
    """Threads of one owner: each piece of work is one step at a moment that chance decides."""

    def __init__(self, machine: Machine, process: Process) -> None:
        """Work for ``process``."""
        self._machine = machine
        self._process = process
        self._loop = machine.loop
        self._last_s = 0.0
        self._abandoned = False

    def _begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        at_s = max(self._last_s + 1e-7, self._loop.now_s + self._machine.job_s())
        self._last_s = at_s
        self._loop.call_at(at_s, self._step, work, future)
        return future

    def _step(self, work: Callable[[], T], future: asyncio.Future[T]) -> None:
        if future.cancelled() or self._abandoned:
            future.cancel()
            return
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 - the edge of what a thread would be
            if self._process.alive:
                future.set_exception(error)
        else:
            future.set_result(value)

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run as one later step."""
        return await self._begin(functools.partial(work, *args, **kwargs))

    async def run_to_end(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run as one later step, and do not leave before."""
        future = self._begin(functools.partial(work, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                try:
                    await asyncio.wait([future])
                except asyncio.CancelledError:
                    continue
            if not future.cancelled():
                future.exception()
            raise

    def start(self, work: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run as one later step, and let go."""
        self._begin(functools.partial(work, *args, **kwargs))

    async def close(self) -> None:
        """Return after what was given."""
        await self._begin(lambda: None)

    def abandon(self) -> None:
        """Drop what has not begun."""
        self._abandoned = True


class SimulatedThreads:
    """Makes pools of one process."""

    def __init__(self, machine: Machine, process: Process) -> None:
        """Work for ``process``."""
        self._machine, self._process = machine, process

    def pool(self, workers: int, name: str) -> SimulatedPool:
        """Return a pool."""
        del workers, name
        return SimulatedPool(self._machine, self._process)

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one piece of work."""
        return await SimulatedPool(self._machine, self._process).run(work, *args, **kwargs)

    async def run_to_end(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one piece of work, and do not leave before."""
        return await SimulatedPool(self._machine, self._process).run_to_end(work, *args, **kwargs)

    def pause(self, seconds: float) -> None:
        """Refuse: nothing else could go on meanwhile."""
        raise AssertionError(f"A pause of {seconds} s in the only thread.")


class Machine:
    """One machine and what runs on it."""

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        network: Network,
        vfs: SimulatedVfs,
        trace: Trace,
        seed: int,
    ) -> None:
        """Have an empty disk; nothing runs yet."""
        self.name = name
        self.loop = loop
        self.network = network
        self.trace = trace
        self.disk = SimulatedDisk(loop.time)
        self.clock = SimulatedClock(loop)
        self.chance = random.Random(f"{seed} {name} machine")
        self._seed = seed
        self._vfs = vfs
        self.process: Process | None = None
        self.processes: list[Process] = []
        """Every life so far."""
        self.lives = 0
        self.deleted: set[tuple[bytes, int]] = set()
        """Copies that a node here said it has deleted, since its data was last put back."""
        self.stall_s = 0.0
        """What every piece of blocking work takes longer, while the disk is slow."""

    def job_s(self) -> float:
        """Return how long the next piece of blocking work takes."""
        return _JOB_LEAST_S + (_JOB_MOST_S + self.stall_s) * self.chance.random()

    @property
    def alive(self) -> bool:
        """Whether a process runs here."""
        return self.process is not None and self.process.alive

    def is_down(self) -> bool:
        """Whether nothing runs here now (asked again and again)."""
        return not self.alive

    def begin(self) -> tuple[Process, World, SimulatedLinks]:
        """Begin another life: a process with its world and links."""
        assert not self.alive
        self.lives += 1
        process = self.process = Process(f"{self.name}.{self.lives}", self.trace, self._seed)
        self.processes.append(process)
        process.on_death.append(lambda: self.disk.let_go(process))
        self._vfs.mount(self.name, self.disk, process)
        world = World(
            clock=self.clock,
            randomness=SeededRandomness(
                random.Random(f"{self._seed} {self.name} {self.lives}").getrandbits(64)
            ),
            disk=ProcessDisk(self.disk, process),
            threads=SimulatedThreads(self, process),
            sqlite=Sqlite(vfs=self._vfs.vfs_name, is_exclusive=True),
        )
        return process, world, SimulatedLinks(self.network, process, self.name, world)

    def run(self, process: Process, work: Any, *, name: str = "") -> asyncio.Task[Any]:
        """Run a coroutine as part of ``process``."""
        del name
        return process.context().run(self.loop.create_task, work)

    def kill(self) -> None:
        """End the process at once (kill -9); the machine goes on."""
        if self.process is not None and self.process.alive:
            process = self.process
            process.die()
            self.network.gone(process, silently=False)

    def cut_power(self, chance: random.Random | None) -> None:
        """Cut the power: the process dies, and what was not flushed is lost, all or in part."""
        if self.process is not None and self.process.alive:
            process = self.process
            process.die()
            self.network.gone(process, silently=True)
        self.disk.lose_power(chance)
