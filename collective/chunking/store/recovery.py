"""Replaying the packs at open: the log's last word on each copy fills the index."""

from __future__ import annotations

from collective.chunking.store.datadir import parse_pack_name
from collective.chunking.store.index import OWN_FILE, Index, Location
from collective.chunking.store.pack_record import PACK_HEADER_BYTES, Kind, record_span
from collective.chunking.store.packlog import PackLog, PackState
from collective.chunking.store.packscan import PackScan, recover_pack
from collective.core.ids import ChunkId, Generation


def recover_packs(
    log: PackLog,
    index: Index,
    stale: dict[tuple[ChunkId, Generation], int],
    *,
    writable: bool = True,
) -> int:
    """Scan and flush every pack, fill ``index`` and ``log``, and return the bytes of all packs.

    ``stale`` learns of copies with older records in earlier packs.  A pack without any record is
    removed.  A disk that is not ``writable`` is left as it is.

    Raises:
        DataDirError: a pack is of a newer version.
        OSError: the disk failed.
    """
    disk, layout = log.disk, log.layout
    named = (parse_pack_name(entry.name) for entry in disk.list_dir(layout.packs))
    numbers = sorted(number for number in named if number is not None)
    for number in numbers:
        path = layout.pack_file(number)
        with disk.open(path, "update" if writable else "read") as file:
            scan = recover_pack(file, log.key, number, writable=writable)
        log.next_pack = max(log.next_pack, number + 1)
        if not scan.records:
            if writable:
                disk.unlink(path)
            continue
        log.packs[number] = PackState(scan.size_bytes)
        _replay(log, index, stale, number, scan)
    if writable:
        disk.sync_dir(layout.packs)
    last = max(log.packs, default=0)
    if writable and last and log.packs[last].size_bytes < log.pack_max_bytes:
        log.resume(last)
    return sum(state.size_bytes for state in log.packs.values())


def _replay(
    log: PackLog,
    index: Index,
    stale: dict[tuple[ChunkId, Generation], int],
    number: int,
    scan: PackScan,
) -> None:
    state = log.packs[number]
    gaps = scan.size_bytes - PACK_HEADER_BYTES
    for offset, record in scan.records:
        gaps -= record.span
        log.next_batch = max(log.next_batch, record.batch + 1)
        identity = (record.chunk, record.generation)
        before = index.find(record.chunk, record.generation)
        if before is not None and before.pack == OWN_FILE:
            # A chunk is small or large by its length alone, so this record is from other limits.
            state.dead_bytes += record.span
            continue
        if record.kind is Kind.VOID:
            state.dead_bytes += record.span
        elif record.kind is Kind.PUT:
            index.add(record.chunk, Location(record.generation, number, offset, record.length))
            if before is not None:
                stale[identity] = min(stale.get(identity, before.pack), before.pack)
        else:
            state.tombstone_bytes += record.span
            index.remove(record.chunk, record.generation)
        if before is not None:
            log.packs[before.pack].dead_bytes += record_span(before.length)
    state.dead_bytes += max(0, gaps)
