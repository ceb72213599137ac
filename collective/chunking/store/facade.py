"""The asynchronous face of the chunk store.

Each operation is one job on a pool that the store owns: hash, write, flush and publish happen
in the same thread, so an operation costs one hop there and one back.  Cancelling a coroutine does
not stop its job: a put may still be published (which is idempotent); a buffer passed to ``put`` or
``get_into`` stays in use until the job ends, so cancellation is held back until then.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Final, ParamSpec, Self, TypeVar

from collective.chunking.store.capacity import Reservation
from collective.chunking.store.core import StoreCore
from collective.chunking.store.model import Parts, StoredCopy, StoreOptions
from collective.core import limits
from collective.core.ids import ChunkId, Generation, StoreUuid
from collective.core.world import Pool, Threads, World

DEFAULT_THREADS: Final = 16
"""Enough that concurrent flushes overlap; idle threads cost nothing."""

P = ParamSpec("P")
T = TypeVar("T")


class ChunkStore:
    """A node's chunks on its disk; every method may be called concurrently."""

    def __init__(self, core: StoreCore, pool: Pool, threads: Threads) -> None:
        """Own ``core`` and ``pool``; use :meth:`open`."""
        self._core = core
        self._pool = pool
        self._threads = threads

    @classmethod
    async def open(
        cls,
        data_dir: str,
        world: World,
        *,
        capacity_bytes: int,
        expected_uuid: StoreUuid | None = None,
        options: StoreOptions | None = None,
        threads: int = DEFAULT_THREADS,
    ) -> ChunkStore:
        """Open the store in ``data_dir``, or make one there if none is expected.

        Temporaries are swept and a torn tail is cut; everything the store then shows is flushed.

        Raises:
            DataDirError: locked by another process, of a newer version, missing or of another uuid
                than ``expected_uuid``.
        """
        pool = world.threads.pool(threads, "chunk-store")

        def job() -> StoreCore:
            return StoreCore.open(
                os.path.abspath(data_dir),
                world.disk,
                capacity_bytes=capacity_bytes,
                expected_uuid=expected_uuid,
                randomness=world.randomness,
                options=options or StoreOptions(),
            )

        try:
            core = await pool.run(job)
        except BaseException:
            pool.abandon()
            raise
        return cls(core, pool, world.threads)

    @property
    def uuid(self) -> StoreUuid:
        """Names this data dir for its whole life."""
        return self._core.uuid

    @property
    def capacity_bytes(self) -> int:
        """The capacity that the operator set."""
        return self._core.capacity_bytes

    def resize(self, capacity_bytes: int) -> None:
        """Use at most ``capacity_bytes`` from now on; what is stored stays, also where it is more."""
        self._core.resize(capacity_bytes)

    @property
    def used_bytes(self) -> int:
        """Bytes on disk that count against the capacity; cheap."""
        return self._core.used_bytes

    @property
    def chunk_count(self) -> int:
        """Copies held; cheap."""
        return self._core.chunk_count

    def reserve(self, length: int) -> Reservation:
        """Set ``length`` bytes aside before accepting them; a context manager.

        Leaving the context (or ``release``) gives back what no put has consumed.

        Raises:
            NoSpaceError: capacity or the disk's free space (less a margin) does not allow it.
        """
        return self._core.reserve(length)

    def holds(self, chunk: ChunkId, generation: Generation | None = None) -> bool:
        """Tell whether a copy (of that generation) is stored; reads nothing."""
        return self._core.holds(chunk, generation)

    def length_of(self, chunk: ChunkId, generation: Generation | None = None) -> int:
        """Return the stored length in bytes; reads nothing.

        Raises:
            NotFoundError: no such copy.
        """
        return self._core.length_of(chunk, generation)

    async def put(
        self,
        chunk: ChunkId,
        generation: Generation,
        parts: Parts,
        *,
        reservation: Reservation | None = None,
    ) -> None:
        """Verify and publish a copy; returns when it survives power loss.  Idempotent.

        ``parts`` are the stored bytes in order (one buffer will do) and must stay unchanged until
        this returns.

        Raises:
            CorruptionError: the bytes do not hash to ``chunk``; nothing was published.
            NoSpaceError: capacity, margin or disk exhausted.
            OperatorError: the disk failed.
        """
        await self._run(self._core.put, chunk, generation, parts, reservation=reservation)

    async def get_into(
        self, chunk: ChunkId, buffer: memoryview, generation: Generation | None = None
    ) -> int:
        """Read a copy into ``buffer`` and verify it; return its stored length in bytes.

        Raises:
            NotFoundError: no such copy.
            CorruptionError: the copy is damaged; ``buffer``'s content must not be used.
            UsageError: ``buffer`` is smaller than the copy.
        """
        return await self._run(self._core.get_into, chunk, buffer, generation)

    async def read(self, chunk: ChunkId, generation: Generation | None = None) -> bytes:
        """Return a verified copy in fresh memory; raises as :meth:`get_into`."""
        return await self._run(self._core.read, chunk, generation)

    async def delete(self, chunk: ChunkId, generation: Generation) -> bool:
        """Remove that generation only, durably; False if there was none."""
        return await self._run(self._core.delete, chunk, generation)

    async def verify(self, chunk: ChunkId, generation: Generation) -> int:
        """Read and check a copy, return its length; raises as :meth:`get_into`."""
        return await self._run(self._core.verify, chunk, generation)

    async def challenge(self, chunk: ChunkId, generation: Generation, nonce: bytes) -> bytes:
        """Read and check a copy, return its :func:`challenge_answer`; raises as :meth:`get_into`."""
        return await self._run(self._core.challenge, chunk, generation, nonce)

    async def inventory(
        self, page_entries: int = limits.LIST_PAGE_MAX_ENTRIES
    ) -> AsyncIterator[tuple[StoredCopy, ...]]:
        """Yield all copies in pages sorted by chunk and generation, without reading chunk bytes.

        What is put or deleted meanwhile may or may not be seen.
        """
        pages = await self._run(self._core.inventory, page_entries)
        while page := await self._run(next, pages, ()):
            yield page

    def damaged_copies(self) -> tuple[tuple[ChunkId, Generation], ...]:
        """Return the copies that were found damaged by reads and verifications; cheap."""
        return self._core.damaged_copies()

    async def compact(self) -> int:
        """Rewrite packs that are mostly dead; return the bytes given back.  Call it now and then."""
        return await self._run(self._core.compact)

    async def close(self) -> None:
        """Finish what runs, close files and give the lock up; idempotent."""
        await self._pool.close()
        await self._threads.run(self._core.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._pool.run_to_end(act, *args, **kwargs)
