"""A simulated process: alive until it is killed, and without any effect afterwards.

Whatever a process does to the world outside of it (writing, flushing, sending) goes through
:meth:`Process.effect` of the incarnation that it was given to.  A killed incarnation raises
:class:`Killed` there, also for code that runs because an exception unwinds it.
"""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

from tests.simulation.trace import Trace


class Killed(BaseException):
    """The process is dead; no ``Exception``, so that nothing of it goes on."""


class BrokenPromiseError(AssertionError):
    """The member did what it must not do; the message says which promise, and what was seen."""


class Process:
    """One life of one program on one machine."""

    def __init__(self, name: str, trace: Trace, seed: int = 0) -> None:
        """Be alive."""
        self.name = name
        self.chance = random.Random(f"{seed} {name}")
        """For what has no other source of chance: keys and serial numbers."""
        self.trace = trace
        self.alive = True
        self.effects = 0
        self.kill_at = 0
        """The number of the effect before which the process dies; 0: none."""
        self._tasks: list[weakref.ref[asyncio.Task[Any]]] = []
        self._tasks_most = 256
        self.on_death: list[Callable[[], None]] = []
        self.errors: list[BaseException] = []
        """Exceptions that nobody in the process handled."""
        self.lies: Any = None
        """How this process lies, for :mod:`tests.simulation.liar`; None: not at all."""
        self.keep: list[Any] = []
        """What must not be collected before the run ends."""

    def effect(self) -> None:
        """Count an effect that is about to happen; raise :class:`Killed` instead where it may not."""
        if not self.alive:
            raise Killed
        self.effects += 1
        if self.effects == self.kill_at:
            self.die()
            raise Killed

    def check(self) -> None:
        """Raise :class:`Killed` if the process is dead."""
        if not self.alive:
            raise Killed

    def die(self) -> None:
        """End at once."""
        if not self.alive:
            return
        self.alive = False
        self.trace.note(f"{self.name} dies after {self.effects} effects")
        self.keep.extend(self._living())
        for act in self.on_death:
            act()

    def began(self, task: asyncio.Task[Any]) -> None:
        """Hear of a task of this process, which is kept if the process dies before it ends."""
        if len(self._tasks) >= self._tasks_most:
            self._tasks = [weakref.ref(one) for one in self._living()]
            self._tasks_most = max(256, 2 * len(self._tasks))
        self._tasks.append(weakref.ref(task))

    def _living(self) -> list[asyncio.Task[Any]]:
        tasks = (one() for one in self._tasks)
        return [task for task in tasks if task is not None and not task.done()]

    def forget(self) -> None:
        """Let go of what a dead process left; the run is over."""
        self.keep.clear()
        self._tasks.clear()
        self.on_death.clear()

    def unhandled(self, message: str, error: BaseException) -> None:
        """Hear of an exception that nobody handled."""
        del message
        self.errors.append(error)

    def context(self) -> Context:
        """Return a context whose tasks and callbacks belong to this process."""
        context = copy_context()
        context.run(PROCESS.set, self)
        return context


PROCESS: ContextVar[Process | None] = ContextVar("simulated_process", default=None)
