"""Between the protocol's messages and the values a program sees; strict about what came in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collective.core.errors import CollectiveError, RejectedError
from collective.core.moments import NS_PER_S, check_moment, moment_of
from collective.core.paths import FilePath, check_target
from collective.model.entries import Entry, EntryKind
from collective.rpc.gen.collective.v1 import Entry as EntryMessage
from collective.rpc.gen.collective.v1 import EntryKind as KindMessage
from collective.rpc.gen.collective.v1 import FileAttributes

if TYPE_CHECKING:  # of few calls
    from collective.model.changes import Attributes

_KINDS = {
    KindMessage.FILE: EntryKind.FILE,
    KindMessage.DIRECTORY: EntryKind.DIRECTORY,
    KindMessage.DATASTORE: EntryKind.DATASTORE,
    KindMessage.PEER: EntryKind.PEER,
    KindMessage.LINK: EntryKind.LINK,
}
_MODE_MAX: Final = 0o7777


def entry_from(message: EntryMessage | None) -> Entry:
    """Return the entry in ``message``, or raise RejectedError if no server of ours sent it."""
    if message is None or message.kind not in _KINDS:
        raise RejectedError("The coordinator sent an entry of an unknown kind; update this client.")
    kind = _KINDS[message.kind]
    try:
        path = FilePath.parse(message.path)
    except CollectiveError as error:
        raise RejectedError(f"The coordinator sent a malformed path: {error.message}") from error
    try:
        modified_ns = (
            None
            if message.modified_s is None
            else moment_of(message.modified_s, message.modified_ns)
        )
        if message.target or (kind is EntryKind.LINK and modified_ns is not None):
            check_target(message.target)
    except CollectiveError as error:
        raise RejectedError(f"The coordinator sent a malformed entry: {error.message}") from error
    if message.mode is not None and message.mode > _MODE_MAX:
        raise RejectedError("The coordinator sent an entry with a mode that no file has.")
    return Entry(
        path=path,
        kind=kind,
        size_bytes=message.size_bytes,
        modified_ns=modified_ns,
        mode=message.mode,
        content_type=message.content_type,
        metadata=dict(message.metadata),
        digest=message.digest,
        version=message.version,
        chunk_count=message.chunk_count,
        copies_wanted=message.copies_wanted,
        copies_least=message.copies_least,
        target=message.target,
    )


def attributes_message(attributes: Attributes | None) -> FileAttributes:
    """Return ``attributes`` (or the defaults) as the protocol has them."""
    if attributes is None:
        return FileAttributes()
    seconds, nanoseconds = (
        (None, 0)
        if attributes.modified_ns is None
        else divmod(check_moment(attributes.modified_ns), NS_PER_S)
    )
    return FileAttributes(
        modified_s=seconds,
        modified_ns=nanoseconds,
        mode=attributes.mode,
        content_type=attributes.content_type,
        metadata=dict(attributes.metadata),
    )
