"""Figures that rows keep of other rows, so that nothing counts everything: how to read and to check them.

Triggers keep most (schemas 22, 23, 27): no statement that changes copies, pins or extents needs to know of it.
What a chunk's row keeps is put right once a change (``settle``), not with each row: until then ``touched`` names
the chunk, and ``health`` counts it as its row says.

* ``chunks.in_extents``: whether extents name it; ``chunks.in_pins``: whether pins do, of what is in extents or has
  copies.  ``chunks.use`` follows from both.
* ``chunks.stored``: its copies in state 1; ``chunks.spread``: all its copies but intents, by number of node: ``'3'`` stored, ``'5-'`` missing, ``'9?'`` doubted.
* ``held``: how many extents of a datastore name the chunk; ``versions.home`` says which datastore (``policies``).
* ``health``: how many chunks in use are alike in use, copies wanted and spread (``placement.health``), in
  the whole catalogue and in each datastore that holds them.
* ``nodes.stored``, ``nodes.doomed``, ``nodes.guarded``: rows of ``copies`` in state 1, and of ``doomed``.
* ``folders``: what lies below each folder, kept by those who change names (``folders``).

The conflict clause of a statement goes for the triggers that it sets off as well.  So nothing is put into
``chunks``, ``copies``, ``extents`` or ``pins`` by ``INSERT OR IGNORE`` or ``OR REPLACE``.
"""

# ruff: noqa: S608 - statements are put together from constants of this file alone

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw

from collective.catalog.decisions.weights import EXTENT_BYTES, HOLE_BYTES, NAME_BYTES
from collective.catalog.sqlite.store.rows import DOUBTED, MISSING, STORED
from collective.core.ids import NodeId
from collective.model.copies import CopyState
from collective.placement.chunk_safety import Group, Use

WHOLE: Final = 0
"""In place of a datastore: the whole catalogue."""

_STATES: Final = {
    "-": CopyState(MISSING),
    "?": CopyState(DOUBTED),
}
_SPREAD: Final = (
    "coalesce((SELECT group_concat(node || iif(state = 1, '', iif(state = 2, '-', '?')), ' '"
    " ORDER BY node) FROM copies WHERE chunk = chunks.id AND state > 0), '')"
)
_IN_EXTENTS: Final = "EXISTS (SELECT 1 FROM extents x WHERE x.chunk = chunks.id)"
_IN_PINS: Final = (
    "EXISTS (SELECT 1 FROM pins p WHERE p.chunk = chunks.id)"
    f" AND ({_IN_EXTENTS} OR EXISTS (SELECT 1 FROM copies c WHERE c.chunk = chunks.id AND c.state > 0))"
)
_OF_CHUNKS: Final = {
    "in_extents": _IN_EXTENTS,
    "in_pins": _IN_PINS,
    "stored": "(SELECT count(*) FROM copies c WHERE c.chunk = chunks.id AND c.state = 1)",
    "spread": _SPREAD,
}
_SETTLE: Final = (
    f"UPDATE chunks SET {', '.join(f'{column} = {now}' for column, now in _OF_CHUNKS.items())}"
    " WHERE id IN (SELECT chunk FROM touched)"
)
_OF_NODES: Final = {
    "stored": "(SELECT count(*) FROM copies c WHERE c.node = nodes.id AND c.state = 1)",
    "doomed": "(SELECT count(*) FROM doomed d WHERE d.node = nodes.id)",
    "guarded": "(SELECT count(*) FROM doomed d WHERE d.node = nodes.id AND d.guard > 0)",
}
_HELD: Final = (
    "SELECT x.chunk, iif(x.offset < v.homed_to, v.next_home, v.home) AS datastore,"
    " count(*) AS extents FROM extents x JOIN versions v ON v.id = x.version GROUP BY 1, 2"
)
_HEALTH: Final = (
    f"SELECT {WHOLE} AS datastore, use, wanted, spread, count(*) AS chunks FROM chunks"
    " WHERE use > 0 GROUP BY 2, 3, 4 UNION ALL"
    " SELECT h.datastore, k.use, k.wanted, k.spread, count(*) FROM held h"
    " JOIN chunks k ON k.id = h.chunk GROUP BY 1, 2, 3, 4"
)
_FOLDERS: Final = (
    "WITH RECURSIVE up(leaf, at, depth, reach) AS"
    " (SELECT id, parent, 1, octet_length(name) FROM entries WHERE parent IS NOT NULL"
    " UNION ALL SELECT up.leaf, e.parent, up.depth + 1, up.reach + 1 + octet_length(e.name)"
    " FROM up JOIN entries e ON e.id = up.at WHERE e.parent IS NOT NULL)"
    " SELECT f.id AS entry, count(up.leaf) AS names,"
    " count(v.id) FILTER (WHERE v.target IS NULL) AS files, coalesce(sum(v.size), 0) AS bytes,"
    " coalesce(sum(v.size - v.hole_bytes), 0) AS data,"
    f" {NAME_BYTES} * count(up.leaf) + coalesce(sum({EXTENT_BYTES} * v.chunk_count"
    f" + {HOLE_BYTES} * v.hole_count + octet_length(v.metadata) + octet_length(v.content_type)"
    " + coalesce(octet_length(v.target), 0)), 0) AS overhead,"
    " coalesce(max(up.depth), 0) AS depth, coalesce(max(up.reach), 0) AS reach"
    " FROM entries f LEFT JOIN up ON up.at = f.id LEFT JOIN entries l ON l.id = up.leaf"
    " LEFT JOIN versions v ON v.id = l.version WHERE f.kind IN (1, 2) GROUP BY f.id"
)
_WRONG_FOLDER: Final = (
    f"SELECT c.entry FROM ({_FOLDERS}) c LEFT JOIN folders f ON f.entry = c.entry"
    " WHERE (f.names, f.files, f.bytes, f.data, f.overhead)"
    " IS NOT (c.names, c.files, c.bytes, c.data, c.overhead)"
    " OR f.depth < c.depth OR f.reach < c.reach LIMIT 1"
)
_TABLES: Final = {
    "held": ("SELECT chunk, datastore, extents FROM held", _HELD),
    "health": ("SELECT datastore, use, wanted, spread, chunks FROM health", _HEALTH),
}


def settle(db: apsw.Connection) -> None:
    """Put right what the rows of chunks keep, where other rows changed.

    The writer does it after each change; who reads them within one does it before.
    """
    if db.execute("SELECT 1 FROM touched LIMIT 1").fetchone() is not None:
        db.execute(_SETTLE)
        db.execute("DELETE FROM touched")


def groups(db: apsw.Connection, datastore: int = WHOLE) -> list[tuple[str, Group]]:
    """Return the chunks in use in groups, each with its spread: of all, or of one datastore."""
    found: Any = db.execute("SELECT id, name FROM nodes").fetchall()
    names = {str(number): NodeId(name) for number, name in found}
    spreads: dict[str, tuple[tuple[NodeId, CopyState], ...]] = {}
    kept: Any = db.execute(
        "SELECT use, wanted, spread, chunks FROM health WHERE datastore = ?", (datastore,)
    )
    answer = []
    for use, wanted, spread, chunks in kept:
        if spread not in spreads:
            spreads[spread] = tuple(_copy(one, names) for one in spread.split())
        answer.append((spread, Group(Use(use), wanted, spreads[spread], chunks)))
    return answer


def _copy(text: str, names: Mapping[str, NodeId]) -> tuple[NodeId, CopyState]:
    state = _STATES.get(text[-1])
    return (names[text], CopyState(STORED)) if state is None else (names[text[:-1]], state)


def disagreements(db: apsw.Connection) -> list[str]:
    """Return a sentence for each kind of figure that is not what its rows say; for tests."""
    found = [
        *_differing(db, "chunks", _OF_CHUNKS),
        *_differing(db, "nodes", _OF_NODES),
    ]
    for table, (kept, counted) in _TABLES.items():
        for what, these, those in (("keeps", kept, counted), ("lacks", counted, kept)):
            row = db.execute(
                f"SELECT * FROM (SELECT * FROM ({these}) EXCEPT SELECT * FROM ({those})) LIMIT 1"
            ).fetchone()
            if row is not None:
                found.append(f"{table} {what} the row {row}")
    wrong = db.execute(_WRONG_FOLDER).fetchone()  # once: it goes through all names
    if wrong is not None:
        found.append(f"folders does not say what lies below entry {wrong[0]}")
    more = db.execute(
        "SELECT entry FROM folders f JOIN entries e ON e.id = f.entry WHERE kind NOT IN (1, 2)"
    )
    if more.fetchone() is not None:
        found.append("folders has a row of what is none")
    return found


def _differing(db: apsw.Connection, table: str, columns: Mapping[str, str]) -> Sequence[str]:
    found = []
    for column, counted in columns.items():
        row = db.execute(
            f"SELECT id, {column}, ({counted}) FROM {table} WHERE {column} <> ({counted}) LIMIT 1"
        ).fetchone()
        if row is not None:
            found.append(f"{table}.{column} of row {row[0]} is {row[1]!r}, counted {row[2]!r}")
    return found
