"""Every metric, from the instruments that the processes make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.core import Metric

from collective.core.ids import MemberId, NodeId
from collective.federation.links.peer_metrics import PeerMetrics
from collective.member.metrics import MemberMetrics
from collective.roles.node.metrics import NodeMetrics
from collective.roles.runtime.metrics import Metrics
from tools.docs.markdown import cell, code, made_from, table

OWN: Final = "collective_"
_UNASKED: Final[Any] = None
"""Where a figure would be asked for at a scrape; nothing is scraped here."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric as the page tells of it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def of_every_process() -> list[Instrument]:
    """Return what each role has."""
    metrics = Metrics()
    metrics.readiness(_UNASKED)
    return _told(metrics)


def of_a_coordinator() -> list[Instrument]:
    """Return what only a coordinator has."""
    metrics = Metrics()
    before = _told(metrics)
    MemberMetrics(metrics.registry, MemberId("alice"), _UNASKED, _UNASKED)
    metrics.registry.register(PeerMetrics("alice", _UNASKED, _UNASKED))
    return [one for one in _told(metrics) if one not in before]


def of_a_node() -> list[Instrument]:
    """Return what only a node has."""
    metrics = Metrics()
    before = _told(metrics)
    NodeMetrics(metrics).watch(MemberId("alice"), NodeId("node-01"), _UNASKED, _UNASKED)
    return [one for one in _told(metrics) if one not in before]


def page() -> str:
    """Return the page."""
    parts = [
        "# Metrics\n",
        made_from("the instruments of the processes"),
        (
            "`GET /metrics` on `COLLECTIVE_METRICS_ADDRESS`. What the figures mean when something is wrong,"
            " and what to do, is in [operations](../operations.md#health);"
            " [monitoring](../how-to/monitoring.md) has alerts to begin with. Histograms have `_bucket`,"
            " `_sum` and `_count`. Every process has Python's own `process_…` and `python_info` as well.\n"
        ),
    ]
    for heading, found in (
        ("Every process", of_every_process()),
        ("A coordinator", of_a_coordinator()),
        ("A node", of_a_node()),
    ):
        rows = [
            (code(one.name), one.kind, ", ".join(map(code, one.labels)), cell(one.text))
            for one in sorted(found, key=lambda one: one.name)
        ]
        parts += [f"## {heading}\n", table(("metric", "type", "labels", "meaning"), rows)]
    return "\n".join(parts)


def _told(metrics: Metrics) -> list[Instrument]:
    return list(_instruments(metrics))


def _instruments(metrics: Metrics) -> Iterator[Instrument]:
    for collector in list(metrics.registry._collector_to_names):  # noqa: SLF001 - no public list
        of_wrapper = tuple(getattr(collector, "_labelnames", ()))
        for family in getattr(collector, "describe", tuple)():
            if family.name.startswith(OWN):
                labels = of_wrapper or _labels_of(family)
                yield Instrument(_exposed(family), _kind(family), labels, family.documentation)


def _labels_of(family: Metric) -> tuple[str, ...]:
    return tuple(getattr(family, "_labelnames", ()))


def _exposed(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def _kind(family: Metric) -> str:
    return "untyped" if family.type == "unknown" else str(family.type)
