"""How the member is: for whoever asks, for metrics, and for the log.

The situation is made in one place, so that ``status`` and the log warn of the same.  What is counted of
the whole is counted once, however many ask (``care.figures``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog

from collective import __version__
from collective.catalog.interface import Catalog
from collective.core.ids import NodeId
from collective.core.work import Periodic, Report, Worker, report_warnings
from collective.member.metrics import MemberMetrics
from collective.member.nodes.live_nodes import space_of
from collective.member.nodes.member_nodes import MemberNodes
from collective.member.nodes.warnings import Situation, warnings, warnings_for_all
from collective.member.trust.member_trust import MemberTrust
from collective.model.calls import Call
from collective.model.nodes import NodeStatus
from collective.model.people import Invite
from collective.model.status import (
    NodeCodeStatus,
    PeerStatus,
    Space,
    Status,
    Survey,
    Totals,
)
from collective.placement.shortage import Policy

FIGURES_S: Final = 15.0


class CoordinatorHealth(Protocol):
    """How the coordinator's own process is: its catalogue, its disk, and what it does in the background."""

    def warnings(self) -> Sequence[str]:
        """Return what is wrong with it, one sentence each."""
        ...

    def reports(self) -> Sequence[Report]:
        """Return what its background work does."""
        ...


class Neighbours(Protocol):
    """The members that this one is peered with."""

    async def statuses(self, *, for_admin: bool) -> Sequence[PeerStatus]:
        """Return how each is; for admins with figures."""
        ...

    def nodes(self) -> Sequence[NodeStatus]:
        """Return their nodes, as each told of them last."""
        ...

    async def warnings(self) -> Sequence[str]:
        """Return what the operator should know of them, one sentence each."""
        ...


def _each_once(*told: Sequence[str]) -> list[str]:
    """Join warnings: what the writer met, the catalogue may tell of as well."""
    return list(dict.fromkeys(sentence for some in told for sentence in some))


def _code_status(code: Invite) -> NodeCodeStatus:
    return NodeCodeStatus(
        uses_left=code.uses_left,
        enrolled=code.uses_total - code.uses_left,
        expires_ms=int(code.expires_s * 1000),
    )


class MemberStatus:
    """Tells how the member is."""

    def __init__(
        self,
        catalog: Catalog,
        nodes: MemberNodes,
        trust: MemberTrust,
        health: CoordinatorHealth,
        policy: Policy,
        neighbours: Neighbours,
    ) -> None:
        """Tell of the member of ``trust``; uptime counts from now."""
        own = self._own = trust.own
        self._catalog = catalog
        self._nodes = nodes
        self._trust = trust
        self._health = health
        self._policy = policy
        self._neighbours = neighbours
        self._clock = own.clock
        self._started_s = own.clock.monotonic_s()

    async def status(self, call: Call) -> Status:
        """Return everything that the caller may know; counts cover what it may read."""
        is_admin = await self._catalog.identities.is_admin(call)
        if is_admin:
            survey = await self._nodes.figures.survey()
            totals, left = survey.totals, survey.copies_left
        else:
            sources = self._nodes.live.outlook().sources
            totals, left = await self._catalog.figures.totals(call, sources), {}
        situation = await self.situation(totals if is_admin else None, left)
        code = await self._catalog.codes.newest_node_code() if call.is_operator else None
        return Status(
            member=self._own.member,
            domain=self._own.domain,
            address=str(self._own.addresses[0]),
            version=__version__,
            uptime_s=self._clock.monotonic_s() - self._started_s,
            nodes=self._nodes.seen(left),
            space=Space(*space_of(self._nodes.live.all())),
            totals=totals,
            caller=call.principal,
            grants=await self._catalog.grants.own(call),
            node_code=None if code is None else _code_status(code),
            warnings=_each_once(
                self._health.warnings(),
                warnings(situation) if is_admin else warnings_for_all(situation),
            ),
            workers=self._health.reports() if is_admin else (),
            peers=await self._neighbours.statuses(for_admin=is_admin),
            remote_nodes=self._neighbours.nodes(),
        )

    async def survey(self) -> tuple[Survey, Sequence[str]]:
        """Return what there is to know of the whole, and all warnings."""
        survey = await self._nodes.figures.survey()
        situation = await self.situation(survey.totals, survey.copies_left)
        return survey, _each_once(self._health.warnings(), warnings(situation))

    async def situation(
        self, totals: Totals | None, copies_left: Mapping[NodeId, int]
    ) -> Situation:
        """Return what warnings are made from; ``totals`` of the whole, where they were counted."""
        now_s = self._clock.wall_s()
        live = self._nodes.live
        return Situation(
            policy=self._policy,
            nodes=live.all(),
            outlook=live.outlook(),
            health=None if totals is None else totals.health,
            is_restored=await self._catalog.restores.is_restored(),
            now_ms=int(now_s * 1000),
            expiry_warning_ms=self._trust.expiry.leaf_warning_ms,
            told=[
                *await self._catalog.upkeep.notices(),
                *await self._trust.expiry.warnings(now_s),
                *report_warnings(self._health.reports()),
                *await self._neighbours.warnings(),
            ],
            rivals=live.rivals(),
            waiting=[claim.node for claim in self._nodes.adoption.waiting()],
            late_inventories=live.late_inventories(),
            position=await self._catalog.restores.position(),
            copies_left=copies_left,
        )


class StatusWatch:
    """Shows the whole in metrics, and new warnings in the log."""

    def __init__(
        self,
        status: MemberStatus,
        catalog: Catalog,
        nodes: MemberNodes,
        trust: MemberTrust,
        metrics: MemberMetrics,
    ) -> None:
        """Show what ``status`` says."""
        self._status = status
        self._catalog = catalog
        self._live = nodes.live
        self._trust = trust
        self._metrics = metrics
        self._warned: frozenset[str] = frozenset()
        self._log = structlog.get_logger("coordinator.upkeep")

    def worker(self) -> Worker:
        """Return the worker that shows."""
        return Periodic("figures", FIGURES_S, self.show)

    async def show(self) -> None:
        """Refresh what metrics and log say of the whole."""
        survey, sentences = await self._status.survey()
        metrics = self._metrics
        metrics.totals(survey.totals)
        metrics.repair_queue.set(survey.backlog)
        metrics.copies_doubted.set(survey.doubted)
        metrics.copies_guarded.set(survey.guarded)
        metrics.restored.set(int(await self._catalog.restores.is_restored()))
        nodes = self._live.all()
        ends_s = {
            str(self._live.identity(live.record.node)): live.record.certificate_expires_ms / 1000
            for live in nodes
        }
        metrics.certificates({**ends_s, **dict(self._trust.expiry.figures())})
        metrics.quarantined({live.record.node: live.record.quarantined_bytes for live in nodes})
        for kind, count in (await self._catalog.codes.count_open()).items():
            metrics.invite(kind.value, count)
        for sentence in sentences:
            if sentence not in self._warned:
                self._log.warning("warning", text=sentence)
        self._warned = frozenset(sentences)
