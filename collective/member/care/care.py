"""What keeps copies whole: the workers of care, made here from what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collective.catalog.interface import Catalog
from collective.core.ids import SpiffeId
from collective.core.work import Worker
from collective.member.care.challenger import Challenger, ChunkReader
from collective.member.care.collector import Collector
from collective.member.care.complaints import Complaints
from collective.member.care.copier import Copier
from collective.member.care.guarded_deletes import GuardedDeletes
from collective.member.care.repair import Repairer
from collective.member.care.sampling import ClearsDoubt, Sampler
from collective.member.care.settling import Settling
from collective.member.care.snapshot_schedule import SnapshotSchedule
from collective.member.care.tools import CareTools
from collective.member.care.verdict_book import VerdictBook
from collective.member.care.verification import Verifier
from collective.member.files.receipts import ReceiptChecker
from collective.member.files.routes import RouteMaker
from collective.member.nodes.commands import NodeCommands
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.nodes.statement_macs import StatementMacs


@dataclass(frozen=True, slots=True)
class NodeReach:
    """How care reaches nodes."""

    own: SpiffeId
    """As whom it reads."""
    commands: NodeCommands
    reader: ChunkReader
    routes: RouteMaker
    receipts: ReceiptChecker
    macs: StatementMacs
    """Mark the positions that deletes name."""


@dataclass(frozen=True, slots=True)
class CareSettings:
    """What an operator says of it."""

    collection_grace_s: float
    snapshot_interval_s: float


class MemberCare:
    """Repair, verification, collection and snapshots of one member."""

    def __init__(
        self,
        catalog: Catalog,
        nodes: LiveNodes,
        reach: NodeReach,
        approvals: ClearsDoubt,
        tools: CareTools,
        settings: CareSettings,
    ) -> None:
        """Care for what ``catalog`` has on ``nodes``."""
        self.complaints = Complaints(tools.wakes, tools.clock)
        """Where readers' complaints go."""
        commands, routes = reach.commands, reach.routes
        challenger = Challenger(reach.own, commands, routes, reach.reader, tools)
        verdicts = VerdictBook(catalog.copies, nodes, tools.metrics, tools.wakes)
        copier = Copier(catalog.nodes, nodes, routes, reach.receipts, commands)
        self._workers: Sequence[Worker] = (
            Repairer(catalog.repair, catalog.guarded, nodes, copier, challenger, tools),
            Verifier(self.complaints, catalog.copies, nodes, challenger, verdicts, tools),
            GuardedDeletes(catalog.guarded, nodes, challenger, verdicts, tools),
            Sampler(catalog, nodes, challenger, verdicts, approvals, tools).worker(),
            Collector(
                catalog,
                nodes,
                commands,
                reach.macs,
                tools.metrics,
                grace_s=settings.collection_grace_s,
            ),
            *Settling(catalog).workers(),
            SnapshotSchedule(
                catalog.restores,
                catalog.upkeep,
                tools.metrics,
                tools.clock,
                interval_s=settings.snapshot_interval_s,
            ).worker(),
        )

    def workers(self) -> Sequence[Worker]:
        """Return everything that goes on by itself."""
        return self._workers
