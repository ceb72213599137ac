"""When snapshots of the catalogue are written: as often as the operator says, and only of one that changed."""

from __future__ import annotations

import structlog

from collective.catalog.interface import Restores, Upkeep
from collective.core.clock import Clock
from collective.core.work import Periodic, Worker
from collective.member.metrics import MemberMetrics
from collective.model.nodes import Position


class SnapshotSchedule:
    """Has snapshots written."""

    def __init__(
        self,
        restores: Restores,
        upkeep: Upkeep,
        metrics: MemberMetrics,
        clock: Clock,
        *,
        interval_s: float,
    ) -> None:
        """Keep them at most ``interval_s`` seconds older than the catalogue."""
        self._restores = restores
        self._upkeep = upkeep
        self._metrics = metrics
        self._clock = clock
        self._interval_s = interval_s
        self._taken_at: Position | None = None
        self._log = structlog.get_logger("coordinator.upkeep")

    def worker(self) -> Worker:
        """Return the worker that writes them."""
        return Periodic("snapshot", self._interval_s, self.take)

    async def take(self) -> None:
        """Write a snapshot if the catalogue changed since the last one."""
        position = await self._restores.position()
        if position == self._taken_at:
            return
        path = await self._upkeep.snapshot()
        self._taken_at = position
        self._metrics.snapshot_time.set(self._clock.wall_s())
        self._log.info("snapshot_written", path=path, sequence=position.sequence)
