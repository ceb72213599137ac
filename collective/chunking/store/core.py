"""The chunk store, synchronous: what each operation does, in which order, with which flushes."""

from __future__ import annotations

from collections.abc import Iterator

from collective.chunking.store.capacity import Reservation
from collective.chunking.store.model import Parts, StoredCopy, StoreOptions
from collective.core.disk import Disk
from collective.core.ids import ChunkId, Generation, StoreUuid
from collective.core.randomness import Randomness


class StoreCore:
    """All chunks of one data dir; every method may be called from several threads."""

    uuid: StoreUuid
    capacity_bytes: int
    used_bytes: int
    chunk_count: int

    @classmethod
    def open(
        cls,
        data_dir: str,
        disk: Disk,
        *,
        capacity_bytes: int,
        expected_uuid: StoreUuid | None = None,
        randomness: Randomness,
        options: StoreOptions,
    ) -> StoreCore:
        """See :meth:`ChunkStore.open`."""
        raise NotImplementedError

    def reserve(self, length: int) -> Reservation:
        """See the facade."""
        raise NotImplementedError

    def holds(self, chunk: ChunkId, generation: Generation | None = None) -> bool:
        """See the facade."""
        raise NotImplementedError

    def length_of(self, chunk: ChunkId, generation: Generation | None = None) -> int:
        """See the facade."""
        raise NotImplementedError

    def put(
        self,
        chunk: ChunkId,
        generation: Generation,
        parts: Parts,
        *,
        reservation: Reservation | None = None,
        digest: bytes | None = None,
    ) -> None:
        """See the facade."""
        raise NotImplementedError

    def get_into(
        self, chunk: ChunkId, buffer: memoryview, generation: Generation | None = None
    ) -> int:
        """See the facade."""
        raise NotImplementedError

    def read(self, chunk: ChunkId, generation: Generation | None = None) -> bytes:
        """See the facade."""
        raise NotImplementedError

    def delete(self, chunk: ChunkId, generation: Generation) -> bool:
        """See the facade."""
        raise NotImplementedError

    def verify(self, chunk: ChunkId, generation: Generation) -> int:
        """See the facade."""
        raise NotImplementedError

    def inventory(self, page_entries: int) -> Iterator[tuple[StoredCopy, ...]]:
        """See the facade."""
        raise NotImplementedError

    def compact(self) -> int:
        """See the facade."""
        raise NotImplementedError

    def close(self) -> None:
        """See the facade."""
        raise NotImplementedError
