"""The chunk store, synchronous: what each operation does, in which order, with which flushes.

Large chunks live in ``chunk_files``, small ones in ``packlog``; this joins them under one index, one
lock and one capacity.  A copy enters the index only after its flushes, so whatever the store shows
survives power loss; at open, everything found is flushed before it is shown.  Operations on the
same copy take turns (``_claim``), others run in parallel.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from collective.chunking.chunk_ids import challenge_answer, chunk_id
from collective.chunking.store.capacity import Capacity, Reservation
from collective.chunking.store.chunk_files import ChunkFiles
from collective.chunking.store.compaction import Compactor
from collective.chunking.store.datadir import Layout, StoreIdentity, claim_data_dir
from collective.chunking.store.index import OWN_FILE, Index, Location, sorted_in_slices
from collective.chunking.store.model import Part, Parts, StoredCopy, StoreOptions
from collective.chunking.store.pack_record import (
    FLAG_RANGE,
    PACK_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    Kind,
    record_span,
)
from collective.chunking.store.packlog import PackLog, Pending
from collective.chunking.store.recovery import recover_packs
from collective.core import limits
from collective.core.disk import Disk, DiskLock
from collective.core.disk_errors import disk_error, disk_errors
from collective.core.errors import (
    CorruptionError,
    NotFoundError,
    UsageError,
)
from collective.core.ids import ChunkId, Generation, StoreUuid, parse_chunk_id
from collective.core.randomness import Randomness

_PARTS_MAX: Final = 64
_LENGTH_MAX: Final = 0xFFFF_FFFF
_MOVED_TRIES: Final = 8
_NOT_OF_THE_COPY: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EACCES, errno.EPERM}
)
"""Why a read may fail although the bytes are well: damaged copies are deleted, these must not be."""


def _as_parts(parts: Parts) -> tuple[Sequence[Part], int]:
    listed: Sequence[Part] = [parts] if isinstance(parts, bytes | memoryview) else parts
    if len(listed) > _PARTS_MAX:
        listed = [b"".join(listed)]
    return listed, sum(
        part.nbytes if isinstance(part, memoryview) else len(part) for part in listed
    )


class StoreCore:
    """All chunks of one data dir; every method may be called from several threads."""

    def __init__(
        self,
        disk: Disk,
        layout: Layout,
        identity: StoreIdentity,
        lock: DiskLock,
        capacity_bytes: int,
        options: StoreOptions,
    ) -> None:
        """Own the locked data dir; use :meth:`open`."""
        self.uuid: StoreUuid = identity.uuid
        self._options = options
        self._disk = disk
        self._layout = layout
        self._dir_lock = lock
        self._lock = threading.Lock()
        self._unclaimed = threading.Condition(self._lock)
        self._claimed: set[tuple[ChunkId, Generation]] = set()
        self._damaged: set[tuple[ChunkId, Generation]] = set()
        self._stale: dict[tuple[ChunkId, Generation], int] = {}
        self._index = Index()
        self._scratch: bytearray | None = None
        self._closed = False
        self._capacity = Capacity(
            capacity_bytes, options.free_margin_bytes, lambda: disk.space(layout.root).free_bytes
        )
        self._files = ChunkFiles(disk, layout)
        self._log = PackLog(
            disk,
            layout,
            identity.record_key,
            options.pack_max_bytes,
            options.batch_max_bytes,
            self._lock,
            self._publish,
        )
        self._compactor = Compactor(self._log, self._lock, self._index, self._stale, self.claim)

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
        layout = Layout(data_dir)
        with disk_errors():
            lock, identity = claim_data_dir(disk, layout, expected_uuid, randomness)
            try:
                store = cls(disk, layout, identity, lock, capacity_bytes, options)
                store._recover()
            except BaseException:
                lock.release()
                raise
        return store

    def _recover(self) -> None:
        writable = not self._disk.space(self._layout.root).read_only
        used = 0
        for copy in self._files.recover(writable=writable):
            length = min(copy.length, _LENGTH_MAX)
            used += length
            self._index.add(copy.chunk, Location(copy.generation, OWN_FILE, 0, length))
        used += recover_packs(self._log, self._index, self._stale, writable=writable)
        self._capacity.change_used(used)

    # --- cheap questions ---------------------------------------------------------------------

    @property
    def capacity_bytes(self) -> int:
        """Bytes that may be used."""
        return self._capacity.capacity_bytes

    def resize(self, capacity_bytes: int) -> None:
        """Use at most ``capacity_bytes`` from now on; what is stored stays."""
        self._capacity.capacity_bytes = capacity_bytes

    @property
    def used_bytes(self) -> int:
        """Bytes on disk, dead ones in packs included."""
        return self._capacity.used_bytes

    @property
    def chunk_count(self) -> int:
        """Copies held."""
        return len(self._index)

    def reserve(self, length: int) -> Reservation:
        """See the facade."""
        if length < 0:
            raise UsageError("A reservation cannot be negative.")
        with disk_errors():
            return self._capacity.reserve(length)

    def holds(self, chunk: ChunkId, generation: Generation | None = None) -> bool:
        """See the facade."""
        with self._lock:
            return self._index.find(chunk, generation) is not None

    def length_of(self, chunk: ChunkId, generation: Generation | None = None) -> int:
        """See the facade."""
        return self._find(chunk, generation).length

    def _find(self, chunk: ChunkId, generation: Generation | None) -> Location:
        with self._lock:
            place = self._index.find(chunk, generation)
        if place is None:
            raise NotFoundError(f"Chunk {chunk.hex()[:16]} is not stored on this node.")
        return place

    @contextlib.contextmanager
    def claim(self, chunk: ChunkId, generation: Generation) -> Iterator[None]:
        """Hold off other changes of this copy meanwhile."""
        identity = (chunk, generation)
        with self._lock:
            while identity in self._claimed:
                self._unclaimed.wait()
            self._claimed.add(identity)
        try:
            yield
        finally:
            with self._lock:
                self._claimed.discard(identity)
                self._unclaimed.notify_all()

    # --- writing -----------------------------------------------------------------------------

    def put(
        self,
        chunk: ChunkId,
        generation: Generation,
        parts: Parts,
        *,
        reservation: Reservation | None = None,
    ) -> None:
        """See the facade."""
        parse_chunk_id(chunk)
        listed, length = _as_parts(parts)
        if length > limits.CHUNK_STORED_MAX_BYTES or not 0 <= generation < 1 << 64:
            raise UsageError(f"A stored chunk may have {limits.CHUNK_STORED_MAX_BYTES} bytes.")
        if chunk_id(listed) != chunk:
            raise CorruptionError(
                f"The bytes sent for chunk {chunk.hex()[:16]} do not match its id; send them again."
            )
        copy = StoredCopy(chunk, generation, length)
        with self.claim(chunk, generation), disk_errors():
            with self._lock:
                known = self._index.find(chunk, generation) is not None
                if known and (chunk, generation) not in self._damaged:
                    return
            with contextlib.ExitStack() as stack:
                if reservation is None:
                    reservation = stack.enter_context(self._capacity.reserve(length))
                if length < self._options.small_max_bytes:
                    self._log.append([Pending(Kind.PUT, chunk, generation, listed, length)])
                else:
                    self._files.publish(copy, listed)
                    with self._lock:
                        self._enter(chunk, Location(generation, OWN_FILE, 0, length))
                    self._capacity.change_used(length)
                reservation.consume(length)

    def delete(self, chunk: ChunkId, generation: Generation) -> bool:
        """See the facade."""
        with self.claim(chunk, generation), disk_errors():
            with self._lock:
                place = self._index.find(chunk, generation)
                if place is None:
                    return False
                stale = self._stale.get((chunk, generation))
            if place.pack == OWN_FILE:
                self._files.remove(StoredCopy(chunk, generation, place.length))
                with self._lock:
                    self._leave(chunk, generation)
            else:
                tombstone = Pending(Kind.TOMBSTONE, chunk, generation, origin=place.pack)
                if stale is not None:
                    tombstone.origin = min(stale, place.pack)
                    tombstone.flags = FLAG_RANGE
                self._log.append([tombstone])
        return True

    def _publish(self, entry: Pending) -> None:
        """Apply a record of the log; called with the lock held, in the log's order."""
        identity = (entry.chunk, entry.generation)
        if entry.error is not None:
            if entry.kind is Kind.PUT and entry.pack:
                self._stale[identity] = min(self._stale.get(identity, entry.pack), entry.pack)
            return
        header = PACK_HEADER_BYTES if entry.offset == PACK_HEADER_BYTES else 0
        self._capacity.change_used(header + record_span(entry.length))
        if entry.kind is Kind.PUT:
            self._enter(
                entry.chunk, Location(entry.generation, entry.pack, entry.offset, entry.length)
            )
        elif entry.kind is Kind.TOMBSTONE:
            self._leave(entry.chunk, entry.generation)

    def _enter(self, chunk: ChunkId, place: Location) -> None:
        before = self._index.add(chunk, place)
        identity = (chunk, place.generation)
        self._damaged.discard(identity)
        if before is not None:
            self._bury(before)
            if before.pack != OWN_FILE:
                self._stale[identity] = min(self._stale.get(identity, before.pack), before.pack)

    def _leave(self, chunk: ChunkId, generation: Generation) -> None:
        self._damaged.discard((chunk, generation))
        before = self._index.remove(chunk, generation)
        if before is not None:
            self._bury(before)

    def _bury(self, place: Location) -> None:
        if place.pack == OWN_FILE:
            self._capacity.change_used(-place.length)
        else:
            self._log.packs[place.pack].dead_bytes += record_span(place.length)

    # --- reading -----------------------------------------------------------------------------

    def get_into(
        self, chunk: ChunkId, buffer: memoryview, generation: Generation | None = None
    ) -> int:
        """See the facade."""
        with self._lock:
            places = self._index.places(chunk)
        wanted = [p.generation for p in places if generation in {None, p.generation}]
        damage: CorruptionError | None = None
        for one in wanted:
            try:
                return self._get_one(chunk, one, buffer)
            except CorruptionError as error:
                damage = error
        if damage is not None:
            raise damage
        raise NotFoundError(f"Chunk {chunk.hex()[:16]} is not stored on this node.")

    def _get_one(self, chunk: ChunkId, generation: Generation, buffer: memoryview) -> int:
        for _ in range(_MOVED_TRIES):
            place = self._find(chunk, generation)
            if len(buffer) < place.length:
                raise UsageError(f"Chunk {chunk.hex()[:16]} needs {place.length} bytes of buffer.")
            target = buffer[: place.length]
            try:
                count = self._read_place(chunk, place, target)
            except FileNotFoundError as error:
                with self._lock:
                    unchanged = self._index.find(chunk, generation) == place
                    if unchanged:
                        self._damaged.add((chunk, generation))
                if unchanged:
                    raise NotFoundError(
                        f"The file of chunk {chunk.hex()[:16]} has vanished; use another copy."
                    ) from error
                continue
            except OSError as error:
                if error.errno in _NOT_OF_THE_COPY:
                    raise disk_error(error) from error
                self._mark_damaged(chunk, generation)
                raise CorruptionError(
                    f"Chunk {chunk.hex()[:16]} cannot be read from disk; use another copy."
                ) from error
            if count != place.length or chunk_id(target) != chunk:
                self._mark_damaged(chunk, generation)
                raise CorruptionError(
                    f"Chunk {chunk.hex()[:16]} is damaged on disk; use another copy."
                )
            return count
        raise NotFoundError(f"Chunk {chunk.hex()[:16]} is not stored on this node.")

    def _read_place(self, chunk: ChunkId, place: Location, target: memoryview) -> int:
        if place.pack == OWN_FILE:
            return self._files.read_into(StoredCopy(chunk, place.generation, place.length), target)
        with self._disk.open(self._layout.pack_file(place.pack), "read") as file:
            return file.read_into(target, place.offset + RECORD_HEADER_BYTES)

    def damaged_copies(self) -> tuple[tuple[ChunkId, Generation], ...]:
        """See the facade."""
        with self._lock:
            return tuple(self._damaged)

    def _mark_damaged(self, chunk: ChunkId, generation: Generation) -> None:
        with self._lock:
            self._damaged.add((chunk, generation))

    def read(self, chunk: ChunkId, generation: Generation | None = None) -> bytes:
        """See the facade."""
        buffer = bytearray(self._find(chunk, generation).length)
        count = self.get_into(chunk, memoryview(buffer), generation)
        return bytes(memoryview(buffer)[:count])

    def challenge(self, chunk: ChunkId, generation: Generation, nonce: bytes) -> bytes:
        """See the facade."""
        return challenge_answer(nonce, self.read(chunk, generation))

    def verify(self, chunk: ChunkId, generation: Generation) -> int:
        """See the facade."""
        length = self._find(chunk, generation).length
        if length > limits.CHUNK_STORED_MAX_BYTES:
            self._mark_damaged(chunk, generation)
            raise CorruptionError(f"Chunk {chunk.hex()[:16]} is damaged on disk; use another copy.")
        with self._lock:
            scratch, self._scratch = self._scratch, None
        if scratch is None or len(scratch) < length:
            scratch = bytearray(length)
        try:
            return self.get_into(chunk, memoryview(scratch), generation)
        finally:
            if len(scratch) <= 2 * limits.CHUNK_SIZE_BYTES:
                self._scratch = scratch

    # --- keeping house -----------------------------------------------------------------------

    def inventory(self, page_entries: int) -> Iterator[tuple[StoredCopy, ...]]:
        """See the facade."""
        with self._lock:
            chunks = self._index.chunks()
        in_order = sorted_in_slices(chunks)
        while some := list(itertools.islice(in_order, page_entries)):
            with self._lock:
                page = tuple(copy for chunk in some for copy in self._index.copies(chunk))
            if page:
                yield page

    def compact(self) -> int:
        """See the facade."""
        with disk_errors():
            freed = self._compactor.run(self._options.dead_ratio)
            self._capacity.change_used(-freed)
            return freed

    def close(self) -> None:
        """See the facade."""
        if not self._closed:
            self._closed = True
            self._log.close()
            self._dir_lock.release()
