"""Records of a pack file: a checked header, then the body, padded to eight bytes.

Record header, big endian, 72 bytes: magic ``CLR1``, kind u8, flags u8, reserved u16, body length
u32, origin u32, batch u64, generation u64, chunk id (32), check (8).  The check is keyed BLAKE3
over the header, the pack's number and the record's offset, under a key in ``store.json``: bytes
inside a body can therefore never pass for a record, wherever a scan for the next record begins.
The body has no check of its own, since the chunk id is its hash.

``batch`` numbers flushes: a record is acknowledged when the flush of its batch has returned, and
the next batch begins after that, so only the last batch of a pack can be torn.

``origin`` of a tombstone is the pack of the record it kills; with ``FLAG_RANGE`` older records of
the same copy may also lie in any pack between ``origin`` and the tombstone.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from blake3 import blake3

from collective.core import limits
from collective.core.errors import DataDirError
from collective.core.ids import ChunkId, Generation

_RECORD: Final = struct.Struct(">4sBBHIIQQ32s8s")
RECORD_HEADER_BYTES: Final = _RECORD.size
RECORD_MAGIC: Final = b"CLR1"
RECORD_ALIGNMENT: Final = 8
_CHECKED: Final = RECORD_HEADER_BYTES - 8
_PLACE: Final = struct.Struct(">IQ")

_PACK: Final = struct.Struct(">4sHHI12x8s")
PACK_HEADER_BYTES: Final = _PACK.size
_PACK_MAGIC: Final = b"CLP1"
PACK_VERSION: Final = 1

FLAG_RANGE: Final = 1


class Kind(IntEnum):
    """What a record says."""

    PUT = 1
    TOMBSTONE = 2
    VOID = 3
    """A put that was torn and never acknowledged; its bytes mean nothing."""


class Record(NamedTuple):
    """A record's header; ``length`` is the body's in bytes (0 for a tombstone)."""

    kind: Kind
    chunk: ChunkId
    generation: Generation
    length: int
    batch: int
    origin: int = 0
    flags: int = 0

    @property
    def span(self) -> int:
        """Bytes the whole record takes in the pack."""
        return record_span(self.length)


def padding_after(length: int) -> int:
    """Return the zero bytes that follow a body of ``length``."""
    return -length % RECORD_ALIGNMENT


def record_span(length: int) -> int:
    """Return the bytes of a record whose body has ``length``."""
    return RECORD_HEADER_BYTES + length + padding_after(length)


def _check(key: bytes, pack: int, offset: int, head: bytes) -> bytes:
    return blake3(_PLACE.pack(pack, offset) + head, key=key).digest(8)


def encode_record(record: Record, key: bytes, pack: int, offset: int) -> bytes:
    """Return the 72 header bytes of ``record`` for that place."""
    head = _RECORD.pack(
        RECORD_MAGIC,
        record.kind,
        record.flags,
        0,
        record.length,
        record.origin,
        record.batch,
        record.generation,
        record.chunk,
        b"",
    )[:_CHECKED]
    return head + _check(key, pack, offset, head)


def decode_record(raw: bytes, key: bytes, pack: int, offset: int) -> Record | None:
    """Return the record whose header is ``raw``, or None if it is not one made for that place."""
    if len(raw) != RECORD_HEADER_BYTES or raw[:4] != RECORD_MAGIC:
        return None
    if _check(key, pack, offset, raw[:_CHECKED]) != raw[_CHECKED:]:
        return None
    _, kind, flags, _, length, origin, batch, generation, chunk, _ = _RECORD.unpack(raw)
    if not Kind.PUT <= kind <= Kind.VOID or length > limits.CHUNK_STORED_MAX_BYTES:
        return None
    return Record(Kind(kind), ChunkId(chunk), Generation(generation), length, batch, origin, flags)


def encode_pack_header(key: bytes, pack: int) -> bytes:
    """Return the 32 bytes a pack begins with."""
    head = _PACK.pack(_PACK_MAGIC, PACK_VERSION, 0, pack, b"")[:-8]
    return head + _check(key, pack, 0, head)


def check_pack_header(raw: bytes, key: bytes, pack: int) -> None:
    """Refuse a pack of a newer version; a torn or damaged header is no reason to refuse.

    Raises:
        DataDirError: the header is intact and names a version this program does not know.
    """
    if len(raw) != PACK_HEADER_BYTES or _check(key, pack, 0, raw[:-8]) != raw[-8:]:
        return
    version = _PACK.unpack(raw)[1]
    if version > PACK_VERSION:
        raise DataDirError(f"Pack {pack} has format {version}, made by a newer version; upgrade.")
