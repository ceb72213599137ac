"""The coordinator's metrics, by the names that the spec and the dashboards use."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from collective.member.nodes.live_nodes import LiveNodes, space_of
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.model.nodes import NodeState, ShownState, Standing
from collective.model.status import ChunkHealth, Totals
from collective.placement.node_states import shown

_WRITER_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)
_LATENCIES_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
HEALTHY: Final = frozenset({NodeState.UP, NodeState.DRAINING})
OWN_STATES: Final = tuple(state for state in ShownState if state is not ShownState.AWAY)
"""What may be said of a node of the member itself."""


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """Nodes by state and their space, at one moment."""

    by_state: dict[ShownState, int]
    healthy: int
    """Nodes that serve, and are not doubted."""
    capacity_bytes: int
    used_bytes: int


def node_figures(nodes: LiveNodes, waiting: int = 0) -> NodeFigures:
    """Return what metrics show of the nodes at this moment."""
    states = nodes.states()
    present = nodes.all()
    words = [shown(states[live.record.node], live.record.standing) for live in present]
    healthy = sum(
        1
        for live in present
        if states[live.record.node] in HEALTHY and live.record.standing is not Standing.DOUBTED
    )
    by_state = Counts(words)
    if waiting:
        by_state[ShownState.WAITING] = waiting
    return NodeFigures(by_state, healthy, *space_of(present))


def cluster_health(health: ChunkHealth) -> float:
    """Return 1 (all copies), 0.5 (some short) or 0 (some chunk cannot be read)."""
    if health.unavailable:
        return 0.0
    return 0.5 if health.under_replicated else 1.0


def _count_of(state: ShownState, figures: Callable[[], NodeFigures]) -> Callable[[], float]:
    return lambda: figures().by_state.get(state, 0)


class _HealthyNodes(Collector):
    """``collective_nodes_total``: untyped, since promtool refuses a gauge of that name."""

    def __init__(self, member: str, figures: Callable[[], NodeFigures]) -> None:
        self._member = member
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        """Name the metric without asking for figures, at registration."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """Yield the number of healthy nodes."""
        family = self._family()
        family.add_metric([self._member], self._figures().healthy)
        yield family

    @staticmethod
    def _family() -> UnknownMetricFamily:
        return UnknownMetricFamily("collective_nodes_total", "Healthy nodes.", labels=["member"])


class MemberMetrics:
    """Counters that services move, and gauges that the upkeep worker sets."""

    def __init__(
        self, registry: CollectorRegistry, member: str, nodes: LiveNodes, unknown: UnknownNodes
    ) -> None:
        """Register everything; ``nodes`` and those ``unknown`` here are counted at each scrape."""
        self._member = member

        def figures() -> NodeFigures:
            return node_figures(nodes, len(unknown.all()))

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(name, text, ("member", *labels), registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, text, labels, registry=registry)

        registry.register(_HealthyNodes(member, figures))
        self._nodes = gauge("collective_nodes", "Nodes by state.", ("state",))
        for state in OWN_STATES:
            self._nodes.labels(member, state.value).set_function(_count_of(state, figures))
        gauge("collective_storage_capacity_bytes", "Capacity of all nodes.").labels(
            member
        ).set_function(lambda: figures().capacity_bytes)
        gauge("collective_storage_used_bytes", "Used on all nodes.").labels(member).set_function(
            lambda: figures().used_bytes
        )
        self._health = gauge(
            "collective_cluster_health",
            "1: all chunks have all copies; 0.5: some are short; 0: some cannot be read.",
        ).labels(member)
        self._files = gauge("collective_files", "Files.").labels(member)
        self._file_bytes = gauge("collective_file_bytes", "Bytes of all files.").labels(member)
        self._chunks = gauge("collective_chunks", "Chunks by condition.", ("condition",))
        self.repair_queue = gauge(
            "collective_repair_queue_chunks", "Chunks that wait for a copy."
        ).labels(member)
        self.restored = gauge(
            "collective_catalog_restored", "1 while a restored catalogue waits for the operator."
        ).labels(member)
        self.repair_held = gauge(
            "collective_repair_held", "1 while repair waits since many nodes vanished together."
        ).labels(member)
        self._quarantined = gauge(
            "collective_node_quarantined_bytes",
            "Copies on a node that this catalogue never gave out.",
            ("node",),
        )
        self._with_quarantine: frozenset[str] = frozenset()
        self._certified: frozenset[str] = frozenset()
        self._certificate_expiry = gauge(
            "collective_certificate_expiry_timestamp_seconds",
            "When a certificate of this member runs out.",
            ("identity",),
        )
        self._invites = gauge("collective_invites", "Join codes that can be used.", ("kind",))
        self.snapshot_time = gauge(
            "collective_catalog_snapshot_timestamp_seconds", "When the last snapshot was written."
        ).labels(member)
        self._operations = counter(
            "collective_file_operations_total",
            "Calls by operation and result.",
            ("member", "operation", "result"),
        )
        self._latency = Histogram(
            "collective_operation_duration_seconds",
            "How long calls took.",
            ("operation",),
            buckets=_LATENCIES_S,
            registry=registry,
        )
        self._writer = Histogram(
            "collective_catalog_writer_seconds",
            "How long one batch of changes held the catalogue's writer, and its flush.",
            ("phase",),
            buckets=_WRITER_S,
            registry=registry,
        )
        self._longest_hold = gauge(
            "collective_catalog_writer_longest_hold_seconds",
            "The longest work of one batch since the start.",
        ).labels(member)
        self._longest_hold_s = 0.0
        self.denials = counter(
            "collective_permission_denials_total", "Refused calls.", ("operation",)
        )
        self.moved = counter(
            "collective_moved_bytes_total",
            "File bytes that passed through the coordinator.",
            ("direction",),
        )
        self.repairs = counter("collective_repairs_total", "Copies made again.", ("result",))
        self.repaired_bytes = counter("collective_repaired_bytes_total", "Bytes copied again.")
        self.collected = counter("collective_collected_copies_total", "Copies deleted.")
        self.bad_copies = counter(
            "collective_bad_copies_total", "Copies found corrupt or missing.", ("found_by",)
        )
        self.challenges = counter(
            "collective_challenged_copies_total",
            "Copies challenged, by what it proved.",
            ("verdict",),
        )
        self.given_up = counter(
            "collective_given_up_copies_total",
            "Copies that were not needed any more, by what became of them.",
            ("result",),
        )
        self.copies_doubted = gauge(
            "collective_doubted_copies", "Copies that do not count until they are verified."
        ).labels(member)
        self.copies_guarded = gauge(
            "collective_guarded_copies",
            "Copies given up that are kept until enough others are confirmed.",
        ).labels(member)
        self.heartbeats = counter("collective_heartbeats_total", "Heartbeats.", ("result",))

    def operation(self, operation: str, result: str, duration_s: float) -> None:
        """Count one call."""
        self._operations.labels(self._member, operation, result).inc()
        self._latency.labels(operation).observe(duration_s)

    def writer(self, phase: str, seconds: float) -> None:
        """Note one phase (``work`` or ``flush``) of a batch; on the writer's thread."""
        self._writer.labels(phase).observe(seconds)
        if phase == "work" and seconds > self._longest_hold_s:
            self._longest_hold_s = seconds
            self._longest_hold.set(seconds)

    def quarantined(self, sizes_bytes: Mapping[str, int]) -> None:
        """Show what each node has in quarantine, and of no other node any more."""
        for gone in self._with_quarantine - set(sizes_bytes):
            self._quarantined.remove(self._member, gone)
        self._with_quarantine = frozenset(sizes_bytes)
        for node, size_bytes in sizes_bytes.items():
            self._quarantined.labels(self._member, node).set(size_bytes)

    def certificate(self, identity: str, expires_s: float) -> None:
        """Show when the certificate of ``identity`` runs out."""
        self._certificate_expiry.labels(self._member, identity).set(expires_s)
        self._certified |= {identity}

    def certificates(self, expires_s: Mapping[str, float]) -> None:
        """Show when each certificate runs out, by identity, and those of nobody else any more."""
        for gone in self._certified - set(expires_s):
            self._certificate_expiry.remove(self._member, gone)
        self._certified = frozenset()
        for identity, at_s in expires_s.items():
            self.certificate(identity, at_s)

    def invite(self, kind: str, count: int) -> None:
        """Show how many join codes of ``kind`` can be used."""
        self._invites.labels(self._member, kind).set(count)

    def totals(self, totals: Totals) -> None:
        """Show what the catalogue counted of everything."""
        health = totals.health
        assert health is not None, "of everything, chunks are counted too"
        self._health.set(cluster_health(health))
        self._files.set(totals.files)
        self._file_bytes.set(totals.file_bytes)
        for condition, count in (
            ("total", health.chunks),
            ("under_replicated", health.under_replicated),
            ("unavailable", health.unavailable),
        ):
            self._chunks.labels(self._member, condition).set(count)
