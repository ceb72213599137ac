"""What must happen now and then: records, expiry, snapshots, totals, warnings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from collective.catalog.interface import Catalog
from collective.core.clock import Clock
from collective.core.errors import CollectiveError
from collective.core.work import Periodic, Report, Worker, report_warnings
from collective.member.care.figures import Figures
from collective.member.files.uploads import Policy
from collective.member.metrics import MemberMetrics
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.nodes.warnings import Situation, warnings
from collective.member.trust.expiry_watch import ExpiryWatch
from collective.member.trust.revocations import Revocations
from collective.model.nodes import NodeClaim, Position
from collective.transfer.tickets.key_ring import KeyRing

RECORDS_S: Final = 10.0
EXPIRE_S: Final = 30.0
FIGURES_S: Final = 15.0
SETTLE_S: Final = 2.0
DISCARD_S: Final = 30.0


class Upkeep:
    """Periodic work, each piece a worker of its own."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        table: LiveNodes,
        figures: Figures,
        policy: Policy,
        keys: KeyRing,
        revocations: Revocations,
        metrics: MemberMetrics,
        clock: Clock,
        snapshot_interval_s: float,
        watch: ExpiryWatch | None = None,
        workers: Callable[[], Sequence[Report]] = tuple,
        unwell: Callable[[], Sequence[str]] = tuple,
        waiting: Callable[[], Sequence[NodeClaim]] = tuple,
    ) -> None:
        """Snapshots are at most ``snapshot_interval_s`` seconds older than the catalogue.

        ``workers`` tells of all background work, ``unwell`` what is wrong with the coordinator
        itself, and ``waiting`` of nodes to be adopted, all for the warnings.
        """
        self._catalog = catalog
        self._table = table
        self._figures = figures
        self._policy = policy
        self._keys = keys
        self._revocations = revocations
        self._metrics = metrics
        self._clock = clock
        self._snapshot_interval_s = snapshot_interval_s
        self._watch = watch
        self._reports = workers
        self._waiting = waiting
        self._unwell = unwell
        self._snapshot_of: Position | None = None
        self._settled_at: Position | None = None
        """Where nothing was left to settle."""
        self._warned: frozenset[str] = frozenset()
        self._log = structlog.get_logger("coordinator.upkeep")

    def workers(self) -> Sequence[Worker]:
        """Return the workers."""
        return (
            Periodic("node records", RECORDS_S, self.write_records),
            Periodic("expiry", EXPIRE_S, self._expire),
            Periodic("figures", FIGURES_S, self.figures),
            Periodic("settling", SETTLE_S, self.settle),
            Periodic("discarding", DISCARD_S, self.discard),
            Periodic("snapshot", self._snapshot_interval_s, self.snapshot),
        )

    async def write_records(self) -> None:
        """Write what heartbeats said since the last time, and which were refused."""
        await self._table.write_refusals()
        changed = self._table.take_changed()
        if not changed:
            return
        try:
            await self._catalog.update_nodes(changed)
        except CollectiveError:
            self._table.changed_again(changed)
            raise

    async def finish(self) -> None:
        """Write what is not written yet, before the catalogue is closed."""
        try:
            await self.write_records()
        except CollectiveError as error:
            self._log.warning("records_not_written", why=error.message)

    async def _expire(self) -> None:
        self._keys.rotate_own()
        await self._catalog.expire()
        await self._revocations.refresh()
        await self._table.reload()

    async def settle(self) -> bool:
        """Work out how many copies some chunks want after moves and new policies; repair sees to them.

        Returns True when more are left.
        """
        position = await self._catalog.position()
        if position == self._settled_at:
            return False
        if await self._catalog.settle_copies():
            return True
        self._settled_at = position
        return False

    async def discard(self) -> bool:
        """Hand some discarded copies to collection; return True when more are left."""
        return await self._catalog.discard_step()

    async def figures(self) -> None:
        """Refresh what metrics and log say of the whole."""
        outlook = self._table.outlook()
        survey = await self._figures.survey()
        is_restored = await self._catalog.is_restored()
        self._metrics.totals(survey.totals)
        self._metrics.repair_queue.set(survey.backlog)
        self._metrics.copies_doubted.set(survey.doubted)
        self._metrics.copies_guarded.set(survey.guarded)
        self._metrics.restored.set(int(is_restored))
        ends_s: dict[str, float] = {}
        for live in self._table.all():
            identity = str(self._table.identity(live.record.node))
            ends_s[identity] = live.record.certificate_expires_ms / 1000
        if self._watch is not None:
            ends_s.update(self._watch.figures())
        self._metrics.certificates(ends_s)
        self._metrics.quarantined(
            {live.record.node: live.record.quarantined_bytes for live in self._table.all()}
        )
        for kind, count in (await self._catalog.open_codes()).items():
            self._metrics.invite(kind.value, count)
        now_s = self._clock.wall_s()
        self._warn(
            warnings(
                Situation(
                    policy=self._policy,
                    nodes=self._table.all(),
                    outlook=outlook,
                    health=survey.totals.health,
                    is_restored=is_restored,
                    now_ms=int(now_s * 1000),
                    expiry_warning_ms=self._watch.leaf_warning_ms if self._watch else None,
                    told=[
                        *self._unwell(),
                        *await self._catalog.notices(),
                        *(await self._watch.warnings(now_s) if self._watch else ()),
                        *report_warnings(self._reports()),
                    ],
                    rivals=self._table.rivals(),
                    waiting=[claim.node for claim in self._waiting()],
                    catalog_id=(await self._catalog.position()).catalog_id,
                    copies_left=survey.copies_left,
                )
            )
        )

    async def snapshot(self) -> None:
        """Write a snapshot if the catalogue changed since the last one."""
        position = await self._catalog.position()
        if position == self._snapshot_of:
            return
        path = await self._catalog.snapshot()
        self._snapshot_of = position
        self._metrics.snapshot_time.set(self._clock.wall_s())
        self._log.info("snapshot_written", path=path, sequence=position.sequence)

    def _warn(self, sentences: list[str]) -> None:
        for sentence in sentences:
            if sentence not in self._warned:
                self._log.warning("warning", text=sentence)
        self._warned = frozenset(sentences)
