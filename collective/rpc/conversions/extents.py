"""Extents and holes: what files are made of."""

from __future__ import annotations

from collections.abc import Sequence

from collective.chunking.envelope import HEADER_BYTES, PLAIN
from collective.core import limits
from collective.core.errors import UsageError
from collective.core.ids import CHUNK_ID_BYTES, parse_chunk_id
from collective.model.extents import Extent, Hole
from collective.rpc.gen.collective.v1 import transfer as transfer_pb

_FORMAT_MAX = 255


def _check_batch(count: int) -> None:
    if count > limits.BATCH_MAX_CHUNKS:
        raise UsageError(f"One call takes at most {limits.BATCH_MAX_CHUNKS} chunks, not {count}.")


def _check_lengths(stored_length: int, length: int, codec: int) -> None:
    if not 0 < stored_length <= limits.CHUNK_STORED_MAX_BYTES:
        raise UsageError(
            f"A stored chunk has 1 to {limits.CHUNK_STORED_MAX_BYTES} bytes, not {stored_length}."
        )
    if not 0 < length <= limits.CHUNK_STORED_MAX_BYTES:
        raise UsageError(f"An extent of {length} bytes cannot lie in one chunk.")
    if codec == PLAIN and length + HEADER_BYTES > stored_length:
        raise UsageError(f"An extent of {length} bytes cannot lie in a chunk of {stored_length}.")


def _check_content(offset: int, length: int, envelope_format: int, plain_id: bytes) -> None:
    if offset + length > limits.FILE_MAX_BYTES:
        raise UsageError(f"A file has at most {limits.FILE_MAX_BYTES} bytes.")
    if envelope_format > _FORMAT_MAX:
        raise UsageError("An envelope's format is a number of one byte.")
    if len(plain_id) not in {0, CHUNK_ID_BYTES}:
        raise UsageError(f"A plain id is empty or has {CHUNK_ID_BYTES} bytes.")


def extent_from(message: transfer_pb.Extent) -> Extent:
    """Return a checked extent."""
    _check_lengths(message.stored_length, message.length, message.format)
    _check_content(message.offset, message.length, message.format, message.plain_id)
    return Extent(
        offset=message.offset,
        length=message.length,
        chunk=parse_chunk_id(message.chunk_id),
        stored_length=message.stored_length,
        format=message.format,
        plain_id=message.plain_id,
    )


def extents_from(messages: Sequence[transfer_pb.Extent]) -> list[Extent]:
    """Return checked extents of one batch."""
    _check_batch(len(messages))
    return [extent_from(message) for message in messages]


def hole_from(message: transfer_pb.Hole) -> Hole:
    """Return a checked hole."""
    if not 0 < message.length <= limits.FILE_MAX_BYTES:
        raise UsageError(f"A hole of {message.length} bytes cannot lie in a file.")
    if message.offset + message.length > limits.FILE_MAX_BYTES:
        raise UsageError(f"A file has at most {limits.FILE_MAX_BYTES} bytes.")
    return Hole(message.offset, message.length)


def holes_from(messages: Sequence[transfer_pb.Hole]) -> list[Hole]:
    """Return checked holes of one batch."""
    if len(messages) > limits.BATCH_MAX_CHUNKS:
        raise UsageError(f"One call takes at most {limits.BATCH_MAX_CHUNKS} holes.")
    return [hole_from(message) for message in messages]


def hole_message(hole: Hole) -> transfer_pb.Hole:
    """Return ``hole`` for the wire."""
    return transfer_pb.Hole(offset=hole.offset, length=hole.length)


def extent_message(extent: Extent) -> transfer_pb.Extent:
    """Return ``extent`` for the wire."""
    return transfer_pb.Extent(
        offset=extent.offset,
        length=extent.length,
        chunk_id=extent.chunk,
        stored_length=extent.stored_length,
        format=extent.format,
        plain_id=extent.plain_id,
    )
