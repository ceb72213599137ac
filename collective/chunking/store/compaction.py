"""Giving back the dead bytes of packs.

What still counts in a pack is appended to the log again, like any other record, and flushed; then
the pack is removed and its directory flushed.  A crash in between leaves a copy twice, which replay
understands.  A tombstone is carried on while a pack that may hold the record it kills is there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from collective.chunking.store.index import OWN_FILE, Index
from collective.chunking.store.pack_record import FLAG_RANGE, RECORD_HEADER_BYTES, Kind
from collective.chunking.store.packlog import PackLog, Pending
from collective.chunking.store.packscan import Placed, read_records
from collective.core.disk import DiskFile
from collective.core.ids import ChunkId, Generation

_GROUP_MAX_BYTES = 1 << 20
_GROUP_MAX_RECORDS = 256


class Compactor:
    """Rewrites packs of ``log``; one at a time."""

    def __init__(
        self,
        log: PackLog,
        lock: threading.Lock,
        index: Index,
        stale: dict[tuple[ChunkId, Generation], int],
        claim: Callable[[ChunkId, Generation], AbstractContextManager[None]],
    ) -> None:
        """Share the store's lock, index and claims."""
        self._log = log
        self._lock = lock
        self._index = index
        self._stale = stale
        self._claim = claim
        self._running = threading.Lock()

    def run(self, dead_ratio: float) -> int:
        """Rewrite every pack whose dead share exceeds ``dead_ratio``; return bytes removed.

        Raises:
            OSError: the disk failed; nothing is lost and a later run goes on.
        """
        freed = 0
        with self._running:
            with self._lock:
                victims = [n for n in sorted(self._log.packs) if self._dead_share(n) > dead_ratio]
            for number in victims:
                if number == self._log.active_number:
                    self._log.seal()
                freed += self._rewrite(number)
        return freed

    def _dead_share(self, number: int) -> float:
        state = self._log.packs[number]
        if state.pinned:
            return 0.0
        dead = state.dead_bytes
        if number == min(self._log.packs):
            dead += state.tombstone_bytes
        return dead / state.size_bytes if state.size_bytes else 1.0

    def _rewrite(self, number: int) -> int:
        log = self._log
        path = log.layout.pack_file(number)
        doubled: set[tuple[ChunkId, Generation]] = set()
        with log.disk.open(path, "read") as file:
            records = read_records(file, log.key, number)
            for group in _groups(records):
                self._carry(file, number, group, doubled)
        with self._lock:
            if log.packs[number].live_bytes > 0:
                log.packs[number].pinned = True
                return 0
        log.disk.unlink(path)
        log.disk.sync_dir(log.layout.packs)
        with self._lock:
            size = log.packs.pop(number).size_bytes
            for identity in doubled:
                if self._stale.get(identity) == number:
                    del self._stale[identity]
        return size

    def _carry(
        self,
        file: DiskFile,
        number: int,
        group: list[Placed],
        doubled: set[tuple[ChunkId, Generation]],
    ) -> None:
        with contextlib.ExitStack() as claims:
            for chunk, generation in {(p.record.chunk, p.record.generation) for p in group}:
                claims.enter_context(self._claim(chunk, generation))
            with self._lock:
                carried = [self._entry(number, placed) for placed in group]
            entries: list[Pending] = []
            for placed, entry in zip(group, carried, strict=True):
                if entry is None:
                    continue
                if entry.kind is Kind.PUT:
                    body = memoryview(bytearray(entry.length))
                    file.read_into(body, placed.offset + RECORD_HEADER_BYTES)
                    entry.parts = (body,)
                    if (entry.chunk, entry.generation) not in self._stale:
                        doubled.add((entry.chunk, entry.generation))
                entries.append(entry)
            if entries:
                self._log.append(entries)

    def _entry(self, number: int, placed: Placed) -> Pending | None:
        offset, record = placed
        place = self._index.find(record.chunk, record.generation)
        if record.kind is Kind.PUT:
            if place is None or (place.pack, place.offset) != (number, offset):
                return None
            return Pending(Kind.PUT, record.chunk, record.generation, length=record.length)
        if record.kind is Kind.TOMBSTONE and (place is None or place.pack == OWN_FILE):
            packs = [other for other in self._log.packs if other != number]
            if record.flags & FLAG_RANGE:
                needed = any(record.origin <= other < number for other in packs)
            else:
                needed = record.origin in packs
            if needed:
                return Pending(
                    Kind.TOMBSTONE,
                    record.chunk,
                    record.generation,
                    origin=record.origin,
                    flags=record.flags,
                )
        return None


def _groups(records: list[Placed]) -> list[list[Placed]]:
    groups: list[list[Placed]] = [[]]
    size = 0
    for placed in records:
        if groups[-1] and (size > _GROUP_MAX_BYTES or len(groups[-1]) >= _GROUP_MAX_RECORDS):
            groups.append([])
            size = 0
        groups[-1].append(placed)
        size += placed.record.span
    return [group for group in groups if group]
