"""What a node exposes to Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from collective.core.ids import MemberId

_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class NodeMetrics:
    """The node's instruments in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them all."""
        self.capacity = Gauge(
            "collective_node_capacity_bytes",
            "Capacity of the node's store.",
            ["member", "node"],
            registry=registry,
        )
        self.used = Gauge(
            "collective_node_used_bytes",
            "Bytes on disk that count against the capacity.",
            ["member", "node"],
            registry=registry,
        )
        self.chunks = Gauge(
            "collective_node_chunks", "Copies stored.", ["member", "node"], registry=registry
        )
        self.store_seconds = Histogram(
            "collective_node_store_seconds",
            "Time of one operation of the chunk store, flush included.",
            ["operation"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.store_bytes = Counter(
            "collective_node_store_bytes_total",
            "Chunk bytes written to and read from the store.",
            ["operation"],
            registry=registry,
        )
        self.store_errors = Counter(
            "collective_node_store_errors_total",
            "Operations of the chunk store that failed, by error.",
            ["operation", "error"],
            registry=registry,
        )
        self.heartbeat_seconds = Histogram(
            "collective_node_heartbeat_seconds",
            "Time of one heartbeat, there and back.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.heartbeat_failures = Counter(
            "collective_node_heartbeat_failures_total",
            "Heartbeats that were not answered, or refused.",
            registry=registry,
        )
        self.scrubbed_bytes = Counter(
            "collective_node_scrubbed_bytes_total",
            "Bytes read again and checked.",
            registry=registry,
        )
        self.scrub_progress = Gauge(
            "collective_node_scrub_progress_ratio",
            "Share of the copies checked in the present cycle.",
            registry=registry,
        )
        self.problems = Counter(
            "collective_node_bad_copies_total",
            "Copies found damaged or missing.",
            ["kind"],
            registry=registry,
        )
        self.certificate_expiry = Gauge(
            "collective_node_certificate_expiry_timestamp_seconds",
            "When the node's certificate runs out.",
            registry=registry,
        )

    def describe_store(
        self, member: MemberId, node: str, *, capacity: int, used: int, chunks: int
    ) -> None:
        """Set the store's figures, in bytes and copies."""
        self.capacity.labels(member, node).set(capacity)
        self.used.labels(member, node).set(used)
        self.chunks.labels(member, node).set(chunks)
