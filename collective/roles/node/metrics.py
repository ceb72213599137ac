"""What a node exposes to Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from collective.chunking.store import ChunkStore
from collective.core.ids import MemberId, NodeId
from collective.roles.node.identity import Identity
from collective.roles.runtime.metrics import Metrics


class NodeMetrics:
    """The node's instruments."""

    def __init__(self, metrics: Metrics) -> None:
        """Make them all in ``metrics``."""
        self._metrics = metrics
        self.store_seconds = metrics.histogram(
            "collective_node_store_seconds",
            "Time of one operation of the chunk store, flush included.",
            ("operation",),
        )
        self.store_bytes = metrics.counter(
            "collective_node_store_bytes_total",
            "Chunk bytes written to and read from the store.",
            ("operation",),
        )
        self.store_errors = metrics.counter(
            "collective_node_store_errors_total",
            "Operations of the chunk store that failed, by error.",
            ("operation", "error"),
        )
        self.heartbeat_seconds = metrics.histogram(
            "collective_node_heartbeat_seconds", "Time of one heartbeat, there and back."
        )
        self.heartbeat_failures = metrics.counter(
            "collective_node_heartbeat_failures_total",
            "Heartbeats that were not answered, or refused.",
        )
        self.scrubbed_bytes = metrics.counter(
            "collective_node_scrubbed_bytes_total", "Bytes read again and checked."
        )
        self.scrub_progress = metrics.gauge(
            "collective_node_scrub_progress_ratio",
            "Share of the copies checked in the present cycle.",
        )
        self.problems = metrics.counter(
            "collective_node_bad_copies_total", "Copies found damaged or missing.", ("kind",)
        )

    def watch(
        self,
        member: MemberId,
        node: NodeId,
        store: ChunkStore,
        identity: Identity,
    ) -> None:
        """Expose the figures of an opened store and a certificate; each is asked at every scrape."""
        for name, text, value in (
            (
                "collective_node_capacity_bytes",
                "Capacity of the node's store.",
                lambda: store.capacity_bytes,
            ),
            (
                "collective_node_used_bytes",
                "Bytes that count against the capacity.",
                lambda: store.used_bytes,
            ),
            ("collective_node_copies", "Copies stored.", lambda: store.chunk_count),
            (
                "collective_node_certificate_expiry_timestamp_seconds",
                "When the node's certificate runs out, Unix seconds.",
                lambda: identity.credentials.certified.expires_s,
            ),
        ):
            self._metrics.computed(name, text, ("member", "node"), _one(member, node, value))


def _one(
    member: MemberId, node: NodeId, value: Callable[[], float]
) -> Callable[[], dict[tuple[str, ...], float]]:
    return lambda: {(member, node): value()}
