"""What is counted of files, chunks and copies: for the operator, and for one caller."""

from __future__ import annotations

from collections.abc import Mapping

import apsw

from collective.catalog.sqlite.copies.chunk_health import backlog, count, guarded, nodes_now
from collective.catalog.sqlite.copies.totals import KeptTotals
from collective.catalog.sqlite.store.counting import groups
from collective.catalog.sqlite.store.engine import Engine
from collective.core.ids import NodeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.status import ChunkHealth, Survey, Totals
from collective.placement import chunk_safety


class SqliteFigures:
    """Counts of what there is."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``; totals that were slow to count are kept."""
        self._engine = engine
        self._totals = KeptTotals(engine)

    async def survey(self, usable: frozenset[NodeId], lost: frozenset[NodeId]) -> Survey:
        """Return totals of everything and the other figures, all of one moment."""
        engine = self._engine
        now_ms = engine.now_ms()

        def work(db: apsw.Connection) -> Survey:
            nodes, found = nodes_now(db), groups(db)
            known = engine.writer.totals
            here = count(db, nodes, found, nodes.standings.keys() - usable, usable, now_ms)
            whole = ChunkHealth(known.chunks, here.short, here.unavailable, (FilePath(),))
            alike = [group for _, group in found]
            return Survey(
                Totals(known.files, known.file_bytes, whole),
                backlog(db, nodes, found, lost, now_ms),
                chunk_safety.copies_left(alike, nodes.trusted_standings),
                chunk_safety.in_doubt(alike),
                guarded(db),
            )

        return await engine.read(work)

    async def totals(self, caller: Call | None, usable: frozenset[NodeId]) -> Totals:
        """Count the files that the caller may read, and the chunks of datastores that it may read whole.

        None counts everything.
        Counts that were slow to make may be reused for a short while, in proportion to their cost.
        """
        return await self._totals.of(caller, usable)

    async def copies_left(self) -> Mapping[NodeId, int]:
        """Count the copies on each node that keep it from being removed."""

        def work(db: apsw.Connection) -> Mapping[NodeId, int]:
            alike = (group for _, group in groups(db))
            return chunk_safety.copies_left(alike, nodes_now(db).trusted_standings)

        return await self._engine.read(work)

    async def repair_backlog(
        self,
        usable: frozenset[NodeId],  # noqa: ARG002 - of the interface; unreachable copies count
        lost: frozenset[NodeId],
    ) -> int:
        """Count chunks that are short of copies."""
        now_ms = self._engine.now_ms()

        def work(db: apsw.Connection) -> int:
            return backlog(db, nodes_now(db), groups(db), lost, now_ms)

        return await self._engine.read(work)

    async def copies_in_doubt(self) -> tuple[int, int]:
        """Count the copies that are doubted, and those that are given up and guarded."""

        def work(db: apsw.Connection) -> tuple[int, int]:
            return chunk_safety.in_doubt(group for _, group in groups(db)), guarded(db)

        return await self._engine.read(work)
