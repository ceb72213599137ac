"""Entries, attributes, extents and holes."""

from __future__ import annotations

from collections.abc import Sequence

from collective.chunking.envelope import HEADER_BYTES, Codec
from collective.core import limits
from collective.core.errors import UsageError
from collective.core.ids import CHUNK_ID_BYTES, parse_chunk_id
from collective.core.moments import NS_PER_S, moment_of
from collective.model.changes import Attributes
from collective.model.entries import Entry, EntryKind
from collective.model.extents import ChunkIntent, Extent, Hole
from collective.rpc.gen.collective import v1 as pb
from collective.rpc.gen.collective.v1 import transfer as transfer_pb
from collective.rpc.gen.collective.v1 import uploads as uploads_pb

_KINDS = {
    EntryKind.FILE: pb.EntryKind.FILE,
    EntryKind.DIRECTORY: pb.EntryKind.DIRECTORY,
    EntryKind.DATASTORE: pb.EntryKind.DATASTORE,
    EntryKind.PEER: pb.EntryKind.PEER,
    EntryKind.LINK: pb.EntryKind.LINK,
}


_MODE_MAX = 0o7777
_FORMAT_MAX = 255


def entry_message(entry: Entry) -> pb.Entry:
    """Return ``entry`` for the wire."""
    seconds, nanoseconds = (
        (None, 0) if entry.modified_ns is None else divmod(entry.modified_ns, NS_PER_S)
    )
    return pb.Entry(
        path=str(entry.path),
        kind=_KINDS[entry.kind],
        size_bytes=entry.size_bytes,
        modified_s=seconds,
        modified_ns=nanoseconds,
        mode=entry.mode,
        content_type=entry.content_type,
        metadata=dict(entry.metadata),
        digest=entry.digest,
        version=entry.version,
        chunk_count=entry.chunk_count,
        copies_wanted=entry.copies_wanted,
        copies_least=entry.copies_least,
        target=entry.target,
    )


def modified_from(seconds: int | None, nanoseconds: int) -> int | None:
    """Return the checked time of a pair of fields; None where it is absent."""
    if seconds is None:
        if nanoseconds:
            raise UsageError("Nanoseconds of a time come with its seconds.")
        return None
    return moment_of(seconds, nanoseconds)


def mode_from(mode: int | None) -> int | None:
    """Return a checked mode; None where it is absent."""
    if mode is not None and mode > _MODE_MAX:
        raise UsageError("A mode has permission bits only (at most 0o7777).")
    return mode


def attributes_from(message: pb.FileAttributes | None) -> Attributes:
    """Return checked attributes; absent ones are the defaults."""
    if message is None:
        return Attributes()
    size = sum(len(k.encode()) + len(v.encode()) for k, v in message.metadata.items())
    if size > limits.METADATA_MAX_BYTES:
        raise UsageError(f"Metadata may have at most {limits.METADATA_MAX_BYTES} bytes in all.")
    if len(message.content_type.encode()) > limits.CONTENT_TYPE_MAX_BYTES:
        raise UsageError(f"A content type has at most {limits.CONTENT_TYPE_MAX_BYTES} bytes.")
    return Attributes(
        modified_ns=modified_from(message.modified_s, message.modified_ns),
        mode=mode_from(message.mode),
        content_type=message.content_type,
        metadata=dict(message.metadata),
    )


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
    if codec == Codec.PLAIN and length + HEADER_BYTES > stored_length:
        raise UsageError(f"An extent of {length} bytes cannot lie in a chunk of {stored_length}.")


def _check_content(offset: int, length: int, envelope_format: int, plain_id: bytes) -> None:
    if offset + length > limits.FILE_MAX_BYTES:
        raise UsageError(f"A file has at most {limits.FILE_MAX_BYTES} bytes.")
    if envelope_format > _FORMAT_MAX:
        raise UsageError("An envelope's format is a number of one byte.")
    if len(plain_id) not in {0, CHUNK_ID_BYTES}:
        raise UsageError(f"A plain id is empty or has {CHUNK_ID_BYTES} bytes.")


def intents_from(messages: Sequence[uploads_pb.ChunkIntent]) -> list[ChunkIntent]:
    """Return checked intents of one batch."""
    _check_batch(len(messages))
    intents = []
    for message in messages:
        _check_lengths(message.stored_length, message.length, message.format)
        _check_content(message.offset, message.length, message.format, message.plain_id)
        intents.append(
            ChunkIntent(
                chunk=parse_chunk_id(message.chunk_id),
                stored_length=message.stored_length,
                offset=message.offset,
                length=message.length,
                format=message.format,
                plain_id=message.plain_id,
            )
        )
    return intents


def extents_from(messages: Sequence[transfer_pb.Extent]) -> list[Extent]:
    """Return checked extents of one batch."""
    _check_batch(len(messages))
    extents = []
    for message in messages:
        _check_lengths(message.stored_length, message.length, message.format)
        _check_content(message.offset, message.length, message.format, message.plain_id)
        extents.append(
            Extent(
                offset=message.offset,
                length=message.length,
                chunk=parse_chunk_id(message.chunk_id),
                stored_length=message.stored_length,
                format=message.format,
                plain_id=message.plain_id,
            )
        )
    return extents


def holes_from(messages: Sequence[transfer_pb.Hole]) -> list[Hole]:
    """Return checked holes of one batch."""
    if len(messages) > limits.BATCH_MAX_CHUNKS:
        raise UsageError(f"One call takes at most {limits.BATCH_MAX_CHUNKS} holes.")
    for message in messages:
        if not 0 < message.length <= limits.FILE_MAX_BYTES:
            raise UsageError(f"A hole of {message.length} bytes cannot lie in a file.")
        if message.offset + message.length > limits.FILE_MAX_BYTES:
            raise UsageError(f"A file has at most {limits.FILE_MAX_BYTES} bytes.")
    return [Hole(message.offset, message.length) for message in messages]


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
