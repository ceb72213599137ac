"""Counts of files and chunks, for the operator and for one caller."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import apsw

from collective.access.decision import Decider, Sight
from collective.access.model import Caller, Right
from collective.catalog.model import ChunkHealth, Totals
from collective.catalog.sqlite import rows
from collective.catalog.sqlite.chunk_health import count_chunks
from collective.catalog.sqlite.counting import WHOLE
from collective.catalog.sqlite.engine import Engine, Part
from collective.catalog.sqlite.rows import DATASTORE, ROOT
from collective.core.ids import NodeId
from collective.core.paths import FilePath

COST_SHARE = 20
"""A count is made again only after this many times what making it took."""
CACHED_MAX = 256

_FILES = (
    "WITH RECURSIVE tree(id, version) AS (SELECT id, version FROM entries"
    " WHERE id IN (SELECT value FROM json_each(?))"
    " UNION SELECT e.id, e.version FROM tree JOIN entries e ON e.parent = tree.id)"
    " SELECT count(v.id), coalesce(sum(v.size), 0) FROM tree"
    " CROSS JOIN versions v ON v.id = tree.version AND v.target IS NULL"
)


@dataclass(frozen=True, slots=True)
class _Counted:
    sequence: int
    at_s: float
    cost_s: float
    totals: Totals


class TotalsPart(Part):
    """``Nodes.totals``."""

    def __init__(self, engine: Engine) -> None:
        """Begin with nothing counted."""
        super().__init__(engine)
        self._counted: dict[object, _Counted] = {}

    async def totals(self, caller: Caller | None, usable: frozenset[NodeId]) -> Totals:
        """Count the files that the caller may read, and the chunks of datastores that it may read whole.

        None counts everything.
        Counts that were slow to make may be reused for a short while, in proportion to their cost.
        """
        engine = self._engine
        decider = None if caller is None or caller.is_operator else engine.decider(caller)
        if decider is not None and decider.is_admin:
            decider = None
        grants = None if decider is None else tuple(grant.id for grant in decider.grants)
        key = (usable, grants)
        sequence, start_s = engine.writer.sequence, engine.clock.monotonic_s()
        known = self._counted.get(key)
        if known is not None and (
            known.sequence == sequence or start_s - known.at_s < known.cost_s * COST_SHARE
        ):
            return known.totals
        totals = await engine.read(lambda db: _count(db, engine, decider, usable))
        end_s = engine.clock.monotonic_s()
        if len(self._counted) >= CACHED_MAX:
            self._counted.clear()
        self._counted[key] = _Counted(sequence, end_s, end_s - start_s, totals)
        return totals


def _count(
    db: apsw.Connection, engine: Engine, decider: Decider | None, usable: frozenset[NodeId]
) -> Totals:
    now_ms = int(engine.clock.wall_s() * 1000)
    if decider is None:
        known = engine.writer.totals
        counted = count_chunks(db, usable, now_ms, [WHOLE])
        whole = ChunkHealth(known.chunks, counted.short, counted.unavailable, (FilePath(),))
        return Totals(known.files, known.file_bytes, whole)
    roots = [
        entry[0]
        for grant in decider.grants
        if Right.READ in decider.rights(grant.path)
        and (entry := rows.find(db, grant.path)) is not None
    ]
    files, size_bytes = rows.fetch(db, _FILES, json.dumps(roots))
    return Totals(files, size_bytes, _health(db, decider, usable, now_ms))


def _health(
    db: apsw.Connection, decider: Decider, usable: frozenset[NodeId], now_ms: int
) -> ChunkHealth | None:
    """Count the chunks of the datastores that the caller may read whole."""
    found: Any = db.execute(
        "SELECT name, id FROM entries WHERE parent = ? AND kind = ? ORDER BY name",
        (ROOT, DATASTORE),
    )
    whole = {
        path: entry
        for name, entry in found
        if decider.sight(path := FilePath((name,))) is Sight.FULL
    }
    if not whole:
        return None
    counted = count_chunks(db, usable, now_ms, whole.values())
    return ChunkHealth(counted.chunks, counted.short, counted.unavailable, tuple(whole))
