"""Rows to values and back, and walking the tree; used by reading and writing connections alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import apsw

from collective.access.grant_book import GrantBook
from collective.catalog.sqlite.store.references import untrusted_nodes
from collective.core.ids import NodeId, SpiffeId
from collective.core.moments import NS_PER_MS
from collective.core.paths import FilePath
from collective.model.entries import Entry, EntryKind
from collective.model.grants import Grant
from collective.model.rights import Right
from collective.model.writing import Attributes

if TYPE_CHECKING:
    from collective.catalog.sqlite.store.writer import Transaction

ROOT = 1
FILE, DIRECTORY, DATASTORE, LINK = 0, 1, 2, 3
LEAVES = frozenset((FILE, LINK))
"""Kinds of entries that have versions and nothing below them."""
OPEN, CURRENT, RETIRED, COLLECTED = 0, 1, 2, 3
INTENT, STORED, MISSING, DOUBTED = 0, 1, 2, 3

KINDS = {
    FILE: EntryKind.FILE,
    DIRECTORY: EntryKind.DIRECTORY,
    DATASTORE: EntryKind.DATASTORE,
    LINK: EntryKind.LINK,
}
NUMBERS: Final = {kind: number for number, kind in KINDS.items()}

VERSION_COLUMNS = (
    "v.id, v.number, v.size, v.chunk_count, v.content_type, v.metadata, v.digest, v.target"
)
ENTRY_COLUMNS = (
    "e.id, e.name, e.kind, coalesce(v.modified_ms, e.modified_ms),"
    f" coalesce(v.modified_ns, e.modified_ns), coalesce(v.mode, e.mode), {VERSION_COLUMNS}"
)
ENTRY_FROM = "FROM entries e LEFT JOIN versions v ON v.id = e.version"
NO_MODE = -1
"""A mode in a row, where none was given."""
AT_COMMIT = -1
"""The nanoseconds of an open version whose time will be that of its commit."""


MARKED_AT_ONCE: Final = 2000
"""Uses of chunks by open uploads that are marked one by one; with more, every open upload is."""
USING = (
    "SELECT p.upload FROM json_each(?) j"
    " CROSS JOIN copies c ON c.chunk = j.value AND c.node = ? AND c.state = 1"
    " CROSS JOIN pins p ON p.chunk = c.chunk LIMIT ?"
)
"""Begins with the chunks (a cross join keeps its order): a node may have millions of copies."""

INSERT_FOLDER = (
    "INSERT INTO entries (id, parent, name, kind, version, modified_ms, modified_ns, mode)"
    " SELECT 1 + max((SELECT max(id) FROM entries),"
    " (SELECT coalesce(max(datastore), 0) FROM uploads WHERE state = 0),"
    " (SELECT coalesce(max(datastore), 0) FROM versions WHERE state = 2),"
    " (SELECT coalesce(max(datastore), 0) FROM health)),"
    " ?, ?, ?, NULL, ?, ?, ?"
)
"""Parent, name, kind, time in two columns, mode.  Nothing that is left of a removed datastore names the id that it gets;
each maximum is the end of an index."""


def fetch(db: apsw.Connection, sql: str, *params: Any) -> Any:
    """Return the first row, or None."""
    return db.execute(sql, params).fetchone()


def raise_trust_epoch(tx: Transaction, node: NodeId) -> None:
    """Note that a node was removed, refused or doubted; call it in the transaction that does so.

    Uploads whose extents were checked at an earlier epoch are checked again before they commit, unless
    no copy on the node is known: then nothing relied on it.
    """
    tx.run(
        "UPDATE state SET trust_epoch = trust_epoch + 1 WHERE EXISTS"
        " (SELECT 1 FROM nodes n JOIN copies c ON c.node = n.id WHERE n.name = ?)",
        node,
    )


def recheck_uploads(tx: Transaction, node: int, chunks: Sequence[int]) -> None:
    """Have open uploads that use the copies of ``chunks`` on ``node`` checked again before they commit.

    Call it before copies that may be stored stop being so; those that are not stored mark nothing.  A
    check under way begins anew.

    Args:
        tx: the transaction in which they stop counting.
        node: the number of the node that has them.
        chunks: rows of chunks.
    """
    using = [upload for (upload,) in tx.all(USING, json.dumps(chunks), node, MARKED_AT_ONCE)]
    if len(using) == MARKED_AT_ONCE:
        tx.run("UPDATE state SET trust_epoch = trust_epoch + 1")
    elif using:
        tx.run(
            "UPDATE uploads SET checked_epoch = -1, checking_epoch = -1 WHERE state = 0 AND id IN"
            " (SELECT value FROM json_each(?))",
            json.dumps(list(dict.fromkeys(using))),
        )


def load_grants(db: apsw.Connection) -> GrantBook:
    """Read every grant."""
    rows: Any = db.execute(
        "SELECT id, path, rights, principal, granted_by, expires_s, sources FROM grants"
    ).fetchall()
    revoked: Any = db.execute(
        "SELECT what FROM revocations WHERE what LIKE 'spiffe://%'"
    ).fetchall()
    keys: Any = db.execute(
        "SELECT what FROM revocations WHERE what >= 'key:' AND what < 'key;'"
    ).fetchall()
    grants = [
        Grant(
            grant_id,
            FilePath.parse(path),
            Right(rights),
            SpiffeId.parse(principal),
            SpiffeId.parse(granted_by),
            expires_s,
            tuple(json.loads(sources)),
        )
        for grant_id, path, rights, principal, granted_by, expires_s, sources in rows
    ]
    return GrantBook(
        grants,
        frozenset(SpiffeId.parse(what) for (what,) in revoked),
        frozenset(bytes.fromhex(what.removeprefix("key:")) for (what,) in keys),
    )


def child(db: apsw.Connection, parent: int, name: str) -> tuple[int, int, int | None] | None:
    """Return (id, kind, version) of ``name`` in the folder ``parent``."""
    found: Any = db.execute(
        "SELECT id, kind, version FROM entries WHERE parent = ? AND name = ?", (parent, name)
    ).fetchone()
    answer: tuple[int, int, int | None] | None = found
    return answer


def kind_of(found: tuple[int, int, int | None] | None) -> EntryKind | None:
    """Return what :func:`child` or :func:`find` found, as decisions name it."""
    return None if found is None else KINDS[found[1]]


def find(db: apsw.Connection, path: FilePath) -> tuple[int, int, int | None] | None:
    """Return (id, kind, version) of the entry at ``path``, or None."""
    found: Any = (ROOT, DIRECTORY, None)
    for name in path.names:
        if found is None or found[1] in LEAVES:
            return None
        found = child(db, found[0], name)
    answer: tuple[int, int, int | None] | None = found
    return answer


def path_of(db: apsw.Connection, entry: int) -> FilePath:
    """Return the path of the entry with this id."""
    rows: Any = db.execute(
        "WITH RECURSIVE up(id, parent, name, depth) AS ("
        " SELECT id, parent, name, 0 FROM entries WHERE id = ?"
        " UNION ALL SELECT e.id, e.parent, e.name, up.depth + 1"
        " FROM up JOIN entries e ON e.id = up.parent)"
        " SELECT name FROM up WHERE parent IS NOT NULL ORDER BY depth DESC",
        (entry,),
    ).fetchall()
    return FilePath(tuple(row[0] for row in rows))


def time_columns(moment_ns: int) -> tuple[int, int]:
    """Return a time as rows have it: milliseconds, and the nanoseconds after them."""
    return divmod(moment_ns, NS_PER_MS)


def attribute_columns(attributes: Attributes, otherwise_ms: int) -> tuple[int, int, int]:
    """Return time (``otherwise_ms`` where none is given) and mode as rows have them."""
    mode = NO_MODE if attributes.mode is None else attributes.mode
    if attributes.modified_ns is None:
        return otherwise_ms, 0, mode
    return *time_columns(attributes.modified_ns), mode


def entry_value(row: Any, path: FilePath, copies: int, least: int) -> Entry:
    """Return the entry in a row of ENTRY_COLUMNS; ``copies`` wanted and ``least`` for files."""
    kind = KINDS[row[2]]
    modified_ns = None if path.is_root else row[3] * NS_PER_MS + row[4]
    mode = None if row[5] == NO_MODE else row[5]
    if kind is EntryKind.LINK:
        return Entry(path, kind, modified_ns=modified_ns, version=row[7], target=row[13])
    if kind is not EntryKind.FILE:
        return Entry(path, kind, modified_ns=modified_ns, mode=mode)
    return Entry(
        path,
        kind,
        size_bytes=row[8],
        modified_ns=modified_ns,
        mode=mode,
        content_type=row[10],
        metadata=json.loads(row[11]) if row[11] != "{}" else {},
        digest=row[12],
        version=row[7],
        chunk_count=row[9],
        copies_wanted=copies,
        copies_least=least,
    )


@dataclass(frozen=True, slots=True)
class Lack:
    """What may keep chunks from having as many copies as they want, at one moment."""

    is_any: bool
    """False: every chunk has its copies."""
    untrusted: tuple[int, ...]
    """Numbers of nodes whose stored copies do not count."""


def lack(db: apsw.Connection) -> Lack:
    """Tell whether any chunk has, or may turn out to have, fewer copies than wanted (few lookups)."""
    untrusted = tuple(untrusted_nodes(db))
    is_any = bool(untrusted) or is_unsettled(db)
    short = "SELECT 1 FROM chunks WHERE stored < wanted LIMIT 1"
    return Lack(is_any or fetch(db, short) is not None, untrusted)


def is_restored(db: apsw.Connection) -> bool:
    """Tell whether the catalogue went back to an earlier state, and no operator has adopted it yet."""
    return bool(fetch(db, "SELECT restored FROM state")[0])


def is_unsettled(db: apsw.Connection) -> bool:
    """Tell whether what chunks want is being worked out anew somewhere."""
    return fetch(db, "SELECT 1 FROM unsettled LIMIT 1") is not None


def copies_least(
    db: apsw.Connection, version: int, chunk_count: int, copies: int, lack: Lack
) -> int:
    """Return the fewest copies that any chunk of a version has; cheap when nothing is lacking.

    Copies on nodes that are removed, refused or doubted are not among them.
    """
    if not lack.is_any or chunk_count == 0:
        return copies
    few = chunk_count <= 4096 or is_unsettled(db)  # noqa: PLR2004 - else the short ones are fewer
    least: int | None
    if lack.untrusted:
        least = fetch(
            db,
            "SELECT min(k.stored - (SELECT count(*) FROM copies c WHERE c.chunk = k.id"
            " AND c.state = 1 AND c.node IN (SELECT value FROM json_each(?))))"
            " FROM extents e JOIN chunks k ON k.id = e.chunk WHERE e.version = ?",
            json.dumps(lack.untrusted),
            version,
        )[0]
    elif few:
        least = fetch(
            db,
            "SELECT min(c.stored) FROM extents e JOIN chunks c ON c.id = e.chunk"
            " WHERE e.version = ?",
            version,
        )[0]
    else:
        least = fetch(
            db,
            "SELECT min(c.stored) FROM chunks c WHERE c.stored < c.wanted AND EXISTS"
            " (SELECT 1 FROM extents e WHERE e.chunk = c.id AND e.version = ?)",
            version,
        )[0]
    return copies if least is None else min(least, copies)
