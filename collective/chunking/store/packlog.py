"""The append side of the packs: many records, one flush.

A caller queues its record and waits; one that finds none at work becomes the leader and writes and
flushes everything queued as one batch.  A record alone therefore costs one append and one flush,
without waiting for company.  The log is ordered: replaying packs by number and records by offset
gives the state, the last word on a copy counts.

After a failed write or flush nothing is known about the tail, so the pack is abandoned and the next
batch goes to a new one; the tail's records were never acknowledged.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from collective.chunking.store.datadir import Layout
from collective.chunking.store.model import Part
from collective.chunking.store.pack_record import (
    PACK_HEADER_BYTES,
    Kind,
    Record,
    encode_pack_header,
    encode_record,
    padding_after,
)
from collective.core.disk import Disk, DiskFile
from collective.core.ids import ChunkId, Generation

_BATCH_MAX_PARTS: Final = 900
"""Below IOV_MAX (1,024), so that a batch is one system call."""


@dataclass(slots=True, eq=False)
class Pending:
    """A record on its way into the log; ``parts`` are its body."""

    kind: Kind
    chunk: ChunkId
    generation: Generation
    parts: Sequence[Part] = ()
    length: int = 0
    origin: int = 0
    flags: int = 0
    pack: int = 0
    offset: int = 0
    done: bool = False
    error: OSError | None = None

    def record(self, batch: int) -> Record:
        """Return the header as part of ``batch``."""
        return Record(
            self.kind, self.chunk, self.generation, self.length, batch, self.origin, self.flags
        )


@dataclass(slots=True)
class PackState:
    """What is known of one pack; sizes in bytes."""

    size_bytes: int
    dead_bytes: int = 0
    tombstone_bytes: int = 0
    pinned: bool = False
    """Holds live copies whose record headers are damaged: not to be removed before a reopen."""

    @property
    def live_bytes(self) -> int:
        """Bytes of records that the index points to."""
        return self.size_bytes - PACK_HEADER_BYTES - self.dead_bytes - self.tombstone_bytes


_SOME: Final = PackState(1)


@dataclass(slots=True)
class _Active:
    number: int
    file: DiskFile
    offset: int


@dataclass(slots=True)
class PackLog:
    """The packs of a store.  ``lock`` is the store's; ``publish`` is called with it held."""

    disk: Disk
    layout: Layout
    key: bytes
    pack_max_bytes: int
    batch_max_bytes: int
    lock: threading.Lock
    publish: Callable[[Pending], None]
    packs: dict[int, PackState] = field(default_factory=dict)
    next_batch: int = 1
    next_pack: int = 1
    _active: _Active | None = None
    _queue: deque[Pending] = field(default_factory=deque)
    _leading: bool = False
    _changed: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self._changed = threading.Condition(self.lock)

    def resume(self, number: int) -> None:
        """Append to an existing pack that was scanned and flushed."""
        file = self.disk.open(self.layout.pack_file(number), "update")
        self._active = _Active(number, file, self.packs[number].size_bytes)

    def append(self, entries: Sequence[Pending]) -> None:
        """Queue ``entries`` in order and return when all are durable and published.

        Raises:
            OSError: the disk refused at least one; those published stay.
        """
        with self.lock:
            self._queue.extend(entries)
            last = entries[-1]
            while not last.done:
                if self._leading:
                    self._changed.wait()
                else:
                    self._lead()
        for entry in entries:
            if entry.error is not None:
                raise entry.error

    def seal(self) -> int:
        """Close the active pack, if any, so that it can be compacted; return its number or 0."""
        with self.lock:
            while self._leading:
                self._changed.wait()
            active, self._active = self._active, None
            if active is None:
                return 0
            active.file.close()
            return active.number

    @property
    def active_number(self) -> int:
        """The pack being appended to, or 0."""
        return self._active.number if self._active else 0

    def _take(self) -> list[Pending]:
        batch = [self._queue.popleft()]
        size, parts = batch[0].length, len(batch[0].parts) + 2
        while self._queue:
            entry = self._queue[0]
            size += entry.length
            parts += len(entry.parts) + 2
            if size > self.batch_max_bytes or parts > _BATCH_MAX_PARTS:
                break
            batch.append(self._queue.popleft())
        return batch

    def _lead(self) -> None:
        """Write one batch; the lock is held at entry and exit, not while the disk works."""
        self._leading = True
        batch = self._take()
        number = self.next_batch
        self.next_batch += 1
        error: OSError | None = None
        self.lock.release()
        try:
            self._write(batch, number)
        except OSError as caught:
            error = caught
        finally:
            self.lock.acquire()
            self._leading = False
            self._changed.notify_all()
        if error is not None and not self.packs.get(batch[0].pack, _SOME).size_bytes:
            del self.packs[batch[0].pack]
        for entry in batch:
            entry.error = error
            if error is None:
                state = self.packs[entry.pack]
                state.size_bytes = entry.offset + entry.record(number).span
                if entry.kind is Kind.TOMBSTONE:
                    state.tombstone_bytes += entry.record(number).span
            self.publish(entry)
            entry.done = True

    def _write(self, batch: list[Pending], number: int) -> None:
        active = self._active
        if active is None or active.offset >= self.pack_max_bytes:
            active = self._begin_pack()
        parts: list[Part] = []
        start = offset = active.offset
        if offset == 0:
            parts.append(encode_pack_header(self.key, active.number))
            offset = PACK_HEADER_BYTES
        for entry in batch:
            entry.pack, entry.offset = active.number, offset
            record = entry.record(number)
            parts.append(encode_record(record, self.key, active.number, offset))
            parts.extend(entry.parts)
            if padding := padding_after(entry.length):
                parts.append(bytes(padding))
            offset += record.span
        try:
            active.file.write(parts, start)
            active.file.datasync()
        except OSError:
            self._abandon(active, start)
            raise
        active.offset = offset

    def _begin_pack(self) -> _Active:
        if self._active is not None:
            self._active.file.close()
            self._active = None
        number = self.next_pack
        self.next_pack += 1
        file = self.disk.open(self.layout.pack_file(number), "create")
        active = _Active(number, file, 0)
        try:
            self.disk.sync_dir(self.layout.packs)
        except OSError:
            self._abandon(active, 0)
            raise
        self.packs[number] = PackState(0)
        self._active = active
        return active

    def _abandon(self, active: _Active, end: int) -> None:
        """Leave ``active`` behind; what lies after ``end`` was acknowledged to nobody.

        A pack of which nothing was acknowledged goes at once: a disk that stays full leaves no heap
        of empty ones.
        """
        self._active = None
        with contextlib.suppress(OSError):
            active.file.truncate(end)
        active.file.close()
        if end == 0:
            with contextlib.suppress(OSError):
                self.disk.unlink(self.layout.pack_file(active.number))

    def close(self) -> None:
        """Close the active pack."""
        self.seal()
