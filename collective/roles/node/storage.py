"""The chunk store as the chunk stream's server wants it, with trouble noted and time measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from collective.chunking.store import ChunkStore, Reservation
from collective.chunking.store.model import Parts
from collective.core import limits
from collective.core.clock import Clock
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    CorruptionError,
    NotFoundError,
)
from collective.core.ids import ChunkId, Generation
from collective.roles.node.bad_copies import Problems
from collective.roles.node.metrics import NodeMetrics

DELETED_KEPT_S: Final = 2 * limits.TICKET_LIFE_S
"""How long a deleted copy is refused: no ticket for it lives longer, on clocks that are nearly right."""
DELETED_MOST: Final = 20_000
"""Deleted copies that are remembered; of more, the oldest are forgotten, and inventories find what comes."""


class NodeStorage:
    """A ``ChunkStorage`` of :mod:`collective.transfer.stream.server` over a chunk store.

    A copy that this process was told to delete does not come afterwards: what is sent to a node may be
    late, and the coordinator may have had it deleted meanwhile.  After a restart inventories find it.
    """

    def __init__(
        self,
        store: ChunkStore,
        problems: Problems,
        metrics: NodeMetrics,
        clock: Clock,
        saw: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        """Put into and read from ``store``; note damaged copies in ``problems``.

        ``saw`` is told of every error of the store.
        """
        self._saw = saw
        self._store = store
        self._problems = problems
        self._metrics = metrics
        self._clock = clock
        self._deleted: dict[tuple[ChunkId, Generation], float] = {}
        """Copies that the coordinator had deleted, in this order, and until when they are refused."""
        self._log = structlog.get_logger("collective.node.storage")

    def reserve(self, length: int) -> Reservation:
        """Set ``length`` bytes aside; raises :class:`NoSpaceError`."""
        try:
            return self._store.reserve(length)
        except CollectiveError as error:
            self._saw(error)
            self._metrics.store_errors.labels("reserve", error.code).inc()
            raise

    def length_of(self, chunk: ChunkId) -> int:
        """Return the stored length in bytes; raises :class:`NotFoundError`."""
        return self._store.length_of(chunk)

    async def put(
        self,
        chunk: ChunkId,
        generation: Generation,
        parts: Parts,
        *,
        reservation: Reservation | None = None,
    ) -> None:
        """Verify, store and flush ``parts``.

        Raises:
            ConflictError: the coordinator had this copy deleted before it came.
            CollectiveError: as :meth:`ChunkStore.put`.
        """
        with self._measured("put"):
            self._refuse_deleted(chunk, generation)
            await self._store.put(chunk, generation, parts, reservation=reservation)
            try:
                self._refuse_deleted(chunk, generation)
            except ConflictError:
                await self._store.delete(chunk, generation)
                raise
        sizes = [len(parts)] if isinstance(parts, bytes | memoryview) else map(len, parts)
        self._metrics.store_bytes.labels("put").inc(sum(sizes))

    async def delete(self, chunk: ChunkId, generation: Generation) -> bool:
        """Remove that generation; return whether it was there; raises as the store does."""
        self._remember_deleted(chunk, generation)
        with self._measured("delete"):
            return await self._store.delete(chunk, generation)

    def _remember_deleted(self, chunk: ChunkId, generation: Generation) -> None:
        now_s = self._clock.monotonic_s()
        self._deleted.pop((chunk, generation), None)
        self._deleted[chunk, generation] = now_s + DELETED_KEPT_S
        for key, until_s in list(itertools.islice(self._deleted.items(), 2)):
            if until_s <= now_s or len(self._deleted) > DELETED_MOST:
                del self._deleted[key]

    def _refuse_deleted(self, chunk: ChunkId, generation: Generation) -> None:
        until_s = self._deleted.get((chunk, generation))
        if until_s is not None and until_s > self._clock.monotonic_s():
            raise ConflictError("This copy was deleted before it came.")

    async def get_into(self, chunk: ChunkId, buffer: memoryview) -> int:
        """Read and verify a chunk into ``buffer``, return its length.

        Raises:
            NotFoundError, CorruptionError: not here, or damaged; the coordinator is told.
        """
        try:
            with self._measured("get"):
                count = await self._store.get_into(chunk, buffer)
        except CorruptionError:
            self.note_damage(chunk)
            raise
        except NotFoundError:
            self.note_damage(chunk, corrupt=False)
            raise
        self._metrics.store_bytes.labels("get").inc(count)
        return count

    def note_damage(self, chunk: ChunkId, *, corrupt: bool = True) -> None:
        """Note every copy of ``chunk`` that the store knows to be damaged."""
        for damaged, generation in self._store.damaged_copies():
            if damaged == chunk:
                self.note(chunk, generation, corrupt=corrupt)

    def note(self, chunk: ChunkId, generation: Generation, *, corrupt: bool) -> None:
        """Note one copy for the next report to the coordinator."""
        if self._problems.add(chunk, generation, corrupt=corrupt):
            kind = "corrupt" if corrupt else "missing"
            self._metrics.problems.labels(kind).inc()
            self._log.error("bad copy", chunk=chunk.hex(), generation=generation, kind=kind)

    @contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        started_s = self._clock.monotonic_s()
        try:
            yield
        except CollectiveError as error:
            self._saw(error)
            self._metrics.store_errors.labels(operation, error.code).inc()
            raise
        self._metrics.store_seconds.labels(operation).observe(self._clock.monotonic_s() - started_s)
