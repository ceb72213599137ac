"""What is done about one name of a tree that is put or got: decided on values alone.

A name is looked at on both sides.  Files of one size are compared by content unless notes vouch for
them, since neither size nor time tells what is in a file; what differs in time or mode only has these
carried and nothing else.  A file and a link take each other's place; a directory gives way to neither,
and neither to a directory.
"""

from __future__ import annotations

from enum import Enum

from collective.client.disk.attributes import WantedAttributes
from collective.client.disk.local_entries import Kind, LocalEntry
from collective.core.errors import ConflictError, UsageError
from collective.model.entries import Entry, EntryKind
from collective.model.writing import Attributes


class Do(Enum):
    """What is done about one name."""

    NOTHING = "nothing"
    ENTER = "make the directory, or go into the one that is there"
    LINK = "make the link"
    CARRY = "carry the content"
    COMPARE = "compare the content, then carry it or what else differs"
    ATTRIBUTES = "carry time and mode"


def put_step(local: LocalEntry, entry: Entry | None, *, is_sent: bool) -> Do:
    """Return what ``put`` does about a local entry.

    Args:
        local: it.
        entry: what is at the member; None where nothing is, or nobody knows.
        is_sent: exactly this was stored as the version that is there.

    Raises CollectiveError where it cannot be stored.
    """
    if not local.kind.is_storable:
        raise UsageError(f"It is a {local.kind.value}, which no member keeps.")
    if entry is not None and entry.kind.is_leaf is (local.kind is Kind.DIRECTORY):
        raise ConflictError(
            f"It is a {local.kind.value} here and a {_WORDS[entry.kind]} at the member; move one of"
            " them away."
        )
    if entry is None:
        return _NEW[local.kind]
    if local.kind is Kind.DIRECTORY:
        return Do.ENTER
    if local.kind is Kind.LINK:
        return _put_link(local, entry)
    is_like = _is_known(entry) and entry.size_bytes == local.state.size_bytes
    if entry.kind is not EntryKind.FILE or not is_like:
        return Do.CARRY
    return Do.NOTHING if is_sent else Do.COMPARE


def _put_link(local: LocalEntry, entry: Entry) -> Do:
    if entry.kind is not EntryKind.LINK or entry.target != local.target:
        return Do.LINK
    return Do.NOTHING if entry.modified_ns == local.modified_ns else Do.ATTRIBUTES


_WORDS = {
    EntryKind.FILE: "file",
    EntryKind.LINK: "symbolic link",
    EntryKind.DIRECTORY: "directory",
    EntryKind.DATASTORE: "datastore",
    EntryKind.PEER: "peer's tree",
}
_NEW = {Kind.DIRECTORY: Do.ENTER, Kind.LINK: Do.LINK, Kind.FILE: Do.CARRY}


def missing_attributes(local: LocalEntry, entry: Entry) -> Attributes | None:
    """Return what the member is to be told of ``local`` beside its content; None: it knows all."""
    told = local.attributes
    is_same = entry.modified_ns == told.modified_ns and told.mode in {None, entry.mode}
    return None if is_same else told


def get_step(entry: Entry, local: LocalEntry | None, wanted: WantedAttributes) -> Do:
    """Return what ``get`` does about an entry of the member.

    Args:
        entry: it.
        local: what is at its place here; None where nothing is.
        wanted: the time and mode that it is to have here.

    Raises CollectiveError where it cannot be made.
    """
    if entry.kind is EntryKind.PEER:
        raise UsageError("It is a peer's tree; get it by its own path.")
    if local is not None and not local.kind.is_storable:
        raise ConflictError(f"A {local.kind.value} is in its place here; move that away.")
    if entry.kind.is_leaf:
        return _get_leaf(entry, local, wanted)
    if local is None or local.kind is Kind.DIRECTORY:
        return Do.ENTER
    raise ConflictError(
        f"A {local.kind.value} is in the place of this directory here; move it away."
    )


def _get_leaf(entry: Entry, local: LocalEntry | None, wanted: WantedAttributes) -> Do:
    if not _is_known(entry):
        raise UsageError("You may not read it; ask its owner for a grant.")
    if local is None:
        return Do.LINK if entry.kind is EntryKind.LINK else Do.CARRY
    if local.kind is Kind.DIRECTORY:
        raise ConflictError("A directory is in its place here; move that away.")
    if entry.kind is EntryKind.LINK:
        if local.kind is not Kind.LINK or local.target != entry.target:
            return Do.LINK
        return Do.NOTHING if wanted.fit(local) else Do.ATTRIBUTES
    if local.kind is not Kind.FILE or local.state.size_bytes != entry.size_bytes:
        return Do.CARRY
    return Do.COMPARE


def _is_known(entry: Entry) -> bool:
    """Whether the caller may see more of an entry than what it is."""
    return entry.modified_ns is not None
