"""Writes the dashboards beside this file: ``python compose/grafana/build.py``.

Each panel is one line: a kind, a title, queries, a unit.  What Grafana wants around it is made here, once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).with_name("dashboards")
SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
COLUMNS: Final = 24
OF_NODE: Final = (
    'and on (instance) collective_node_capacity_bytes{member=~"$member", node=~"$node"}'
)
GREEN, AMBER, RED = "green", "orange", "red"


@dataclass(frozen=True)
class Panel:
    """One panel: what is asked, and how it is shown."""

    kind: str
    title: str
    queries: Sequence[tuple[str, str]]
    """Expression and legend."""
    unit: str = "short"
    steps: Sequence[tuple[float | None, str]] = ((None, GREEN),)
    """From which value on which colour counts; the first from below all."""
    says: dict[float, str] = field(default_factory=dict)
    """Words in place of values."""
    height: int = 8
    width: int = 8
    meaning: str = ""
    decimals: int | None = None

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Return it as panel ``number``, with its upper left corner at ``x`` and ``y``."""
        words = {str(value): {"text": text} for value, text in self.says.items()}
        defaults: dict[str, Any] = {
            "unit": self.unit,
            "min": 0,
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": value, "color": colour} for value, colour in self.steps],
            },
            "color": {"mode": "thresholds" if self.kind != "timeseries" else "palette-classic"},
            "mappings": [{"type": "value", "options": words}] if words else [],
        }
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.meaning,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": self._options(),
            "targets": [
                {
                    "refId": chr(ord("A") + index),
                    "datasource": SOURCE,
                    "expr": expression,
                    "legendFormat": legend,
                    "instant": self.kind != "timeseries",
                    "range": self.kind == "timeseries",
                }
                for index, (expression, legend) in enumerate(self.queries)
            ],
        }

    def _options(self) -> dict[str, Any]:
        last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        match self.kind:
            case "stat":
                return {
                    "colorMode": "background",
                    "graphMode": "none",
                    "textMode": "value_and_name",
                    "justifyMode": "center",
                    "reduceOptions": last,
                }
            case "bargauge":
                return {"displayMode": "basic", "orientation": "horizontal", "reduceOptions": last}
            case _:
                return {
                    "legend": {"displayMode": "list", "placement": "bottom"},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }


def dashboard(
    uid: str,
    title: str,
    panels: Sequence[Panel],
    *,
    variables: Sequence[str] = (),
    since: str = "6h",
) -> dict[str, Any]:
    """Return a dashboard with ``panels`` laid from left to right, line after line."""
    laid, x, y, tallest = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        laid.append(panel.json(number, x, y))
        x, tallest = x + panel.width, max(tallest, panel.height)
    return {
        "uid": uid,
        "title": title,
        "tags": ["collective"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": f"now-{since}", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "tags": ["collective"],
                "title": "collective",
                "asDropdown": True,
            }
        ],
        "templating": {"list": [_variable(name) for name in variables]},
        "panels": laid,
    }


def _variable(name: str) -> dict[str, Any]:
    query = {
        "member": "label_values(collective_cluster_health, member)",
        "node": 'label_values(collective_node_capacity_bytes{member=~"$member"}, node)',
    }[name]
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": name == "member",
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def stat(title: str, query: str, legend: str = "{{member}}", **more: Any) -> Panel:
    """Return a large value for each member."""
    return Panel("stat", title, [(query, legend)], **more)


def lines(title: str, *queries: tuple[str, str], **more: Any) -> Panel:
    """Return curves over time."""
    return Panel("timeseries", title, queries, **more)


MEMBER: Final = 'member=~"$member"'
BAD_ABOVE_0: Final = ((None, GREEN), (1, RED))
RATE: Final = "[$__rate_interval]"

WALL: Final = dashboard(
    "collective-wall",
    "collective: from across the room",
    [
        stat(
            "Files",
            "min by (member) (collective_cluster_health)",
            steps=((None, RED), (0.5, AMBER), (1, GREEN)),
            says={1: "SAFE", 0.5: "COPIES SHORT", 0: "UNREADABLE"},
            width=24,
            height=9,
            meaning="Safe: every chunk has all its copies. Short: repair makes copies. Unreadable: bring nodes back.",
        ),
        stat(
            "Takes writes",
            'min by (member) (collective_ready{job="coordinator"})',
            steps=((None, RED), (1, GREEN)),
            says={1: "YES", 0: "NO"},
            width=12,
            height=7,
        ),
        stat(
            "Nodes away",
            'sum by (member) (collective_nodes{state=~"suspect|down|lost"})',
            steps=((None, GREEN), (1, AMBER), (2, RED)),
            width=12,
            height=7,
        ),
        Panel(
            "bargauge",
            "Space used",
            [("member:collective_storage_used:ratio", "{{member}}")],
            unit="percentunit",
            steps=((None, GREEN), (0.75, AMBER), (0.85, RED)),
            width=12,
            height=7,
        ),
        stat(
            "Peers away",
            'sum by (member) (collective_peers{state="away"})',
            steps=((None, GREEN), (1, AMBER)),
            width=6,
            height=7,
        ),
        stat(
            "Alerts",
            'count(ALERTS{alertstate="firing", severity!="info"}) or vector(0)',
            "firing",
            steps=BAD_ABOVE_0,
            width=6,
            height=7,
        ),
    ],
    since="1h",
)

FEDERATION: Final = dashboard(
    "collective-federation",
    "collective: federation",
    [
        stat(
            "Coordinators",
            f'up{{job="coordinator", {MEMBER}}}',
            steps=((None, RED), (1, GREEN)),
            says={1: "up", 0: "down"},
            height=5,
        ),
        stat(
            "Healthy nodes",
            f"sum by (member) (collective_nodes_total{{{MEMBER}}})",
            steps=((None, RED), (2, AMBER), (3, GREEN)),
            height=5,
        ),
        stat("Files", f"sum by (member) (collective_files{{{MEMBER}}})", height=5),
        lines(
            "Nodes by state",
            (f"sum by (member, state) (collective_nodes{{{MEMBER}}}) > 0", "{{member}} {{state}}"),
        ),
        lines(
            "Used",
            (f"sum by (member) (collective_storage_used_bytes{{{MEMBER}}})", "{{member}}"),
            unit="bytes",
        ),
        lines(
            "Capacity",
            (f"sum by (member) (collective_storage_capacity_bytes{{{MEMBER}}})", "{{member}}"),
            unit="bytes",
        ),
        lines(
            "Bytes of files",
            (f"sum by (member) (collective_file_bytes{{{MEMBER}}})", "{{member}}"),
            unit="bytes",
        ),
        lines(
            "Chunks short of copies or unreadable",
            (
                f'sum by (member, condition) (collective_chunks{{{MEMBER}, condition!="total"}})',
                "{{member}} {{condition}}",
            ),
        ),
        lines(
            "Chunks that wait for repair",
            (f"sum by (member) (collective_repair_queue_chunks{{{MEMBER}}})", "{{member}}"),
        ),
        lines(
            "Copies made again, a second",
            (f"sum by (member) (rate(collective_repairs_total{{{MEMBER}}}{RATE}))", "{{member}}"),
        ),
        lines(
            "Copies challenged, a second",
            (
                (
                    f"sum by (member) (rate(collective_challenged_copies_total{{{MEMBER}}}{RATE}))"
                    f" or 0 * sum by (member) (collective_nodes_total{{{MEMBER}}})"
                ),
                "{{member}}",
            ),
        ),
        lines(
            "Copies doubted or kept until others are confirmed",
            (f"sum by (member) (collective_doubted_copies{{{MEMBER}}})", "{{member}} doubted"),
            (f"sum by (member) (collective_guarded_copies{{{MEMBER}}})", "{{member}} kept"),
        ),
        stat(
            "Peers",
            f"collective_peer_healthy{{{MEMBER}}}",
            "{{member}} sees {{peer}}",
            steps=((None, RED), (1, GREEN)),
            says={1: "up", 0: "away"},
        ),
        lines(
            "How long peers take to answer",
            (f"collective_peer_latency_seconds{{{MEMBER}}}", "{{member}} asks {{peer}}"),
            unit="s",
        ),
        lines(
            "Since a peer answered last",
            (
                f"time() - collective_peer_last_seen_timestamp_seconds{{{MEMBER}}}",
                "{{member}} heard {{peer}}",
            ),
            unit="s",
        ),
        lines(
            "Calls across members, a second",
            (
                f"sum by (member, peer, direction) (rate(collective_peer_calls_total{{{MEMBER}}}{RATE}))",
                "{{member}} {{direction}} {{peer}}",
            ),
            unit="ops",
        ),
        lines(
            "Calls passed on to peers: 95 of 100 take at most",
            (
                (
                    "histogram_quantile(0.95, sum by (member, peer, le)"
                    f" (rate(collective_peer_call_duration_seconds_bucket{{{MEMBER}}}{RATE})))"
                ),
                "{{member}} asks {{peer}}",
            ),
            unit="s",
        ),
        lines(
            "Bytes of files moved across members, a second",
            (
                f"sum by (member, peer, direction) (rate(collective_peer_moved_bytes_total{{{MEMBER}}}{RATE}))",
                "{{member}} {{direction}} {{peer}}",
            ),
            unit="Bps",
        ),
        lines(
            "Refused to peers and their people, a second",
            (
                f"sum by (member, peer) (rate(collective_peer_refusals_total{{{MEMBER}}}{RATE}))",
                "{{member}} refused {{peer}}",
            ),
            unit="ops",
        ),
        stat(
            "Age of a peer's bundle",
            f"time() - collective_peer_bundle_timestamp_seconds{{{MEMBER}}}",
            "{{member}} knows {{peer}}",
            unit="s",
        ),
        stat(
            "Certificates run out in",
            f"min by (member) (collective_certificate_expiry_timestamp_seconds{{{MEMBER}}} - time())",
            unit="s",
            steps=((None, RED), (5 * 86400, AMBER), (8 * 86400, GREEN)),
        ),
        stat(
            "Age of the last snapshot",
            f"time() - max by (member) (collective_catalog_snapshot_timestamp_seconds{{{MEMBER}}})",
            unit="s",
        ),
        stat(
            "Invites and codes that are open",
            f"sum by (member, kind) (collective_invites{{{MEMBER}}})",
            "{{member}} {{kind}}",
        ),
    ],
    variables=("member",),
)

NODE: Final = dashboard(
    "collective-node",
    "collective: one node",
    [
        Panel(
            "bargauge",
            "Used",
            [
                (
                    f'collective_node_used_bytes{{{MEMBER}, node=~"$node"}} / collective_node_capacity_bytes',
                    "{{node}}",
                )
            ],
            unit="percentunit",
            steps=((None, GREEN), (0.75, AMBER), (0.85, RED)),
        ),
        stat(
            "Takes writes",
            f'collective_ready{{job="node"}} {OF_NODE}',
            "{{instance}}",
            steps=((None, RED), (1, GREEN)),
            says={1: "yes", 0: "no"},
        ),
        stat(
            "Disk",
            f'(collective_disk_state{{role="node"}} == 1) {OF_NODE}',
            "{{state}}",
            steps=((None, GREEN),),
        ),
        lines(
            "Used",
            (f'collective_node_used_bytes{{{MEMBER}, node=~"$node"}}', "{{node}}"),
            unit="bytes",
        ),
        lines("Copies", (f'collective_node_copies{{{MEMBER}, node=~"$node"}}', "{{node}}")),
        lines(
            "Bytes stored and fetched, a second",
            (
                f"rate(collective_node_store_bytes_total{RATE}) {OF_NODE}",
                "{{instance}} {{operation}}",
            ),
            unit="Bps",
        ),
        lines(
            "Chunks, a second",
            (
                f"rate(collective_node_store_seconds_count{RATE}) {OF_NODE}",
                "{{instance}} {{operation}}",
            ),
            unit="ops",
        ),
        lines(
            "How long a chunk takes, one of 100 longer",
            (
                f"histogram_quantile(0.99, sum by (instance, operation, le) (rate(collective_node_store_seconds_bucket{RATE}))) {OF_NODE}",
                "{{instance}} {{operation}}",
            ),
            unit="s",
        ),
        lines(
            "How long a heartbeat takes, one of 100 longer",
            (
                f"histogram_quantile(0.99, sum by (instance, le) (rate(collective_node_heartbeat_seconds_bucket{RATE}))) {OF_NODE}",
                "{{instance}}",
            ),
            unit="s",
        ),
        lines(
            "Heartbeats that failed, a second",
            (f"rate(collective_node_heartbeat_failures_total{RATE}) {OF_NODE}", "{{instance}}"),
            unit="ops",
        ),
        lines(
            "Verified of all that it stores",
            (f"collective_node_scrub_progress_ratio {OF_NODE}", "{{instance}}"),
            unit="percentunit",
        ),
        lines(
            "Verified, a second",
            (f"rate(collective_node_scrubbed_bytes_total{RATE}) {OF_NODE}", "{{instance}}"),
            unit="Bps",
        ),
        lines(
            "Memory",
            (f'process_resident_memory_bytes{{job="node"}} {OF_NODE}', "{{instance}}"),
            unit="bytes",
        ),
        lines(
            "Processor",
            (f'rate(process_cpu_seconds_total{{job="node"}}{RATE}) {OF_NODE}', "{{instance}}"),
            unit="percentunit",
        ),
        stat(
            "Certificate runs out in",
            f'collective_node_certificate_expiry_timestamp_seconds{{{MEMBER}, node=~"$node"}} - time()',
            "{{node}}",
            unit="s",
            steps=((None, RED), (5 * 86400, AMBER), (8 * 86400, GREEN)),
        ),
    ],
    variables=("member", "node"),
)

CLIENTS: Final = dashboard(
    "collective-clients",
    "collective: clients and latencies",
    [
        lines(
            "Calls, a second",
            (
                f"member_operation:collective_file_operations:rate5m{{{MEMBER}}}",
                "{{member}} {{operation}}",
            ),
            unit="ops",
            width=12,
        ),
        lines(
            "Results, a second",
            (
                f"member_result:collective_file_operations:rate5m{{{MEMBER}}}",
                "{{member}} {{result}}",
            ),
            unit="ops",
            width=12,
        ),
        lines(
            "How long a call takes, half of them longer",
            (
                f"member_operation:collective_operation_duration_seconds:p50_5m{{{MEMBER}}}",
                "{{member}} {{operation}}",
            ),
            unit="s",
            width=12,
        ),
        lines(
            "How long a call takes, one of 100 longer",
            (
                f"member_operation:collective_operation_duration_seconds:p99_5m{{{MEMBER}}}",
                "{{member}} {{operation}}",
            ),
            unit="s",
            width=12,
        ),
        lines(
            "Calls that failed by the member's fault",
            (f"member:collective_file_operations_failed:ratio_rate5m{{{MEMBER}}}", "{{member}}"),
            unit="percentunit",
        ),
        lines(
            "Refused for want of rights, a second",
            (
                f"sum by (member, operation) (rate(collective_permission_denials_total{{{MEMBER}}}{RATE}))",
                "{{member}} {{operation}}",
            ),
            unit="ops",
        ),
        lines(
            "Bytes of all copies, a second",
            (
                f"member_operation:collective_node_store_bytes:rate5m{{{MEMBER}}}",
                "{{member}} {{operation}}",
            ),
            unit="Bps",
        ),
        lines(
            "Served by method, one of 100 longer",
            (
                f'histogram_quantile(0.99, sum by (member, method, le) (rate(collective_rpc_seconds_bucket{{job="coordinator", {MEMBER}}}{RATE})))',
                "{{member}} {{method}}",
            ),
            unit="s",
        ),
        lines(
            "The catalogue's writer, one batch of 100 longer",
            (
                f"histogram_quantile(0.99, sum by (member, phase, le) (rate(collective_catalog_writer_seconds_bucket{{{MEMBER}}}{RATE})))",
                "{{member}} {{phase}}",
            ),
            unit="s",
        ),
        lines(
            "How late the event loop is, once in 100",
            (f"member_job:collective_loop_lag_seconds:p99_5m{{{MEMBER}}}", "{{member}} {{job}}"),
            unit="s",
        ),
        lines(
            "Memory of coordinators",
            (f'process_resident_memory_bytes{{job="coordinator", {MEMBER}}}', "{{member}}"),
            unit="bytes",
        ),
        lines(
            "Processor of coordinators",
            (f'rate(process_cpu_seconds_total{{job="coordinator", {MEMBER}}}{RATE})', "{{member}}"),
            unit="percentunit",
        ),
        lines(
            "Open files of coordinators",
            (f'process_open_fds{{job="coordinator", {MEMBER}}}', "{{member}}"),
        ),
    ],
    variables=("member",),
)

DASHBOARDS: Final = {"wall": WALL, "federation": FEDERATION, "node": NODE, "clients": CLIENTS}


def text(name: str) -> str:
    """Return the file of a dashboard as it should be."""
    return json.dumps(DASHBOARDS[name], indent=1) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text(name))
