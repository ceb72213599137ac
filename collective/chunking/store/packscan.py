"""Reading a pack back at open: record headers only, except the last batch.

Only the last batch of a pack can be torn (see ``pack_record``).  Its bodies are checked; a put whose
body is not there was never acknowledged and is voided in place.  After the last record nothing was
ever acknowledged, so the rest is cut.  Damage before that never hides later records: the scan looks
for the next record whose keyed check holds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.store.pack_record import (
    PACK_HEADER_BYTES,
    RECORD_ALIGNMENT,
    RECORD_HEADER_BYTES,
    RECORD_MAGIC,
    Kind,
    Record,
    check_pack_header,
    decode_record,
    encode_record,
)
from collective.core.disk import DiskFile
from collective.core.limits import MIB

_SEARCH_BYTES: Final = MIB


class Placed(NamedTuple):
    """A record and its offset in the pack."""

    offset: int
    record: Record


class PackScan(NamedTuple):
    """What a pack holds: its records in order and its length after the cut."""

    records: list[Placed]
    size_bytes: int


def _read(file: DiskFile, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    return bytes(buffer[: file.read_into(memoryview(buffer), offset)])


def _header_at(file: DiskFile, key: bytes, pack: int, offset: int, size: int) -> Record | None:
    record = decode_record(_read(file, offset, RECORD_HEADER_BYTES), key, pack, offset)
    return record if record and offset + record.span <= size else None


def _next_record(file: DiskFile, key: bytes, pack: int, offset: int, size: int) -> int:
    """Return the offset of the first record at or after ``offset``, or ``size``."""
    while offset + RECORD_HEADER_BYTES <= size:
        block = _read(file, offset, _SEARCH_BYTES)
        at = block.find(RECORD_MAGIC)
        while at >= 0:
            if (offset + at - PACK_HEADER_BYTES) % RECORD_ALIGNMENT == 0 and _header_at(
                file, key, pack, offset + at, size
            ):
                return offset + at
            at = block.find(RECORD_MAGIC, at + 1)
        if len(block) < _SEARCH_BYTES:
            break
        offset += len(block) - RECORD_ALIGNMENT
    return size


def read_records(file: DiskFile, key: bytes, pack: int) -> list[Placed]:
    """Return the records of ``pack`` whose headers are intact, in order; changes nothing."""
    size = file.size_bytes()
    records: list[Placed] = []
    offset = PACK_HEADER_BYTES
    while offset < size:
        record = _header_at(file, key, pack, offset, size)
        if record is None:
            offset = _next_record(file, key, pack, offset, size)
        else:
            records.append(Placed(offset, record))
            offset += record.span
    return records


def recover_pack(file: DiskFile, key: bytes, pack: int, *, writable: bool = True) -> PackScan:
    """Read ``pack``, repair its tail, flush it, and return what it holds.

    Where it is not ``writable``, the tail is left out of what is returned only.

    Raises:
        DataDirError: the pack is of a newer version.
        OSError: the disk failed.
    """
    size = file.size_bytes()
    check_pack_header(_read(file, 0, PACK_HEADER_BYTES), key, pack)
    records = read_records(file, key, pack)
    last_batch = max((placed.record.batch for placed in records), default=0)
    for position, (at, record) in enumerate(records):
        if record.batch == last_batch and record.kind is Kind.PUT:
            body = _read(file, at + RECORD_HEADER_BYTES, record.length)
            if chunk_id(body) != record.chunk:
                void = record._replace(kind=Kind.VOID)
                if writable:
                    file.write(encode_record(void, key, pack, at), at)
                records[position] = Placed(at, void)
    while records and records[-1].record.kind is Kind.VOID:
        records.pop()
    end = records[-1].offset + records[-1].record.span if records else PACK_HEADER_BYTES
    if writable:
        if end < size:
            file.truncate(end)
        file.datasync()
    return PackScan(records, min(end, size))
