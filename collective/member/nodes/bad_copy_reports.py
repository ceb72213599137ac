"""Copies that nodes themselves report as corrupt or missing.

A node's word counts about its own copies only.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from collective.catalog.interface import Copies
from collective.core.ids import NodeId
from collective.member.metrics import MemberMetrics
from collective.member.nodes.enrolled import Enrolled
from collective.member.wakes import Wakes
from collective.model.nodes import CopyTrouble


class BadCopyReports:
    """Has repair replace what nodes find bad."""

    def __init__(
        self, copies: Copies, enrolled: Enrolled, wakes: Wakes, metrics: MemberMetrics
    ) -> None:
        """Mark in ``copies`` what those of ``enrolled`` report; ``metrics`` count it."""
        self._copies = copies
        self._enrolled = enrolled
        self._wakes = wakes
        self._metrics = metrics
        self._log = structlog.get_logger("coordinator.registry")

    async def take(self, node: NodeId, found: Sequence[CopyTrouble]) -> None:
        """Take copies out of use that the node itself found bad."""
        await self._enrolled.require(node)
        for corrupt in (True, False):
            bad = [(one.chunk, one.generation) for one in found if one.is_corrupt is corrupt]
            if not bad:
                continue
            self._log.warning("bad_copies_reported", node=node, count=len(bad), corrupt=corrupt)
            self._metrics.bad_copies.labels("node").inc(len(bad))
            await self._copies.mark(node, bad, lost=not corrupt)
            self._wakes.repair.set()
