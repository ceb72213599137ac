"""Whether the disk under a data dir takes writes: what failed writes said, and a look now and then.

While nothing is wrong a look is one question about free space.  Once something is, each look writes
and flushes a small file, so that the disk counts as well again by itself, when it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from collective.core.disk_errors import DiskState, disk_error, disk_sentence, state_behind
from collective.core.errors import CollectiveError
from collective.core.work import IDLE, Outcome, Worker
from collective.core.world import World
from collective.roles.runtime.metrics import Metrics

LOOK_S: Final = 5.0
PROBE_NAME: Final = ".probe"
PROBE_BYTES: Final = 4096


class DiskWatch(Worker):
    """The state of one disk."""

    name = "disk"

    def __init__(
        self,
        role: str,
        world: World,
        folder: str,
        metrics: Metrics,
        *,
        whose: str,
        floor_bytes: int,
        told: Callable[[], BaseException | None] = lambda: None,
        proven: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Watch the file system of ``folder``.

        Args:
            role: As metrics name it.
            world: Its disk has ``folder``.
            folder: An absolute path to a directory that exists.
            metrics: Shows the state.
            whose: Begins the sentences, such as ``The node's``.
            floor_bytes: With less free space than that, the disk is full.
            told: Asked at each look for an error that somebody met since.
            proven: A further test that the disk must pass before it is well again; raises
                CollectiveError where it does not.
        """
        self._disk = world.disk
        self._threads = world.threads
        self._folder = folder
        self._whose = whose
        self._floor_bytes = floor_bytes
        self._told = told
        self._proven = proven
        self._state = DiskState.OK
        self._log = structlog.get_logger(f"{role}.disk")
        self._role = role
        self._metrics = metrics
        metrics.disk_state(role, self._state.value)

    @property
    def state(self) -> DiskState:
        """What the disk can do, as far as it is known."""
        return self._state

    @property
    def sentence(self) -> str:
        """What is wrong, for people; empty when nothing is."""
        return disk_sentence(self._state, self._whose)

    def saw(self, error: BaseException) -> None:
        """Take note of an error that something met; those that are not about a disk say nothing."""
        found = state_behind(error)
        if found is not None:
            self._enter(found)

    async def work(self) -> Outcome:
        """Look once."""
        error = self._told()
        if error is not None:
            self.saw(error)
        found = await self._threads.run(self._look)
        if found is DiskState.OK and self._state is not DiskState.OK and self._proven is not None:
            try:
                await self._proven()
            except CollectiveError as error:
                found = state_behind(error) or DiskState.FAILING
        self._enter(found)
        return IDLE

    async def wait(self) -> None:
        """Wait until the next look."""
        await asyncio.sleep(LOOK_S)

    def _look(self) -> DiskState:
        """Return what the disk can do.  Blocking."""
        try:
            space = self._disk.space(self._folder)
            if space.read_only:
                return DiskState.READ_ONLY
            if space.free_bytes < self._floor_bytes:
                return DiskState.FULL
            if self._state is not DiskState.OK:
                self._write()
        except OSError as error:
            return state_behind(disk_error(error)) or DiskState.FAILING
        return DiskState.OK

    def _write(self) -> None:
        path = f"{self._folder}/{PROBE_NAME}"
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(path)
        try:
            with self._disk.open(path, "create") as file:
                file.write(bytes(PROBE_BYTES), 0)
                file.datasync()
        finally:
            with contextlib.suppress(OSError):
                self._disk.unlink(path)

    def _enter(self, state: DiskState) -> None:
        if state is self._state:
            return
        self._state = state
        self._metrics.disk_state(self._role, state.value)
        if state is DiskState.OK:
            self._log.info("disk_is_well_again")
        else:
            self._log.error("disk_takes_no_writes", state=state.value, why=self.sentence)
