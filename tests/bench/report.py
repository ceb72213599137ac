"""From figures to a table: each row is a value, what it is compared with, and the goal."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.grpclib_baseline import GrpclibFigures
from tests.bench.member import IdleFigures, Latencies, MemberFigures, Usage
from tests.bench.one_node import OneNodeFigures
from tests.bench.startup import Timing

TAHOE = {"write": 31.0, "read": 83.0, "put_1": 39.0, "get_1": 75.0, "put_16": 42.0, "get_16": 95.0}
"""Tahoe-LAFS 1.20, three copies, not flushed, on such a machine: MB/s and files/s."""
TREE_FILES, TREE_UNCHANGED_S, TREE_REMOVED_S = 100_000, 15.0, 10.0
"""A tree so large is to be put again, with nothing to send, and removed in so many seconds."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that one run measured."""

    tls_mb_s: float
    tls_all_mb_s: list[float]
    disk_mb_s: float
    disk_all_mb_s: list[float]
    flush_ms: float
    bare: GrpclibFigures
    one_node: OneNodeFigures
    member: MemberFigures
    idle: IdleFigures
    startup: list[Timing]

    @property
    def write_bound_mb_s(self) -> float:
        """W: what two cores and one disk allow for three hops and three flushed copies."""
        return 1 / (3 / self.tls_mb_s + 3 / self.disk_mb_s)

    @property
    def small_put_alone_ms(self) -> float:
        """The calls and flushes of one small put as measured alone.

        Two control calls, each with a flush of the catalogue, and three hops, each with a small put
        at one node (its call and its flush).
        """
        return 2 * (self.bare.unary_ms + self.flush_ms) + 3 * self.one_node.small_put_ms


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``met`` is None where there is no goal."""

    what: str
    value: str
    ratio: str
    goal: str
    met: bool | None


def _least(what: str, value: float, unit: str, ratio: float, of: str, goal: float) -> Row:
    return Row(what, f"{value:.0f} {unit}", f"{ratio:.2f} {of}", f">= {goal:g} {of}", ratio >= goal)


def _at_least(what: str, per_s: float, goal: float) -> Row:
    return Row(what, f"{per_s:.0f} /s", "", f">= {goal:.0f} /s", per_s >= goal)


def _most(what: str, value: float, unit: str, goal: float, digits: int = 1) -> Row:
    return Row(what, f"{value:.{digits}f} {unit}", "", f"<= {goal:g} {unit}", value <= goal)


def _fact(what: str, value: str, ratio: str = "") -> Row:
    return Row(what, value, ratio, "", None)


def _usage(what: str, usage: Usage, cpu_most_s: float) -> list[Row]:
    cpu_s = usage.client_cpu_s_gib + usage.nodes_cpu_s_gib
    return [
        Row(
            f"{what}: CPU s/GiB client, coordinator, nodes",
            f"{usage.client_cpu_s_gib:.1f}, {usage.coordinator_cpu_s_gib:.1f},"
            f" {usage.nodes_cpu_s_gib:.1f}",
            f"{cpu_s:.1f} client and nodes",
            f"<= {cpu_most_s:g}",
            cpu_s <= cpu_most_s,
        ),
        _most(f"{what}: peak memory, client", usage.client_peak_mb, "MB", 150),
        _most(f"{what}: peak memory, coordinator", usage.coordinator_peak_mb, "MB", 150),
        _most(f"{what}: peak memory, node", usage.node_peak_mb, "MB", 150),
    ]


def _small(what: str, found: Latencies, tahoe: float) -> Row:
    goal = 10.0
    times = found.per_s / tahoe
    return Row(
        what,
        f"{found.per_s:.0f}/s p50 {found.p50_ms:.1f} p99 {found.p99_ms:.1f} ms",
        f"{times:.1f} Tahoe",
        f">= {goal:g} Tahoe",
        times >= goal,
    )


def _startup(timing: Timing) -> Row:
    """Return the row of a whole process; only for `ls` is there a goal."""
    value = f"{timing.median_ms:.0f} ms"
    ratio = f"{timing.ratio:.2f} bare, CPU {timing.cpu_ratio:.2f}"
    if timing.name != "collective ls":
        return _fact(timing.name, value, ratio)
    return Row(timing.name, value, ratio, "<= 1.5 bare", timing.ratio <= 1.5)


def rows(figures: Figures) -> list[Row]:
    """Return the table's lines in order."""
    c, w = figures.tls_mb_s, figures.write_bound_mb_s
    node, member, bare, idle = figures.one_node, figures.member, figures.bare, figures.idle
    whole, small, metadata = member.whole, member.small, member.metadata
    tree = member.tree
    put_ratio = small.put_1.p50_ms / figures.small_put_alone_ms
    return [
        _fact("C: TLS 1.3, blocking sockets", f"{c:.0f} MB/s", _spread(figures.tls_all_mb_s)),
        _fact(
            "D: three writers, flushed", f"{figures.disk_mb_s:.0f} MB/s", _spread(figures.disk_all_mb_s)
        ),
        _fact("W = 1/(3/C + 3/D)", f"{w:.0f} MB/s"),
        _least("one node: get 4 MiB", node.get_mb_s, "MB/s", node.get_mb_s / c, "C", 0.6),
        _least("one node: put 4 MiB", node.put_mb_s, "MB/s", node.put_mb_s / c, "C", 0.35),
        _least(
            "one node: get, to grpclib streaming",
            bare.get_mb_s, "MB/s (grpclib)", node.get_mb_s / bare.get_mb_s, "x", 2,
        ),
        _least(
            "one node: put, to grpclib streaming",
            bare.put_mb_s, "MB/s (grpclib)", node.put_mb_s / bare.put_mb_s, "x", 2,
        ),
        _fact(
            "one node: CPU s/GiB put client, node; get client, node",
            f"{node.put_client_cpu_s_gib:.1f}, {node.put_node_cpu_s_gib:.1f};"
            f" {node.get_client_cpu_s_gib:.1f}, {node.get_node_cpu_s_gib:.1f}",
        ),
        _least("file: read", whole.read_mb_s, "MB/s", whole.read_mb_s / c, "C", 0.5),
        _least("file: write, three copies", whole.write_mb_s, "MB/s", whole.write_mb_s / w, "W", 1.1),
        _least("file: read, to Tahoe", whole.read_mb_s, "MB/s", whole.read_mb_s / TAHOE["read"], "Tahoe", 3),
        _least(
            "file: write, to Tahoe", whole.write_mb_s, "MB/s", whole.write_mb_s / TAHOE["write"], "Tahoe", 3
        ),
        _most("file: first byte", whole.first_bytes.warm_ms, "ms", 15),
        _most("file: first byte, with connecting", whole.first_bytes.cold_ms, "ms", 40),
        *_usage("file write", whole.write_usage, 10),
        *_usage("file read", whole.read_usage, 3.5),
        _small("4 KiB put, one at a time", small.put_1, TAHOE["put_1"]),
        _small("4 KiB put, 16 at once", small.put_16, TAHOE["put_16"]),
        _small("4 KiB get, one at a time", small.get_1, TAHOE["get_1"]),
        _small("4 KiB get, 16 at once", small.get_16, TAHOE["get_16"]),
        Row(
            "4 KiB put, to its calls and flushes alone",
            f"{figures.small_put_alone_ms:.1f} ms alone",
            f"{put_ratio:.2f} x",
            "<= 1.5 x",
            put_ratio <= 1.5,
        ),
        _most("4 KiB get, one at a time, p50", small.get_1.p50_ms, "ms", 4),
        _fact("bare grpclib unary", f"{bare.unary_per_s:.0f}/s, one {bare.unary_ms:.2f} ms"),
        _least(
            "4 KiB put, 16 at once", small.put_16.per_s, "/s",
            small.put_16.per_s / bare.unary_per_s, "grpclib", 0.5,
        ),
        _least(
            "4 KiB get, 16 at once", small.get_16.per_s, "/s",
            small.get_16.per_s / bare.unary_per_s, "grpclib", 1.2,
        ),
        _least(
            "4 KiB files, put of a tree", tree.put_per_s, "/s",
            tree.put_per_s / bare.unary_per_s, "grpclib", 0.8,
        ),
        _least(
            "4 KiB files, get of a tree", tree.get_per_s, "/s",
            tree.get_per_s / bare.unary_per_s, "grpclib", 1.6,
        ),
        _at_least("put of a tree that is there, files", tree.unchanged_per_s, TREE_FILES / TREE_UNCHANGED_S),
        _fact("put of a tree that is there, without notes", f"{tree.compared_per_s:.0f} files/s"),
        _at_least("rm -r of a tree, files", tree.remove_per_s, TREE_FILES / TREE_REMOVED_S),
        _least(
            "stat, 16 at once", metadata.stat_16.per_s, "/s",
            metadata.stat_16.per_s / bare.unary_per_s, "grpclib", 0.7,
        ),
        _least(
            "stat, one at a time", metadata.stat_1.per_s, "/s",
            bare.unary_ms / metadata.stat_1.p50_ms, "grpclib", 0.6,
        ),
        _most("ls of 10,000 entries", metadata.list_10000_s, "s", 0.25, 2),
        _most("idle node, PSS", idle.node_pss_mb, "MB", 50),
        _most("idle coordinator, PSS", idle.coordinator_pss_mb, "MB", 80),
        _fact(
            "idle CPU, node and coordinator",
            f"{idle.node_cpu_percent:.2f} %, {idle.coordinator_cpu_percent:.2f} %",
        ),
        *map(_startup, figures.startup),
    ]  # fmt: skip


def _spread(values: list[float]) -> str:
    return f"{min(values):.0f}-{max(values):.0f}"


def table(lines: list[Row], figures: Figures) -> str:
    """Return the table as text for a terminal, and how much C varied."""
    spread = max(figures.tls_all_mb_s) / min(figures.tls_all_mb_s)
    return f"{text_of(lines)}; C varied by {spread:.2f} x within the run."


def text_of(lines: list[Row]) -> str:
    """Return the table as text for a terminal; its last line says how many goals are met."""
    cells = [
        (row.what, row.value, row.ratio, row.goal, {None: "", True: "met", False: "SHORT"}[row.met])
        for row in lines
    ]
    header = ("figure", "value", "ratio", "goal", "")
    widths = [max(len(line[column]) for line in [header, *cells]) for column in range(len(header))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [header, *cells]
    ]
    short = sum(row.met is False for row in lines)
    goals = sum(row.met is not None for row in lines)
    text.append(f"{goals - short} of {goals} goals met")
    return "\n".join(text)


def missed(lines: list[Row]) -> list[str]:
    """Return a sentence for each goal that is not met."""
    return [
        f"SHORT: {row.what}: {row.ratio or row.value}, goal {row.goal}"
        for row in lines
        if row.met is False
    ]
