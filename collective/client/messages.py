"""Between the protocol's messages and the values a program sees; strict about what came in."""

from __future__ import annotations

from collective.catalog.model import Attributes, Entry, EntryKind
from collective.core.errors import CollectiveError, RejectedError
from collective.core.paths import FilePath
from collective.rpc.gen.collective.v1 import Entry as EntryMessage
from collective.rpc.gen.collective.v1 import EntryKind as KindMessage
from collective.rpc.gen.collective.v1 import FileAttributes

_KINDS = {
    KindMessage.FILE: EntryKind.FILE,
    KindMessage.DIRECTORY: EntryKind.DIRECTORY,
    KindMessage.DATASTORE: EntryKind.DATASTORE,
    KindMessage.PEER: EntryKind.PEER,
}


def entry_from(message: EntryMessage | None) -> Entry:
    """Return the entry in ``message``, or raise RejectedError if no server of ours sent it."""
    if message is None or message.kind not in _KINDS:
        raise RejectedError("The coordinator sent an entry of an unknown kind; update this client.")
    try:
        path = FilePath.parse(message.path)
    except CollectiveError as error:
        raise RejectedError(f"The coordinator sent a malformed path: {error.message}") from error
    return Entry(
        path=path,
        kind=_KINDS[message.kind],
        size_bytes=message.size_bytes,
        modified_ms=message.modified_ms,
        mode=message.mode,
        content_type=message.content_type,
        metadata=dict(message.metadata),
        digest=message.digest,
        version=message.version,
        chunk_count=message.chunk_count,
        copies_wanted=message.copies_wanted,
        copies_least=message.copies_least,
    )


def attributes_message(attributes: Attributes | None) -> FileAttributes:
    """Return ``attributes`` (or the defaults) as the protocol has them."""
    attributes = attributes or Attributes()
    return FileAttributes(
        modified_ms=attributes.modified_ms,
        mode=attributes.mode,
        content_type=attributes.content_type,
        metadata=dict(attributes.metadata),
    )
