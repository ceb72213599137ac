"""Entries and attributes."""

from __future__ import annotations

from collective.core import limits
from collective.core.errors import UsageError
from collective.core.moments import NS_PER_S, check_moment, moment_of
from collective.core.paths import FilePath, check_target
from collective.model.entries import Entry, EntryKind
from collective.model.writing import Attributes
from collective.rpc.gen.collective import v1 as pb

_KINDS = {
    EntryKind.FILE: pb.EntryKind.FILE,
    EntryKind.DIRECTORY: pb.EntryKind.DIRECTORY,
    EntryKind.DATASTORE: pb.EntryKind.DATASTORE,
    EntryKind.PEER: pb.EntryKind.PEER,
    EntryKind.LINK: pb.EntryKind.LINK,
}
_KIND_OF = {message: kind for kind, message in _KINDS.items()}

_MODE_MAX = 0o7777


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


def entry_from(message: pb.Entry | None) -> Entry:
    """Return a checked entry."""
    if message is None or message.kind not in _KIND_OF:
        raise UsageError("An entry is of an unknown kind.")
    kind = _KIND_OF[message.kind]
    modified_ns = modified_from(message.modified_s, message.modified_ns)
    if message.target or (kind is EntryKind.LINK and modified_ns is not None):
        check_target(message.target)
    return Entry(
        path=FilePath.parse(message.path),
        kind=kind,
        size_bytes=message.size_bytes,
        modified_ns=modified_ns,
        mode=mode_from(message.mode),
        content_type=message.content_type,
        metadata=dict(message.metadata),
        digest=message.digest,
        version=message.version,
        chunk_count=message.chunk_count,
        copies_wanted=message.copies_wanted,
        copies_least=message.copies_least,
        target=message.target,
    )


def modified_from(seconds: int | None, nanoseconds: int) -> int | None:
    """Return the checked time of a pair of fields; None where it is absent."""
    if seconds is None:
        if nanoseconds:
            raise UsageError("Nanoseconds of a time come with its seconds.")
        return None
    return moment_of(seconds, nanoseconds)


def modified_fields(modified_ns: int | None) -> tuple[int | None, int]:
    """Return a time as the wire has it; UsageError for one that the protocol does not have."""
    return (None, 0) if modified_ns is None else divmod(check_moment(modified_ns), NS_PER_S)


def mode_from(mode: int | None) -> int | None:
    """Return a checked mode; None where it is absent."""
    if mode is not None and mode > _MODE_MAX:
        raise UsageError("A mode has permission bits only (at most 0o7777).")
    return mode


def attributes_message(attributes: Attributes) -> pb.FileAttributes:
    """Return ``attributes`` for the wire; UsageError for a time that the protocol does not have."""
    seconds, nanoseconds = modified_fields(attributes.modified_ns)
    return pb.FileAttributes(
        modified_s=seconds,
        modified_ns=nanoseconds,
        mode=attributes.mode,
        content_type=attributes.content_type,
        metadata=dict(attributes.metadata),
    )


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
