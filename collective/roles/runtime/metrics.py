"""The metrics of one process: a registry that is passed in, no globals.

Names begin with ``collective_`` and pass ``promtool check metrics``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collective.core.disk_errors import DiskState

Samples = Callable[[], Mapping[tuple[str, ...], float]]
"""Label values to value, asked for at each scrape; must not block."""

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class _Computed(Collector):
    """Values computed at each scrape."""

    def __init__(self, name: str, text: str, labels: Sequence[str], samples: Samples) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._samples = samples

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for label_values, value in self._samples().items():
            family.add_metric(label_values, value)
        return [family]


class WorkerMetrics:
    """What the workers of every role do; see :mod:`collective.roles.runtime.workers`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the figures."""
        labels = ("role", "worker")
        self._state = Gauge(
            "collective_worker_state",
            "1 for the state that a background worker is in.",
            (*labels, "state"),
            registry=registry,
        )
        self._steps = Counter(
            "collective_worker_steps_total", "Steps done or tried.", labels, registry=registry
        )
        self._loop_s = Counter(
            "collective_worker_loop_seconds_total",
            "Time that a worker's steps kept the event loop.",
            labels,
            registry=registry,
        )
        self._errors = Counter(
            "collective_worker_errors_total",
            "Steps that failed, by error.",
            (*labels, "error"),
            registry=registry,
        )
        self._success = Gauge(
            "collective_worker_last_success_timestamp_seconds",
            "When a step last succeeded.",
            labels,
            registry=registry,
        )
        self._queue = Gauge(
            "collective_worker_queue", "Items known to wait.", labels, registry=registry
        )
        self._shown: dict[tuple[str, str], str] = {}

    def state(self, role: str, worker: str, state: str) -> None:
        """Show that the worker is in ``state`` and in no other."""
        before = self._shown.get((role, worker))
        if before is not None and before != state:
            self._state.labels(role, worker, before).set(0)
        self._shown[role, worker] = state
        self._state.labels(role, worker, state).set(1)

    def step(self, role: str, worker: str, loop_s: float) -> None:
        """Count a step that kept the event loop for ``loop_s`` seconds."""
        self._steps.labels(role, worker).inc()
        self._loop_s.labels(role, worker).inc(loop_s)

    def succeeded(self, role: str, worker: str, now_s: float, queue: int | None) -> None:
        """Note a success at ``now_s`` (Unix seconds), and what waits."""
        self._success.labels(role, worker).set(now_s)
        if queue is not None:
            self._queue.labels(role, worker).set(queue)

    def failed(self, role: str, worker: str, error: str) -> None:
        """Count a step that failed."""
        self._errors.labels(role, worker, error).inc()


class Metrics:
    """Everything that this process measures."""

    def __init__(self) -> None:
        """Make an own registry with the process's figures and the calls served."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._calls = self.histogram(
            "collective_rpc_seconds", "Time to serve a gRPC call.", ("method", "result")
        )
        self.loop_lag = self.histogram(
            "collective_loop_lag_seconds", "How late the event loop woke a timer."
        )
        self.workers = WorkerMetrics(self.registry)
        self._disk = self.gauge(
            "collective_disk_state",
            "1 for what the disk under a role's data dir can do: ok, full, read-only, failing.",
            ("role", "state"),
        )

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """Return a new counter; ``name`` ends in ``_total``."""
        return Counter(name, text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """Return a new gauge."""
        return Gauge(name, text, labels, registry=self.registry)

    def histogram(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = LATENCY_BUCKETS_S,
    ) -> Histogram:
        """Return a new histogram; ``name`` ends in its unit."""
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def computed(self, name: str, text: str, labels: Sequence[str], samples: Samples) -> None:
        """Expose a gauge whose values ``samples`` gives at each scrape."""
        self.registry.register(_Computed(name, text, labels, samples))

    def readiness(self, is_ready: Callable[[], bool]) -> None:
        """Expose what ``/readyz`` says."""
        self.computed(
            "collective_ready", "1 while /readyz says 200.", (), lambda: {(): float(is_ready())}
        )

    def served(self, method: str, result: str, seconds: float) -> None:
        """Count a call served (what :class:`collective.rpc.server.listener.Listener` takes as ``served``)."""
        self._calls.labels(method=method.rpartition("/")[2], result=result).observe(seconds)

    def disk_state(self, role: str, state: str) -> None:
        """Show that the disk of ``role`` is in ``state`` and in no other."""
        for known in DiskState:
            self._disk.labels(role, known.value).set(int(known.value == state))

    def exposition(self) -> bytes:
        """Return everything in the text format of Prometheus 0.0.4."""
        return generate_latest(self.registry)
