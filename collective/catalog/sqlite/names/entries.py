"""An entry as its caller gets it: from its rows, with the fewest copies that any of its chunks has.

To count copies may take as many lookups as a file has chunks.  So a change counts them for small files
alone; those of a large one are counted once it is durable, on a reading connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import apsw

from collective.access.permissions import Decider
from collective.catalog.decisions.names import require_condition
from collective.catalog.decisions.visibility import as_seen
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.counting import settle
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import FILE
from collective.core.paths import FilePath
from collective.model.entries import Entry
from collective.model.writing import Precondition

COUNTED_AT_ONCE: Final = 256
"""Chunks up to which a change counts the copies itself."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change made of an entry."""

    entry: Entry
    uncounted: int = 0
    """The version whose copies are still to be counted (:func:`counted`); 0: none."""

    def seen(self, decider: Decider) -> Changed:
        """Return as much of it as the caller may know who may write there."""
        entry = as_seen(decider, self.entry)
        return self if entry is self.entry else Changed(entry)


def load_entry(db: apsw.Connection, entry: int, path: FilePath, copies: int) -> Entry:
    """Return the entry with this id as someone with ``read`` sees it; on a reading connection."""
    row = _row(db, entry)
    if row[2] != FILE:
        return rows.entry_value(row, path, 0, 0)
    least = rows.copies_least(db, row[6], row[9], copies, rows.lack(db))
    return rows.entry_value(row, path, copies, least)


def load_changed(db: apsw.Connection, entry: int, path: FilePath, copies: int) -> Changed:
    """Return the same within a change; the copies of a large file are not counted yet."""
    row = _row(db, entry)
    if row[2] != FILE or row[9] <= COUNTED_AT_ONCE:
        settle(db)
        return Changed(load_entry(db, entry, path, copies))
    return Changed(rows.entry_value(row, path, copies, copies), row[6])


async def counted(engine: Engine, changed: Changed) -> Entry:
    """Return the entry with the copies of its chunks counted; call it when the change is durable."""
    entry, version = changed.entry, changed.uncounted
    if not version:
        return entry

    def count(db: apsw.Connection) -> int:
        return rows.copies_least(db, version, entry.chunk_count, entry.copies_wanted, rows.lack(db))

    return entry._replace(copies_least=await engine.read(count))


def _row(db: apsw.Connection, entry: int) -> Any:
    sql = f"SELECT {rows.ENTRY_COLUMNS} {rows.ENTRY_FROM} WHERE e.id = ?"
    return rows.fetch(db, sql, entry)


def check_condition(
    db: apsw.Connection, path: FilePath, version: int | None, condition: Precondition
) -> None:
    """Raise ConflictError unless the file at ``path`` (None: absent) meets ``condition``.

    Args:
        db: the catalogue.
        path: where it is.
        version: its row; 0 for a folder.
        condition: of the caller.
    """
    number = version
    if version and condition.if_version:
        number = rows.fetch(db, "SELECT number FROM versions WHERE id = ?", version)[0]
    require_condition(path, number, condition)
