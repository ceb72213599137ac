"""A version becomes the current one of its name, within its quota: the end of an upload, and of a link.

What a commit answered is kept with the upload, so that a repeated commit gives the same answer.
"""

from __future__ import annotations

import json
from typing import Final

from collective.catalog.decisions.datastores import Asked, unsettles_place
from collective.catalog.decisions.names import Bounds, require_file_place, require_replaceable
from collective.catalog.decisions.quotas import outgrows
from collective.catalog.sqlite.changes.rows import note_change
from collective.catalog.sqlite.files.upload_rows import UploadRow
from collective.catalog.sqlite.names.datastores import copies_for, datastore_of
from collective.catalog.sqlite.names.entries import COUNTED_AT_ONCE, Changed, load_changed
from collective.catalog.sqlite.names.folders import count_below
from collective.catalog.sqlite.names.name_removal import leaf_at, retire
from collective.catalog.sqlite.names.policies import unsettle
from collective.catalog.sqlite.names.quota_rows import make_room, weigh
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.rows import AT_COMMIT, CURRENT, FILE
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.moments import NS_PER_MS
from collective.core.paths import FilePath
from collective.model.entries import Entry, EntryKind


def target_of(tx: Transaction, path: FilePath) -> tuple[int, tuple[int, int] | None]:
    """Return the parent's id, and id and version of the file or link that is there already."""
    require_file_place(path)
    parent = rows.find(tx.db, path.parent)
    there = None if parent is None else rows.child(tx.db, parent[0], path.name)
    require_replaceable(path, rows.kind_of(parent), rows.kind_of(there))
    assert parent is not None
    return parent[0], None if there is None else (there[0], there[2] or 0)


def check_quota(tx: Transaction, found: UploadRow, existing: tuple[int, int] | None) -> None:
    """Check exactly: what was reserved fits, what is more than that must leave room."""
    credit = weigh(tx.db, existing[1]).charge_bytes if existing is not None else 0
    more = weigh(tx.db, found.version).charge_bytes - credit
    datastore = datastore_of(tx.db, found.path)
    is_more = outgrows(more, reserved_bytes=found.reserved, credit_bytes=found.credit)
    also_open = is_more or datastore != found.datastore
    make_room(tx, datastore, more, upload=found.id, also_open=also_open)


def flip(
    tx: Transaction,
    found: UploadRow,
    parent: int,
    existing: tuple[int, int] | None,
    size_bytes: int,
    chunk_count: int,
    default: int,
) -> Changed:
    """Make the upload's version the current one of its name, and return the entry.

    Args:
        tx: the transaction of the commit.
        found: the upload, complete.
        parent: id of the directory.
        existing: id and version of the file or link that is there already.
        size_bytes: of the whole file.
        chunk_count: of its extents.
        default: copies where the datastore does not say.
    """
    datastore = datastore_of(tx.db, found.path)
    copies = copies_for(tx.db, found.path, default)
    tx.run(
        "UPDATE versions SET number = ?1, state = ?2, size = ?3, chunk_count = ?4,"
        " modified_ms = iif(modified_ns = ?5, ?6, modified_ms), modified_ns = max(modified_ns, 0)"
        " WHERE id = ?7",
        tx.next_version(),
        CURRENT,
        size_bytes,
        chunk_count,
        AT_COMMIT,
        tx.now_ms,
        found.version,
    )
    entry = put_in_place(tx, found.path, FILE, found.version, parent, existing)
    # Its datastore was set, or another one is there, since it began.
    if unsettles_place(Asked(found.copies, found.datastore), Asked(copies, datastore)):
        unsettle(tx, entry, default)
    return load_changed(tx.db, entry, found.path, copies)


def put_in_place(
    tx: Transaction,
    path: FilePath,
    kind: int,
    version: int,
    parent: int,
    existing: tuple[int, int] | None,
) -> int:
    """Have ``path`` name a current version, and retire the one that it named; return the entry's id.

    Args:
        tx: the transaction that made the version.
        path: where it goes.
        kind: FILE or LINK.
        version: its id.
        parent: id of the directory.
        existing: id and version of the file or link that is there already.
    """
    weight = weigh(tx.db, version)
    if existing is None:
        tx.run(
            "INSERT INTO entries (parent, name, kind, version, modified_ms) VALUES (?,?,?,?,?)",
            parent,
            path.name,
            kind,
            version,
            tx.now_ms,
        )
        entry = tx.db.last_insert_rowid()
        count_below(tx, parent, weight, Bounds().under(path.name))
    else:
        entry = existing[0]
        tx.run("UPDATE entries SET kind = ?, version = ? WHERE id = ?", kind, version, entry)
        before = leaf_at(tx, parent, entry, existing[1], path)
        retire(tx, [before], datastore_of(tx.db, path))
        count_below(tx, parent, weight + -before.weight)
    tx.deltas.files += weight.files
    tx.deltas.file_bytes += weight.size_bytes
    note_change(tx, path)
    return entry


_KEPT_BEFORE: Final = (
    "size_bytes",
    "modified_ns",
    "mode",
    "content_type",
    "metadata",
    "digest",
    "version",
    "chunk_count",
    "copies_wanted",
    "copies_least",
)
"""What answers were kept as a list of."""


def entry_text(entry: Entry) -> str:
    """Return what a commit answered, to be kept for its repetition."""
    return json.dumps(
        {
            "size_bytes": entry.size_bytes,
            "modified_ns": entry.modified_ns,
            "mode": entry.mode,
            "content_type": entry.content_type,
            "metadata": dict(entry.metadata),
            "digest": entry.digest.hex(),
            "version": entry.version,
            "chunk_count": entry.chunk_count,
            "copies_wanted": entry.copies_wanted,
            "copies_least": entry.copies_least,
        }
    )


def entry_from(text: str, found: UploadRow) -> Changed:
    """Return what :func:`entry_text` kept of this upload; a large file's copies are counted anew."""
    values = json.loads(text)
    if isinstance(values, list):  # kept by a version whose times were milliseconds
        values = dict(zip(_KEPT_BEFORE, values, strict=True))
        values["modified_ns"] *= NS_PER_MS
    values["digest"] = bytes.fromhex(values["digest"])
    entry = Entry(found.path, EntryKind.FILE, **values)
    return Changed(entry, found.version if entry.chunk_count > COUNTED_AT_ONCE else 0)
