"""Figures of the whole member: counted once, however many ask at the same time.

``status`` and ``node list`` of admins and the metrics ask for them.  Those who ask while they are being
counted, with nothing changed since, get the same; the counting ends with the last who waits for it.
"""

from __future__ import annotations

from typing import TypeAlias

from collective.catalog.interface import Catalog
from collective.core.ids import NodeId
from collective.core.shared_run import SharedRuns
from collective.member.nodes.live_nodes import LiveNodes
from collective.model.status import Survey

_Key: TypeAlias = tuple[int, frozenset[NodeId], frozenset[NodeId]]


class Figures:
    """Counts for all who ask."""

    def __init__(self, catalog: Catalog, table: LiveNodes) -> None:
        """Count in ``catalog``, by what ``table`` says of the nodes."""
        self._catalog = catalog
        self._table = table
        self._runs: SharedRuns[_Key, Survey] = SharedRuns()

    async def survey(self) -> Survey:
        """Return the figures of this moment."""
        outlook = self._table.outlook()
        position = await self._catalog.restores.position()
        return await self._runs.run(
            (position.sequence, outlook.sources, outlook.gone),
            lambda: self._catalog.figures.survey(outlook.sources, outlook.gone),
        )
