"""What heartbeats said, written to the catalogue now and then: losing it loses figures, no promise."""

from __future__ import annotations

from typing import Final

import structlog

from collective.catalog.interface import Nodes
from collective.core.errors import CollectiveError
from collective.core.work import Periodic, Worker
from collective.member.nodes.live_nodes import LiveNodes

RECORDS_S: Final = 10.0


class Records:
    """Carries the live table of nodes to the catalogue."""

    def __init__(self, records: Nodes, nodes: LiveNodes) -> None:
        """Write what changed in ``nodes`` to ``records``."""
        self._records = records
        self._nodes = nodes
        self._log = structlog.get_logger("coordinator.upkeep")

    def worker(self) -> Worker:
        """Return the worker that writes."""
        return Periodic("node records", RECORDS_S, self.write)

    async def write(self) -> None:
        """Write what heartbeats said since the last time, and which were refused."""
        await self._nodes.write_refusals()
        changed = self._nodes.take_changed()
        if not changed:
            return
        try:
            await self._records.update(changed)
        except CollectiveError:
            self._nodes.changed_again(changed)
            raise

    async def finish(self) -> None:
        """Write what is not written yet, before the catalogue is closed."""
        try:
            await self.write()
        except CollectiveError as error:
            self._log.warning("records_not_written", why=error.message)
