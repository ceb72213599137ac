"""Metrics of each peer, made at each scrape from what is known and counted then: of no other member any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from collective.core.ids import Domain
from collective.federation.links.peer_links import PeerLinks
from collective.federation.links.tallies import DURATIONS_S, PeerTallies, Way
from collective.model.status import PeerStatus

_OF_A_PEER: Final = ("member", "peer")
"""Labels of every metric of one peer."""
_BUCKETS: Final = [*map(str, DURATIONS_S), "+Inf"]


class PeerMetrics(Collector):
    """``collective_peers`` and ``collective_peer_…``."""

    def __init__(self, member: str, links: PeerLinks, tallies: PeerTallies) -> None:
        """Tell of the peers of ``links`` as ``member``."""
        self._member = member
        self._links = links
        self._tallies = tallies

    def describe(self) -> Iterable[Metric]:
        """Name the metrics without asking for figures, at registration."""
        return [self._by_state(), *self._families([])]

    def collect(self) -> Iterator[Metric]:
        """Yield what there is to tell."""
        statuses = self._links.statuses()
        healthy = sum(one.is_healthy for one in statuses)
        peers = self._by_state()
        for state, count in (
            ("healthy", healthy),
            ("away", len(statuses) - healthy),
            ("waiting", self._links.waiting),
        ):
            peers.add_metric([self._member, state], count)
        yield peers
        yield from self._families(statuses)

    def _by_state(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("collective_peers", "Peers by state.", labels=["member", "state"])

    def _families(self, peers: Sequence[PeerStatus]) -> list[Metric]:
        return [*self._gauges(peers), *self._counts(peers), self._durations(peers)]

    def _gauges(self, peers: Sequence[PeerStatus]) -> Iterator[Metric]:
        gauges: tuple[tuple[str, str, Callable[[PeerStatus], float]], ...] = (
            ("healthy", "1 while a peer answers, 0 while it is away.", lambda one: one.is_healthy),
            (
                "latency_seconds",
                "How long a peer takes to answer an exchange.",
                lambda one: one.latency_ms / 1000,
            ),
            (
                "last_seen_timestamp_seconds",
                "When a peer answered last.",
                lambda one: one.last_seen_ms / 1000,
            ),
            (
                "bundle_timestamp_seconds",
                "When the bundle of a peer was taken.",
                lambda one: one.taken_ms / 1000,
            ),
        )
        for name, text, value in gauges:
            family = GaugeMetricFamily(f"collective_peer_{name}", text, labels=_OF_A_PEER)
            for one in peers:
                family.add_metric([self._member, one.domain], float(value(one)))
            yield family

    def _counts(self, peers: Sequence[PeerStatus]) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "collective_peer_calls",
            "Calls passed on to a peer (out), and taken from one (in).",
            labels=[*_OF_A_PEER, "direction", "result"],
        )
        moved = CounterMetricFamily(
            "collective_peer_moved_bytes",
            "Bytes of chunks sent to a peer by the coordinator (out), and received from one (in).",
            labels=[*_OF_A_PEER, "direction"],
        )
        refused = CounterMetricFamily(
            "collective_peer_refusals",
            "Calls, tickets and connections of a peer and its people that were refused.",
            labels=_OF_A_PEER,
        )
        for one in peers:
            tally = self._tallies.of(Domain(one.domain))
            for (way, result), count in sorted(tally.calls.items(), key=str):
                calls.add_metric([self._member, one.domain, way.value, result], count)
            moved.add_metric([self._member, one.domain, Way.OUT.value], tally.sent_bytes)
            moved.add_metric([self._member, one.domain, Way.IN.value], tally.received_bytes)
            refused.add_metric([self._member, one.domain], tally.refused)
        return iter((calls, moved, refused))

    def _durations(self, peers: Sequence[PeerStatus]) -> Metric:
        family = HistogramMetricFamily(
            "collective_peer_call_duration_seconds",
            "How long calls took that were passed on to a peer.",
            labels=_OF_A_PEER,
        )
        for one in peers:
            tally = self._tallies.of(Domain(one.domain))
            counts = list(accumulate(tally.durations))
            family.add_metric(
                [self._member, one.domain],
                list(zip(_BUCKETS, counts, strict=True)),
                sum_value=tally.waited_s,
            )
        return family
