"""Counts of files and chunks, for the operator and for one caller."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import apsw

from collective.access.decision import Decider
from collective.access.model import Caller, Right
from collective.catalog.model import Totals
from collective.catalog.sqlite import rows
from collective.catalog.sqlite.chunk_health import count_lack
from collective.catalog.sqlite.engine import Engine, Part
from collective.core.ids import NodeId
from collective.placement.evidence import Standing

COST_SHARE = 20
"""A count is made again only after this many times what making it took."""
CACHED_MAX = 256

# CROSS JOIN and the signs + keep the planner from going through all extents and copies.
_SCOPE = (
    "WITH RECURSIVE bad(node) AS (SELECT value FROM json_each(?1)),"
    " doubted(node) AS (SELECT value FROM json_each(?3)),"
    " tree(id, version) AS (SELECT id, version FROM entries"
    " WHERE id IN (SELECT value FROM json_each(?2))"
    " UNION SELECT e.id, e.version FROM tree JOIN entries e ON e.parent = tree.id),"
    " used(chunk) AS (SELECT DISTINCT x.chunk FROM tree CROSS JOIN extents x"
    " ON x.version = tree.version),"
    " counted(wanted, readable, live) AS (SELECT k.wanted, count(c.node),"
    " count(c.node) FILTER (WHERE c.node NOT IN (SELECT node FROM doubted))"
    " FROM used CROSS JOIN chunks k ON k.id = used.chunk LEFT JOIN copies c ON c.chunk = k.id"
    " AND +c.state = 1 AND +c.node NOT IN (SELECT node FROM bad) GROUP BY k.id)"
    " SELECT (SELECT count(*) FROM tree JOIN versions v ON v.id = tree.version WHERE v.target IS NULL),"
    " (SELECT coalesce(sum(v.size), 0) FROM tree JOIN versions v ON v.id = tree.version),"
    " count(*), coalesce(sum(live < wanted), 0), coalesce(sum(readable = 0), 0) FROM counted"
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
        """Count files and chunks that the caller may read; None counts everything.

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
    if decider is None:
        known = engine.writer.totals
        lack = count_lack(db, usable, int(engine.clock.wall_s() * 1000))
        return Totals(known.files, known.file_bytes, known.chunks, lack.short, lack.unavailable)
    found: Any = db.execute("SELECT id, name, standing FROM nodes").fetchall()
    bad = [number for number, name, _ in found if name not in usable]
    # A copy on a doubted node can be read, and counts for nothing.
    doubted = [number for number, _, standing in found if standing == Standing.DOUBTED.value]
    roots = [
        entry[0]
        for grant in decider.grants
        if Right.READ in decider.rights(grant.path)
        and (entry := rows.find(db, grant.path)) is not None
    ]
    row = rows.fetch(db, _SCOPE, json.dumps(bad), json.dumps(roots), json.dumps(doubted))
    return Totals(*row)
