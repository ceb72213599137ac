"""The state of a member as people see it: whether all is well, how full it is, what to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from collective.cli.terminal import output
from collective.cli.terminal.style import Field, Tone, bar
from collective.core.disk_errors import DiskState
from collective.core.ids import shown_principal
from collective.core.units import format_count, format_size

if TYPE_CHECKING:  # heavy
    from collective.model.nodes import NodeStatus
    from collective.model.status import ChunkHealth, Status

NEARLY_FULL: Final = 0.85
FULL: Final = 0.95
_HOUR_S: Final = 3600
_MINUTE_S: Final = 60


class RepairPace:
    """How fast chunks that lack copies become fewer, from one look at the member to the next."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None

    def note(self, now_s: float, short: int) -> None:
        """Take up how many chunks are short of copies at ``now_s`` (monotonic seconds)."""
        if self._last is None or short > self._last[1] or short == 0:
            self._first = (now_s, short)  # there is more to do than before: begin anew
        self._last = (now_s, short)

    def left_s(self) -> float | None:
        """Return seconds until all have their copies, at the pace seen so far; None: not known."""
        if self._first is None or self._last is None or self._last[1] == 0:
            return None
        passed_s, done = self._last[0] - self._first[0], self._first[1] - self._last[1]
        return self._last[1] * passed_s / done if done > 0 and passed_s > 0 else None


def overview(status: Status, pace: RepairPace | None = None) -> list[Field]:
    """Return what stands above the tables; ``pace``: of one who keeps looking."""
    who = str(status.caller.global_id or status.caller)
    fields = [
        Field("Member", f"{status.member} ({status.domain})"),
        Field(
            "Coordinator",
            f"{status.address}, version {status.version}, up {duration(status.uptime_s)}",
        ),
        Field("You", shown_principal(who)),
    ]
    fields += [Field("", f"{one.path}: {'+'.join(one.words)}") for one in status.grants]
    if not status.grants and "@" in who:
        fields.append(Field("", "you may do nothing yet; ask whoever invited you for a grant"))
    fields += [
        health(status),
        *_repair(status.totals.health, pace),
        Field("Files", f"{status.totals.files}, {format_size(status.totals.file_bytes)}"),
        Field("Chunks", _chunks(status.totals.health)),
        _storage(status),
    ]
    code = status.node_code
    if code is not None:
        enrolled = f"{format_count(code.enrolled, 'node')} enrolled"
        fields.append(
            Field(
                "Node code",
                f"{code.uses_left} uses left, {enrolled}, expires {output.moment(code.expires_ms)}",
            )
        )
    return fields + [Field("Warning", one, Tone.POOR) for one in status.warnings]


def health(status: Status) -> Field:
    """Return the line that is read first: whether anybody has to do anything."""
    chunks, wrong = status.totals.health, []
    tone = Tone.POOR
    if chunks is not None and chunks.unavailable:
        wrong.append(f"{format_count(chunks.unavailable, 'chunk')} unavailable")
        tone = Tone.BAD
    if chunks is not None and chunks.under_replicated:
        wrong.append(f"{format_count(chunks.under_replicated, 'chunk')} short of copies")
    away = sum(not node.is_healthy for node in status.nodes)
    if away:
        wrong.append(f"{away} of {len(status.nodes)} nodes not up")
    gone = sum(not peer.is_healthy for peer in status.peers)
    if gone:
        wrong.append(f"{gone} of {len(status.peers)} peers away")
    if status.warnings:
        wrong.append(f"{format_count(len(status.warnings), 'warning')} below")
    if not wrong:
        return Field("Health", "all is well", Tone.GOOD)
    return Field("Health", ", ".join(wrong), tone)


def _repair(chunks: ChunkHealth | None, pace: RepairPace | None) -> Iterator[Field]:
    if chunks is None or pace is None or not chunks.under_replicated:
        return
    left_s = pace.left_s()
    says = "at the pace seen here, done in about " + duration(left_s) if left_s else "looking on"
    yield Field("Repair", says)


def _chunks(health: ChunkHealth | None) -> str:
    if health is None:
        return "shown to those who may read a whole datastore"
    return (
        f"{health.chunks}, {health.under_replicated} short of copies,"
        f" {health.unavailable} unavailable"
    )


def _storage(status: Status) -> Field:
    space = status.space
    share = space.used_bytes / space.total_bytes if space.total_bytes else 0.0
    text = (
        f"{bar(share)} {share:.0%}  {format_size(space.used_bytes)} of"
        f" {format_size(space.total_bytes)} used, {format_size(space.available_bytes)} available"
    )
    return Field("Storage", text, tone_of_share(share))


def tone_of_share(share: float) -> Tone | None:
    """Return what is to be thought of a disk that is so full (0 to 1)."""
    if share >= FULL:
        return Tone.BAD
    return Tone.POOR if share >= NEARLY_FULL else None


def node_row(node: NodeStatus) -> tuple[str, ...]:
    """Return a node as a row for people."""
    share = node.used_bytes / node.capacity_bytes if node.capacity_bytes else 0.0
    return (
        node.node,
        _state(node),
        node.address,
        format_size(node.used_bytes),
        format_size(node.capacity_bytes),
        f"{share:.0%}",
        str(node.chunk_count),
        output.moment(node.last_seen_ms, "never").replace("T", " "),
    )


NODE_HEADINGS: Final = ("NODE", "STATE", "ADDRESS", "USED", "CAPACITY", "FULL", "CHUNKS", "LAST SEEN")  # fmt: skip


def node_tones(nodes: Sequence[NodeStatus]) -> dict[tuple[int, int], Tone]:
    """Return the tones of a table of nodes by row and column."""
    tones: dict[tuple[int, int], Tone] = {}
    for number, node in enumerate(nodes):
        tones[number, 1] = Tone.GOOD if node.is_healthy else Tone.BAD
        tone = tone_of_share(node.used_bytes / (node.capacity_bytes or 1))
        if tone is not None:
            tones[number, 5] = tone
    return tones


def _state(node: NodeStatus) -> str:
    """Return what is said of a node's state, and of its disk where that is not well."""
    if node.disk is None or node.disk is DiskState.OK:
        return str(node.state.value)
    return f"{node.state.value}, disk {node.disk.value}"


def duration(seconds: float) -> str:
    """Return a time in the two largest units that it has, such as ``3 h 12 min``."""
    whole = int(seconds)
    days, hours = divmod(whole // _HOUR_S, 24)
    minutes = whole % _HOUR_S // _MINUTE_S
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % _MINUTE_S} s" if minutes else f"{whole} s"
