"""Counts of files and chunks, for the operator and for one caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apsw

from collective.access.permissions import Decider
from collective.catalog.decisions.visibility import read_whole, readable_tops
from collective.catalog.decisions.weights import Weight
from collective.catalog.sqlite.copies.chunk_health import count_chunks
from collective.catalog.sqlite.names.folders import folder_at
from collective.catalog.sqlite.names.quota_rows import weigh
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.counting import WHOLE
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import DATASTORE, ROOT
from collective.core.ids import NodeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.status import ChunkHealth, Totals

COST_SHARE = 20
"""A count is made again only after this many times what making it took."""
CACHED_MAX = 256


@dataclass(frozen=True, slots=True)
class _Counted:
    sequence: int
    at_s: float
    cost_s: float
    totals: Totals


class KeptTotals:
    """Totals by who asks; those that were slow to count are used again for a while."""

    def __init__(self, engine: Engine) -> None:
        """Begin with nothing counted."""
        self._engine = engine
        self._counted: dict[object, _Counted] = {}

    async def of(self, caller: Call | None, usable: frozenset[NodeId]) -> Totals:
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
    now_ms = engine.now_ms()
    if decider is None:
        known = engine.writer.totals
        counted = count_chunks(db, usable, now_ms, [WHOLE])
        whole = ChunkHealth(known.chunks, counted.short, counted.unavailable, (FilePath(),))
        return Totals(known.files, known.file_bytes, whole)
    below = sum((_weigh(db, path) for path in readable_tops(decider)), Weight())
    return Totals(below.files, below.size_bytes, _health(db, decider, usable, now_ms))


def _weigh(db: apsw.Connection, path: FilePath) -> Weight:
    """Return what lies at and below a path."""
    found = rows.find(db, path)
    if found is None:
        return Weight()
    entry, _, version = found
    return folder_at(db, entry).weight if version is None else weigh(db, version)


def _health(
    db: apsw.Connection, decider: Decider, usable: frozenset[NodeId], now_ms: int
) -> ChunkHealth | None:
    """Count the chunks of the datastores that the caller may read whole."""
    found: Any = db.execute(
        "SELECT name, id FROM entries WHERE parent = ? AND kind = ? ORDER BY name",
        (ROOT, DATASTORE),
    )
    there = {FilePath((name,)): entry for name, entry in found}
    whole = read_whole(decider, there)
    if not whole:
        return None
    counted = count_chunks(db, usable, now_ms, [there[path] for path in whole])
    return ChunkHealth(counted.chunks, counted.short, counted.unavailable, tuple(whole))
