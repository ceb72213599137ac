"""What changed in a folder."""

from __future__ import annotations

from collective.core import limits
from collective.core.errors import UsageError
from collective.core.paths import FilePath
from collective.model.changes import Change, Changes, Cursor, ListAnew, Since
from collective.rpc.conversions.entries import entry_from, entry_message
from collective.rpc.gen.collective.v1 import files as pb


def since_message(found: Since) -> pb.ChangesResponse:
    """Return what changed, for the wire."""
    if isinstance(found, ListAnew):
        return pb.ChangesResponse(cursor=found.cursor, list_anew=True)
    changes = [
        pb.Change(
            path=str(one.path),
            entry=None if one.entry is None else entry_message(one.entry),
            below=one.below,
        )
        for one in found.changes
    ]
    return pb.ChangesResponse(cursor=found.cursor, changes=changes, more=found.more)


def since_from(message: pb.ChangesResponse) -> Since:
    """Return checked changes."""
    if not 0 < len(message.cursor) <= limits.CURSOR_MAX_CHARS:
        raise UsageError("A cursor is empty or too long.")
    cursor = Cursor(message.cursor)
    if message.list_anew:
        return ListAnew(cursor)
    return Changes(cursor, [_change_from(one) for one in message.changes], more=message.more)


def _change_from(message: pb.Change) -> Change:
    entry = None if message.entry is None else entry_from(message.entry)
    return Change(FilePath.parse(message.path), entry, below=message.below)
