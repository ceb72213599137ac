"""Folders know what lies below them: names, files, bytes, and how deep and long the paths there are.

Each folder, datastore and the root has a row.  Whatever adds, removes or moves names counts that here, in
the same transaction, for the folder that they lie in and for all above it, so that nothing walks a tree to
know: quotas, moves and totals read these rows.

Depth and reach are bounds.  What is added raises them; a removal leaves them as they are, since only a walk
could tell what the longest path is now.  Where a move would break the limits of paths by these bounds, the
tree is *measured* on a reading connection, page by page; the measure holds while nothing was added below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import apsw

from collective.catalog.decisions.names import Bounds
from collective.catalog.decisions.weights import NAME_BYTES, Weight
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import (
    DIRECTORY,
    INSERT_FOLDER,
    LEAVES,
    attribute_columns,
    fetch,
)
from collective.catalog.sqlite.store.writer import Transaction
from collective.model.writing import Attributes

PAGE_NAMES = 2000
"""Names that one step of a measure looks at."""

_COUNT: Final = (
    "WITH RECURSIVE up(id, depth, reach) AS (SELECT ?1, ?2, ?3 UNION ALL"
    " SELECT e.parent, up.depth + 1, up.reach + 1 + octet_length(e.name)"
    " FROM up JOIN entries e ON e.id = up.id WHERE e.parent IS NOT NULL)"
    " UPDATE folders SET names = names + ?4, files = files + ?5, bytes = bytes + ?6,"
    " data = data + ?7, overhead = overhead + ?8, depth = max(folders.depth, up.depth),"
    " reach = max(folders.reach, up.reach), added = added + max(?4, 0)"
    " FROM up WHERE folders.entry = up.id"
)
"""For a folder and all above it: depth and reach grow on the way up."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder's row says."""

    entry: int
    weight: Weight
    """Of what lies below it; its own name is not among that."""
    bounds: Bounds
    added: int
    """Names that ever came below it."""


@dataclass(frozen=True, slots=True)
class Measure:
    """The bounds of a tree as its names say, while ``added`` is what its folder's row says."""

    entry: int
    bounds: Bounds
    added: int


def folder_at(db: apsw.Connection, entry: int) -> Folder:
    """Return what is kept of the folder with this entry."""
    *weight, depth, reach, added = fetch(
        db,
        "SELECT names, files, bytes, data, overhead, depth, reach, added FROM folders"
        " WHERE entry = ?",
        entry,
    )
    return Folder(entry, Weight(*weight), Bounds(depth, reach), added)


def add_folders(
    tx: Transaction,
    parent: int,
    names: Sequence[str],
    attributes: Attributes,
    *,
    kind: int = DIRECTORY,
) -> int:
    """Add a folder below ``parent`` and each next one below that; return the last one's entry.

    Args:
        tx: the transaction.
        parent: the folder that has the first.
        names: of each; at least one.
        attributes: of the last one.
        kind: of each.
    """
    at = parent
    for place, name in enumerate(names, 1):
        given = attributes if place == len(names) else Attributes()
        tx.run(INSERT_FOLDER, at, name, kind, *attribute_columns(given, tx.now_ms))
        at = tx.db.last_insert_rowid()
        weight, bounds = _chain(names[place:])
        tx.run(
            "INSERT INTO folders (entry, names, files, bytes, data, overhead, depth, reach, added)"
            " VALUES (?,?,0,0,0,?,?,?,?)",
            at,
            weight.names,
            weight.overhead_bytes,
            bounds.depth,
            bounds.reach,
            weight.names,
        )
    count_below(tx, parent, *_chain(names))
    return at


def _chain(names: Sequence[str]) -> tuple[Weight, Bounds]:
    """Return what folders count for of which each lies in the one before, and how far they reach."""
    weight = Weight(names=len(names), overhead_bytes=NAME_BYTES * len(names))
    return weight, Bounds(len(names), len("/".join(names).encode()))


def count_below(tx: Transaction, folder: int, weight: Weight, bounds: Bounds | None = None) -> None:
    """Count what came into ``folder``, or (negative) went, for it and for all above it.

    Args:
        tx: the transaction.
        folder: its entry.
        weight: of the names that came or went, with all below them.
        bounds: how far ``folder`` reaches down through what came; None: nothing came.
    """
    at = bounds or Bounds()
    tx.run(
        _COUNT,
        folder,
        at.depth,
        at.reach,
        weight.names,
        weight.files,
        weight.size_bytes,
        weight.data_bytes,
        weight.overhead_bytes,
    )


def tighten(tx: Transaction, measure: Measure) -> None:
    """Set the bounds of a folder to what was measured."""
    tx.run(
        "UPDATE folders SET depth = ?, reach = ? WHERE entry = ?",
        measure.bounds.depth,
        measure.bounds.reach,
        measure.entry,
    )


async def measure(engine: Engine, entry: int) -> Measure | None:
    """Go through all names below a folder; None if it is no more."""
    found = await engine.read(
        lambda db: fetch(db, "SELECT added FROM folders WHERE entry = ?", entry)
    )
    if found is None:
        return None
    stack, bounds = [_Place(entry, "", 0, 0)], Bounds()
    while stack:
        stack, bounds = await engine.read(partial(_measure_page, stack=stack, bounds=bounds))
    return Measure(entry, bounds, found[0])


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder of which the names after ``after`` are still to be looked at."""

    folder: int
    after: str
    depth: int
    reach: int
    """Bytes of its path, relative to the top; 0 for the top."""


def _measure_page(
    db: apsw.Connection, stack: Sequence[_Place], bounds: Bounds
) -> tuple[list[_Place], Bounds]:
    """Go one page on; return what is left to do, and the bounds so far."""
    left, waiting = PAGE_NAMES, list(stack)
    depth, reach = bounds.depth, bounds.reach
    while waiting and left > 0:
        at = waiting.pop()
        found: Any = db.execute(
            "SELECT id, name, kind FROM entries WHERE parent = ? AND name > ? ORDER BY name LIMIT ?",
            (at.folder, at.after, left),
        ).fetchall()
        if len(found) == left:
            waiting.append(_Place(at.folder, found[-1][1], at.depth, at.reach))
        left -= len(found) + 1
        for entry, name, kind in found:
            length = len(name.encode()) + (at.reach + 1 if at.reach else 0)
            depth, reach = max(depth, at.depth + 1), max(reach, length)
            if kind not in LEAVES:
                waiting.append(_Place(entry, "", at.depth + 1, length))
    return waiting, Bounds(depth, reach)
