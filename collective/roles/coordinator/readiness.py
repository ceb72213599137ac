"""Whether the coordinator takes writes, and in words why not: the writer, the disk, the nodes.

Asked at each ``/readyz``, so it must not block.  Reads go on in every case told of here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.catalog.interface import Upkeep
from collective.core.work import Report
from collective.member.nodes.live_nodes import LiveNodes
from collective.placement.shortage import Policy, nodes_shortage
from collective.roles.runtime.diskwatch import DiskWatch
from collective.roles.runtime.workers import Workers

BUSY_AFTER_S: Final = 5.0
"""A change that has waited so long means that writes do not get through."""


class Readiness:
    """Why writes do not get through."""

    def __init__(
        self,
        upkeep: Upkeep,
        disk: DiskWatch,
        table: LiveNodes,
        policy: Policy,
        workers: Workers,
    ) -> None:
        """Judge by the catalogue's writer, its disk, and the nodes of ``table``."""
        self._upkeep = upkeep
        self._disk = disk
        self._table = table
        self._policy = policy
        self._workers = workers

    def warnings(self) -> list[str]:
        """Return what is wrong with the coordinator itself, one sentence each."""
        health = self._upkeep.health()
        found = []
        if health.waiting_s >= BUSY_AFTER_S:
            found.append(
                f"The catalogue's writer has been busy for {health.waiting_s:.0f} s, and writes wait; "
                "if this lasts, look at the disk and the log."
            )
        if self._disk.sentence:
            found.append(f"{self._disk.sentence} Reads go on.")
        elif health.trouble is not None:
            found.append(health.trouble.message)
        return found

    def reports(self) -> Sequence[Report]:
        """Return what background work does at this moment."""
        return self._workers.reports()

    def why_unready(self) -> str:
        """Return all reasons in one line; empty where writes get through."""
        return " ".join([*self.warnings(), *self._shortage()])

    def _shortage(self) -> list[str]:
        usable = [(live.record.node, live.record.standing) for live in self._table.accepting()]
        sentence = nodes_shortage(self._policy, len(self._table.all()), usable)
        return [sentence] if sentence else []
