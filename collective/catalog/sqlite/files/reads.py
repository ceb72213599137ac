"""Files going out: leases on versions, and batches of their pieces with the copies to read."""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import apsw

from collective.catalog.decisions.names import absent
from collective.catalog.decisions.reads import (
    FoundCopy,
    end_of,
    lease_gone,
    pieces_most,
    place_of_lease,
    readable,
    require_file,
    require_range,
    require_still_readable,
    require_version,
)
from collective.catalog.interface.values import LocatedExtent, ReadView
from collective.catalog.sqlite.collection.dooming import CORRUPT
from collective.catalog.sqlite.names.datastores import copies_for
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import CURRENT, FILE, RETIRED, STORED
from collective.core.errors import BusyError
from collective.core.ids import ChunkId, Generation, LeaseKey, NodeId, parse_hex_id
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.copies import Copy, CopyState
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.nodes import Standing
from collective.model.rights import Right

ATTEMPTS = 5
"""Times an opening is begun again because a collection ran meanwhile."""


@dataclass(frozen=True, slots=True)
class _Found:
    version: int
    entry: Entry
    extents: Sequence[LocatedExtent | Hole]
    more: bool


class SqliteReads:
    """Files going out."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def open(
        self,
        caller: Call,
        path: FilePath,
        *,
        offset: int,
        length: int,
        if_version: int,
        batch: int,
    ) -> ReadView:
        """Lease the current version; return the first extents that touch the range.

        ``length`` 0 means to the end.
        """
        engine = self._engine

        def work(db: apsw.Connection) -> _Found:
            engine.decider(caller).require(Right.READ, path)
            found = rows.find(db, path)
            require_file(path, rows.kind_of(found))
            assert found is not None
            copies = copies_for(db, path, engine.settings.copies)
            view = _load(db, found[2] or 0, path, copies, offset, length, batch)
            if view is None:
                raise absent(path)
            entry = view.entry
            require_version(path, entry.version, if_version)
            least = rows.copies_least(db, view.version, entry.chunk_count, copies, rows.lack(db))
            return replace(view, entry=entry._replace(copies_least=least))

        for _ in range(ATTEMPTS):
            mark = engine.leases.mark()
            view = await engine.read_for(caller, "read", str(path), work)
            lease = engine.leases.take(mark, view.version, caller, path)
            if lease is not None:
                return self._view(view, lease)
            await asyncio.sleep(0)
        raise BusyError("The catalogue is busy with collection; try again.")

    async def plan(
        self, caller: Call, lease: LeaseKey, *, offset: int, length: int, batch: int
    ) -> ReadView:
        """Renew the lease and return the extents that touch the range."""
        engine = self._engine
        parse_hex_id(lease)
        mark = engine.leases.mark()
        held = engine.leases.renew(lease, caller.principal)
        proven = engine.leases.proven(lease, caller.principal) if held is None else None
        if held is None and proven is None:
            raise lease_gone()

        def work(db: apsw.Connection) -> tuple[_Found, FilePath]:
            version = held.version if held is not None else proven or 0
            path = place_of_lease(_place(db, version), None if held is None else held.path)
            require_still_readable(engine.decider(caller), path)
            copies = copies_for(db, path, engine.settings.copies)
            view = _load(db, version, path, copies, offset, length, batch)
            if view is None:
                raise lease_gone()
            return view, path

        view, path = await engine.read_for(caller, "read", f"lease {lease}", work)
        if held is None and not engine.leases.revive(mark, lease, view.version, caller, path):
            raise lease_gone()
        return self._view(view, lease)

    async def is_read_from(
        self, caller: Call, lease: LeaseKey, chunk: ChunkId, node: NodeId
    ) -> bool:
        """Tell whether the leased version holds ``chunk``, of which ``node`` has a copy."""
        held = self._engine.leases.renew(lease, caller.principal)
        if held is None:
            return False

        def work(db: apsw.Connection) -> bool:
            found: Any = db.execute(
                "SELECT k.id FROM chunks k WHERE k.hash = ? AND EXISTS"
                " (SELECT 1 FROM extents x WHERE x.chunk = k.id AND x.version = ?)",
                (chunk, held.version),
            ).fetchall()
            return any(copy.node == node for (row,) in found for copy in readable_copies(db, row))

        return await self._engine.read(work)

    async def close(self, caller: Call, lease: LeaseKey) -> None:
        """Give a lease back; unknown leases are ignored."""
        self._engine.leases.give_back(lease, caller.principal)

    def _view(self, found: _Found, lease: LeaseKey) -> ReadView:
        until_s = self._engine.clock.wall_s() + self._engine.settings.lease_life_s
        return ReadView(found.entry, lease, int(until_s * 1000), found.extents, found.more)


def _place(db: apsw.Connection, version: int) -> FilePath | None:
    """Return where a version lies now, or lay last: there one must be allowed to read."""
    row = rows.fetch(
        db,
        "SELECT e.id, v.place FROM versions v LEFT JOIN entries e ON e.version = v.id"
        " WHERE v.id = ?",
        version,
    )
    if row is None:
        return None
    if row[0] is not None:
        return rows.path_of(db, row[0])
    return None if row[1] is None else FilePath.parse(row[1])


def _load(
    db: apsw.Connection,
    version: int,
    path: FilePath,
    copies: int,
    offset: int,
    length: int,
    batch: int,
) -> _Found | None:
    """Return a version and its extents in the range; None if there is no such version any more."""
    require_range(offset, length)
    row = rows.fetch(
        db,
        f"SELECT 0, '', {FILE}, v.modified_ms, v.modified_ns, v.mode, {rows.VERSION_COLUMNS},"
        " v.hole_count FROM versions v WHERE v.id = ? AND v.state IN (?, ?)",
        version,
        CURRENT,
        RETIRED,
    )
    if row is None:
        return None
    size, holes = row[8], row[14]
    end, limit = end_of(offset, length, size), pieces_most(batch)
    extents: list[LocatedExtent | Hole] = []
    more = False
    if offset < end:
        load = _pieces if holes else _extents
        extents, more = load(db, version, offset, end, limit)
    return _Found(version, rows.entry_value(row, path, copies, copies), extents, more)


_EXTENTS = (
    "SELECT e.offset, e.length, c.hash, c.stored_length, e.format, e.plain_id, e.chunk"
    " FROM extents e JOIN chunks c ON c.id = e.chunk"
    " WHERE e.version = ?1 AND e.offset >= ?2 AND e.offset < ?3"
)
_HOLES = (
    "SELECT h.offset, h.length, NULL, 0, 0, NULL, 0 FROM holes h"
    " WHERE h.version = ?1 AND h.offset >= ?2 AND h.offset < ?3"
)
_FIRST = "SELECT max(offset) FROM {} WHERE version = ? AND offset <= ?"


def _extents(
    db: apsw.Connection, version: int, offset: int, end: int, limit: int
) -> tuple[list[LocatedExtent | Hole], bool]:
    """Return the extents that touch the range, and whether there are more than ``limit``."""
    first = rows.fetch(db, _FIRST.format("extents"), version, offset)[0] or 0
    return _load_pieces(db, f"{_EXTENTS} ORDER BY 1 LIMIT ?4", (version, first, end), limit)


def _pieces(
    db: apsw.Connection, version: int, offset: int, end: int, limit: int
) -> tuple[list[LocatedExtent | Hole], bool]:
    """Return the same of a version with holes, and these among them."""
    first = max(
        rows.fetch(db, _FIRST.format(table), version, offset)[0] or 0
        for table in ("extents", "holes")
    )
    sql = f"{_EXTENTS} UNION ALL {_HOLES} ORDER BY 1 LIMIT ?4"
    return _load_pieces(db, sql, (version, first, end), limit)


def _load_pieces(
    db: apsw.Connection, sql: str, where: tuple[int, int, int], limit: int
) -> tuple[list[LocatedExtent | Hole], bool]:
    found: Any = db.execute(sql, (*where, limit + 1)).fetchall()
    return [
        Hole(row[0], row[1])
        if row[2] is None
        else LocatedExtent(extent_value(row), readable_copies(db, row[6]))
        for row in found[:limit]
    ], len(found) > limit


def extent_value(row: Any) -> Extent:
    """Return the extent in (offset, length, hash, stored length, format, plain id, …)."""
    return Extent(row[0], row[1], ChunkId(row[2]), row[3], row[4], row[5])


def stored_copies(db: apsw.Connection, chunk: int) -> list[Copy]:
    """Return the stored copies of a chunk on nodes that have not been removed."""
    found: Any = db.execute(
        "SELECT n.name, c.generation FROM copies c JOIN nodes n ON n.id = c.node"
        " WHERE c.chunk = ? AND c.state = ? AND n.removed = 0 ORDER BY n.id",
        (chunk, STORED),
    ).fetchall()
    return [Copy(NodeId(name), Generation(generation)) for name, generation in found]


def readable_copies(db: apsw.Connection, chunk: int) -> list[Copy]:
    """Return the copies of a chunk that a reader may try, those that do not count last and marked."""
    found: Any = db.execute(
        "SELECT n.name, c.generation, c.state, 0, n.standing FROM copies c"
        " JOIN nodes n ON n.id = c.node WHERE c.chunk = ?1 AND n.removed = 0"
        " UNION ALL SELECT n.name, d.generation, NULL, d.guard = ?2, n.standing FROM chunks k"
        " JOIN doomed d ON d.hash = k.hash AND d.stored_length = k.stored_length AND d.guard > 0"
        " JOIN nodes n ON n.id = d.node WHERE k.id = ?1 AND n.removed = 0",
        (chunk, CORRUPT),
    )
    return readable(
        FoundCopy(
            NodeId(name),
            Generation(generation),
            None if state is None else CopyState(state),
            bool(is_corrupt),
            Standing(standing),
        )
        for name, generation, state, is_corrupt, standing in found
    )
