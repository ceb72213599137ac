"""The end of an upload: its version becomes the current one of its name, within its quota.

What the commit answered is kept with the upload, so that a repeated commit gives the same answer.
"""

from __future__ import annotations

import json

from collective.catalog.model import Entry, EntryKind
from collective.catalog.sqlite import rows
from collective.catalog.sqlite.datastores import copies_for, count_files, datastore_of
from collective.catalog.sqlite.name_removal import leaf_at, retire
from collective.catalog.sqlite.names import load_entry, parent_missing
from collective.catalog.sqlite.policies import unsettle
from collective.catalog.sqlite.quotas import overhead_of, require_room
from collective.catalog.sqlite.rows import CURRENT, FILE, ROOT
from collective.catalog.sqlite.upload_rows import UploadRow
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import ConflictError, UsageError
from collective.core.paths import FilePath


def target_of(tx: Transaction, path: FilePath) -> tuple[int, tuple[int, int] | None]:
    """Return the parent's id, and id and version of the file that is there already."""
    if len(path.names) < 2:  # noqa: PLR2004 - a datastore and a name
        raise UsageError("A file cannot lie in /; write it into a datastore, like /media/name.")
    parent = rows.find(tx.db, path.parent)
    if parent is None:
        raise parent_missing(path)
    if parent[1] == FILE or parent[0] == ROOT:
        raise ConflictError(f"{path.parent} is a file; choose another place.")
    there = rows.child(tx.db, parent[0], path.name)
    if there is None:
        return parent[0], None
    if there[1] != FILE:
        raise ConflictError(f"{path} is a directory; choose another name.")
    return parent[0], (there[0], there[2] or 0)


def check_quota(tx: Transaction, found: UploadRow, existing: tuple[int, int] | None) -> None:
    """Check exactly: what was reserved fits, what is more than that must leave room."""
    credit = sum(overhead_of(tx, existing[1])) if existing is not None else 0
    more = sum(overhead_of(tx, found.version)) - credit
    datastore = datastore_of(tx.db, found.path)
    is_more = more > max(0, found.reserved - found.credit) or datastore != found.datastore
    require_room(tx, datastore, more, upload=found.id, also_open=is_more)


def flip(
    tx: Transaction,
    found: UploadRow,
    parent: int,
    existing: tuple[int, int] | None,
    size_bytes: int,
    chunk_count: int,
    default: int,
) -> Entry:
    """Make the upload's version the current one of its name, and return the entry.

    Args:
        tx: the transaction of the commit.
        found: the upload, complete.
        parent: id of the directory.
        existing: id and version of the file that is there already.
        size_bytes: of the whole file.
        chunk_count: of its extents.
        default: copies where the datastore does not say.
    """
    datastore = datastore_of(tx.db, found.path)
    copies = copies_for(tx.db, found.path, default)
    tx.run(
        "UPDATE versions SET number = ?, state = ?, size = ?, chunk_count = ?,"
        " modified_ms = iif(modified_ms = 0, ?, modified_ms) WHERE id = ?",
        tx.next_version(),
        CURRENT,
        size_bytes,
        chunk_count,
        tx.now_ms,
        found.version,
    )
    if existing is None:
        tx.run(
            "INSERT INTO entries (parent, name, kind, version, modified_ms) VALUES (?,?,?,?,?)",
            parent,
            found.path.name,
            FILE,
            found.version,
            tx.now_ms,
        )
        entry = tx.db.last_insert_rowid()
    else:
        entry = existing[0]
        tx.run("UPDATE entries SET version = ? WHERE id = ?", found.version, entry)
        retire(tx, [leaf_at(tx, entry, existing[1], found.path)], datastore)
    count_files(tx, datastore, 1, *overhead_of(tx, found.version))
    tx.deltas.files += 1
    tx.deltas.file_bytes += size_bytes
    if copies != found.copies:  # its datastore was set, or another one is there, since it began
        unsettle(tx, entry, default)
    return load_entry(tx.db, entry, found.path, copies)


def entry_text(entry: Entry) -> str:
    """Return what a commit answered, to be kept for its repetition."""
    return json.dumps(
        [
            entry.size_bytes,
            entry.modified_ms,
            entry.mode,
            entry.content_type,
            dict(entry.metadata),
            entry.digest.hex(),
            entry.version,
            entry.chunk_count,
            entry.copies_wanted,
            entry.copies_least,
        ]
    )


def entry_from(text: str, path: FilePath) -> Entry:
    """Return what :func:`entry_text` kept; ``path`` is where the upload goes."""
    values = json.loads(text)
    values[5] = bytes.fromhex(values[5])
    return Entry(path, EntryKind.FILE, *values)
