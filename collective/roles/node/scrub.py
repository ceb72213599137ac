"""Scrubbing: every copy is read again and checked once a cycle, slowly, for as long as we run.

The pace follows from the amount stored and the cycle, so that scrubbing is a trickle.  A restart
goes on where the last run stopped.
"""

from __future__ import annotations

import asyncio
import json
import os.path
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from collective.chunking.store import ChunkStore, StoredCopy
from collective.core.backoff import Backoff
from collective.core.errors import CollectiveError, CorruptionError, NotFoundError
from collective.core.small_files import read_small, write_atomically
from collective.core.work import BUSY, IDLE, Outcome, Worker
from collective.core.world import World
from collective.roles.node.metrics import NodeMetrics
from collective.roles.node.storage import NodeStorage

SCRUB_CYCLE_S: Final = 30 * 86400.0
RATE_LEAST_BYTES_PER_S: Final = 64 * 1024
"""A small store is done early in its cycle rather than one chunk a day."""
SAVE_EVERY_S: Final = 60.0
FIRST_AFTER_S: Final = 60.0
"""A node that just started has better things to do."""
LOOK_AGAIN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a cycle stands."""

    started_s: float
    """Unix seconds."""
    after: bytes = b""
    """Chunk ids up to this one have been checked; empty: none."""
    finished: bool = False


def pace_s(length: int, used_bytes: int, cycle_s: float) -> float:
    """Return the seconds that checking ``length`` bytes may take, of ``used_bytes`` in all."""
    rate = max(used_bytes / cycle_s, RATE_LEAST_BYTES_PER_S)
    return length / rate


class Scrubber(Worker):
    """Reads everything, again and again; notes what is bad."""

    name = "scrub"
    backoff = Backoff(FIRST_AFTER_S, LOOK_AGAIN_S)

    def __init__(
        self,
        store: ChunkStore,
        storage: NodeStorage,
        metrics: NodeMetrics,
        world: World,
        *,
        path: str,
        cycle_s: float = SCRUB_CYCLE_S,
    ) -> None:
        """Scrub ``store`` once every ``cycle_s`` seconds, with progress kept in ``path``."""
        self._store = store
        self._storage = storage
        self._metrics = metrics
        self._clock = world.clock
        self._threads = world.threads
        self._path = path
        self._disk = world.disk
        self._cycle_s = cycle_s
        self._progress: Progress | None = None
        self._pages: AsyncIterator[Sequence[StoredCopy]] | None = None
        self._page: list[StoredCopy] = []
        """What is left of the page, the next copy last."""
        self._done = 0
        self._saved_s = world.clock.monotonic_s()
        self._log = structlog.get_logger("collective.node.scrub")

    @property
    def progress(self) -> Progress | None:
        """Where the cycle stands; None before the first step."""
        return self._progress

    async def work(self) -> Outcome:
        """Check one copy, then rest as long as the pace says; at the first step begin where we were."""
        if self._progress is None:
            self._progress = await self._threads.run(self._load)
            return Outcome.rest(FIRST_AFTER_S)
        now_s = self._clock.wall_s()
        if self._left_s(self._progress, now_s) > 0:
            return IDLE
        if self._progress.finished:
            self._progress = Progress(now_s)
        try:
            return await self._go_on(self._progress)
        except CollectiveError:
            self._begin()
            raise

    async def wait(self) -> None:
        """Wait until the next cycle may begin."""
        left_s = (
            0.0 if self._progress is None else self._left_s(self._progress, self._clock.wall_s())
        )
        await asyncio.sleep(min(left_s, LOOK_AGAIN_S))

    def _left_s(self, progress: Progress, now_s: float) -> float:
        """Return how long the finished cycle holds still; 0 when a copy is to be checked."""
        if not progress.finished or progress.started_s > now_s:
            return 0.0
        return max(0.0, progress.started_s + self._cycle_s - now_s)

    def _begin(self) -> None:
        self._pages, self._page, self._done = None, [], 0

    async def _go_on(self, progress: Progress) -> Outcome:
        if self._pages is None:
            self._pages = self._store.inventory()
        while not self._page:
            page = await anext(self._pages, None)
            if page is None:
                self._begin()
                self._progress = Progress(progress.started_s, b"", finished=True)
                await self._save(self._progress, now=True)
                return BUSY
            self._done += len(page)
            self._page = [copy for copy in reversed(page) if copy.chunk > progress.after]
        copy = self._page.pop()
        await self.check(copy)
        if not self._page:
            self._progress = Progress(progress.started_s, bytes(copy.chunk))
            self._metrics.scrub_progress.set(self._done / max(self._done, self._store.chunk_count))
            await self._save(self._progress)
        return Outcome.rest(pace_s(copy.length, self._store.used_bytes, self._cycle_s))

    async def check(self, copy: StoredCopy) -> bool:
        """Read one copy; note it if it is bad; return whether it was good."""
        try:
            await self._store.verify(copy.chunk, copy.generation)
        except CorruptionError:
            self._storage.note(copy.chunk, copy.generation, corrupt=True)
            return False
        except NotFoundError:
            if self._store.holds(copy.chunk, copy.generation):
                self._storage.note(copy.chunk, copy.generation, corrupt=False)
                return False
            return True  # deleted since the page was made
        self._metrics.scrubbed_bytes.inc(copy.length)
        return True

    async def _save(self, progress: Progress, *, now: bool = False) -> None:
        moment_s = self._clock.monotonic_s()
        if not now and moment_s - self._saved_s < SAVE_EVERY_S:
            return
        self._saved_s = moment_s
        raw = json.dumps(
            {
                "started_s": progress.started_s,
                "after": progress.after.hex(),
                "finished": progress.finished,
            }
        ).encode()
        try:
            await self._threads.run(
                write_atomically, self._path, raw, permissions=0o600, disk=self._disk
            )
        except CollectiveError as error:
            self._log.warning("scrub progress not kept", reason=error.message)

    def _load(self) -> Progress:
        """Return the progress kept; a new cycle where there is none or it cannot be read."""
        fresh = Progress(self._clock.wall_s())
        if not self._disk.exists(self._path):
            return fresh
        try:
            fields = json.loads(read_small(self._path, disk=self._disk))
            return Progress(
                float(fields["started_s"]),
                bytes.fromhex(fields["after"]),
                finished=bool(fields["finished"]),
            )
        except (CollectiveError, ValueError, KeyError, TypeError) as error:
            self._log.warning(
                "scrub begins anew", file=os.path.basename(self._path), reason=str(error)
            )
            return fresh
