"""What one run is made of: time, trace and network, the houses in it, and how it ends."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from collective.rpc.gen.collective.v1 import node as pb
from tests.simulation.liar import as_sent
from tests.simulation.loop import VirtualLoop
from tests.simulation.member import Member, Surroundings
from tests.simulation.pace import Pace
from tests.simulation.process import BrokenPromiseError, Process
from tests.simulation.trace import Trace
from tests.simulation.upkeep import Dispatches


@dataclass(slots=True)
class Result:
    """What one run came to."""

    seed: int
    digest: str
    counts: Counter[str]
    simulated_s: float
    failure: str = ""
    tail: list[str] = field(default_factory=list)


class Stage(ABC):
    """One run, and all that its members share."""

    def __init__(self, seed: int, minutes: float, pace: Pace) -> None:
        """Prepare; nothing happens before :meth:`run`."""
        self.seed = seed
        self.minutes = minutes
        self.pace = pace
        self.loop = VirtualLoop()
        self.trace = Trace(lambda: self.loop.now_s)
        self.around = Surroundings.made(seed, self.loop, self.trace)
        self.around.network.hook = self._sent
        self._dispatches = Dispatches(self.trace)

    @abstractmethod
    def members(self) -> Iterable[Member]:
        """Return the members of the run."""

    @abstractmethod
    async def _main(self) -> None:
        """Run to the end and judge."""

    def run(self) -> Result:
        """Run to the end and judge."""
        failure = ""
        try:
            self.loop.run(self._main())
        except AssertionError as error:
            failure = _told(error)
        result = Result(
            self.seed,
            self.trace.digest(),
            self.trace.counts,
            self.loop.now_s,
            failure,
            list(self.trace.tail),
        )
        self._dispose()
        return result

    def _dispose(self) -> None:
        """Let go of everything while nothing of it can have an effect."""
        for member in self.members():
            for machine in member.machines.values():
                machine.kill()
                for process in machine.processes:
                    process.forget()
        self.trace.close()
        self.loop.close()
        self.around.vfs.forget()
        for member in self.members():
            member.machines.clear()
            member.roles.clear()

    def _sent(self, process: Process, method: str, message: Any) -> Any:
        """Return what a process sends instead of ``message``, and note what nodes deleted."""
        self._dispatches.sent(message)
        if isinstance(message, pb.DeleteCopiesResponse) and process.lies is None:
            name = process.name.partition(".")[0]
            for member in self.members():
                if name in member.machines:
                    member.machines[name].deleted.update(
                        (copy.chunk_id, copy.generation) for copy in message.deleted
                    )
        return as_sent(process, method, message)


def _told(error: AssertionError) -> str:
    """Return what a broken promise says, or where an assertion failed."""
    if isinstance(error, BrokenPromiseError):
        return f"{type(error).__name__}: {error}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.line}"
    return f"{type(error).__name__}: {error} ({where})"
