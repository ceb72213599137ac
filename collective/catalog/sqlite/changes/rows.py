"""The rows of changes: one or two for each change of names, whatever hangs below the name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw

from collective.catalog.decisions.changes import Bounds, Numbered, Touched, seen_in
from collective.catalog.decisions.cursors import Kept
from collective.catalog.sqlite.store.rows import fetch
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.paths import FilePath

ROW_BYTES: Final = 48
"""What a row takes beside its path, about."""
PRUNED_AT_ONCE: Final = 500
"""Changes that one step drops."""

_NEWEST: Final = "SELECT number, end_bytes FROM changes ORDER BY number DESC LIMIT 1"
_OLDEST: Final = "SELECT number FROM changes ORDER BY number LIMIT 1"
_SINCE: Final = (
    "SELECT number, path, below FROM changes WHERE number > ?1 AND (path = ?2"
    " OR (path >= ?3 AND path < ?4) OR (below AND substr(?2, 1, length(path) + 1) = path || '/'))"
    " ORDER BY number LIMIT ?5"
)


def note_change(tx: Transaction, path: FilePath, *, below: bool = False) -> None:
    """Tell those who watch that ``path`` changed, and with ``below`` perhaps all that hangs on it."""
    number, end_bytes = tx.one(_NEWEST) or (0, 0)
    text = str(path)
    tx.run(
        "INSERT INTO changes (number, at_ms, path, below, end_bytes) VALUES (?,?,?,?,?)",
        number + 1,
        tx.now_ms,
        text,
        below,
        end_bytes + len(text.encode()) + ROW_BYTES,
    )
    tx.touched.append(Touched(path, below))


def kept(db: apsw.Connection) -> Kept:
    """Return which changes are kept."""
    newest, oldest = fetch(db, _NEWEST), fetch(db, _OLDEST)
    return Kept(1 if oldest is None else oldest[0], 0 if newest is None else newest[0])


def since(db: apsw.Connection, folder: FilePath, number: int, most: int) -> Sequence[Numbered]:
    """Return the first ``most`` changes after ``number`` that concern ``folder``, as they do."""
    text = str(folder)
    # What lies below begins with "/a/", and comes before "/a0", which follows it.
    first, end = ("/", "0") if folder.is_root else (f"{text}/", f"{text}0")
    found: Any = db.execute(_SINCE, (number, text, first, end, most)).fetchall()
    numbered = []
    for one, path, below in found:
        told = seen_in(folder, Touched(FilePath.parse(path), bool(below)))
        assert told is not None, "the statement and the decision are of one mind"
        numbered.append(Numbered(one, told))
    return numbered


def prune(tx: Transaction, bounds: Bounds) -> bool:
    """Drop some of the oldest changes beyond ``bounds``; return whether there may be more.

    The newest stays: its number says where the next one goes.
    """
    newest = tx.one(_NEWEST)
    if newest is None:
        return False
    number, end_bytes = newest
    found = tx.all(
        "SELECT number, at_ms, end_bytes FROM changes WHERE number < ? ORDER BY number LIMIT ?",
        number,
        PRUNED_AT_ONCE,
    )
    last = None
    for one, at_ms, its_end_bytes in found:
        rest_bytes = end_bytes - its_end_bytes
        if not bounds.is_over(
            rows=number - one + 1, size_bytes=rest_bytes, age_ms=tx.now_ms - at_ms
        ):
            break
        last = one
    if last is None:
        return False
    tx.run("DELETE FROM changes WHERE number <= ?", last)
    return bool(last == found[-1][0])
