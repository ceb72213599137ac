"""Listings in order of path, in pages, of what a caller may see.

A page ends after ``page_size`` entries, or where its answer would grow too large; its token is the last path of the page, so a listing goes on
correctly while names come and go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import apsw

from collective.access.permissions import Decider
from collective.catalog.decisions.names import absent
from collective.catalog.decisions.visibility import (
    is_shown_whole,
    names_shown,
    only_that_it_is,
    require_listing,
)
from collective.catalog.sqlite.names.datastores import copies_for
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.rows import FILE, LEAVES
from collective.core import limits
from collective.core.errors import UsageError
from collective.core.paths import FilePath
from collective.model.entries import Entry
from collective.model.pages import EntryPage
from collective.model.rights import Right

_CHILD = f"SELECT {rows.ENTRY_COLUMNS} {rows.ENTRY_FROM} WHERE e.parent = ? AND e.name = ?"
_CHILDREN = (
    f"SELECT {rows.ENTRY_COLUMNS} {rows.ENTRY_FROM} WHERE e.parent = ? AND e.name >= ?"
    " ORDER BY e.name"
)


def list_page(
    db: apsw.Connection,
    decider: Decider,
    path: FilePath,
    copies: int,
    *,
    recursive: bool,
    page_size: int,
    token: str,
) -> EntryPage:
    """Return one page; ``page_size`` is at most LIST_PAGE_MAX_ENTRIES (0: that)."""
    size = min(page_size or limits.LIST_PAGE_MAX_ENTRIES, limits.LIST_PAGE_MAX_ENTRIES)
    require_listing(decider, path)
    found = rows.find(db, path)
    if found is None:
        raise absent(path)
    walk = _Walk(db, decider, copies)
    after = _parse_token(token)
    if found[1] in LEAVES:
        decider.require(Right.READ, path)
        row = rows.fetch(
            db, f"SELECT {rows.ENTRY_COLUMNS} {rows.ENTRY_FROM} WHERE e.id = ?", found[0]
        )
        return EntryPage([walk.value(row, path)], "")
    entries: list[Entry] = []
    weight = 0
    for entry in walk.below(found[0], path, after, recursive=recursive):
        weight += weigh(entry)
        if len(entries) == size or (entries and weight > limits.ANSWER_MAX_BYTES):
            return EntryPage(entries, _token(entries[-1].path.names[len(path.names) :]))
        entries.append(entry)
    return EntryPage(entries, "")


class _Walk:
    """One walk over the tree for one caller."""

    def __init__(self, db: apsw.Connection, decider: Decider, copies: int) -> None:
        self._db = db
        self._decider = decider
        self._default = copies
        self._policies: dict[str, int] = {}
        self._lack = rows.lack(db)

    def value(self, row: Any, path: FilePath) -> Entry:
        least = copies = 0
        if row[2] == FILE:
            copies = self._copies(path)
            least = rows.copies_least(self._db, row[6], row[9], copies, self._lack)
        return rows.entry_value(row, path, copies, least)

    def _copies(self, path: FilePath) -> int:
        top = path.names[0]
        if top not in self._policies:
            self._policies[top] = copies_for(self._db, path, self._default)
        return self._policies[top]

    def below(
        self, folder: int, path: FilePath, after: tuple[str, ...], *, recursive: bool
    ) -> Iterator[Entry]:
        """Yield what comes after the relative path ``after``, parents before children."""
        first = after[0] if after else ""
        for row in self._children(folder, path, first):
            name: str = row[1]
            here = path.child(name)
            seen = bool(after) and name == first
            if not seen:
                yield self._seen(row, here)
            if recursive and row[2] not in LEAVES:
                rest = after[1:] if seen else ()
                yield from self.below(row[0], here, rest, recursive=True)

    def _children(self, folder: int, path: FilePath, first: str) -> Iterator[Any]:
        """Yield the rows of what may be seen in a folder, in the order of names from ``first`` on."""
        names = names_shown(self._decider, path)
        if names is None:
            yield from self._db.execute(_CHILDREN, (folder, first))
            return
        for name in names:
            if name >= first:
                yield from self._db.execute(_CHILD, (folder, name))

    def _seen(self, row: Any, path: FilePath) -> Entry:
        if is_shown_whole(self._decider, path):
            return self.value(row, path)
        return only_that_it_is(path, rows.KINDS[row[2]])


def weigh(entry: Entry) -> int:
    """Return at least the bytes that an entry has on the wire."""
    size = 200 + len(str(entry.path).encode()) + len(entry.content_type.encode())
    size += len(entry.target)
    for key, value in entry.metadata.items():
        size += len(key.encode()) + len(value.encode()) + 12
    return size


def _token(names: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode("/".join(names).encode()).decode()


def _parse_token(token: str) -> tuple[str, ...]:
    if not token:
        return ()
    try:
        return tuple(base64.urlsafe_b64decode(token.encode()).decode().split("/"))
    except (binascii.Error, ValueError) as error:
        raise UsageError("The page token is malformed; begin the listing again.") from error
