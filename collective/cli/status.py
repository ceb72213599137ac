"""``collective status``: the member's state, for people and for scripts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.options import Invocation, command
from collective.cli.overview import NODE_HEADINGS, RepairPace, node_row, node_tones, overview
from collective.cli.terminal import output
from collective.cli.terminal.style import Style, Tone
from collective.core.units import format_size

if TYPE_CHECKING:  # heavy
    from collective.cli.json_shapes import (
        ChunksJson,
        FiguresJson,
        GrantJson,
        NodeCodeJson,
        NodeJson,
        StatusJson,
        StatusPeerJson,
        WorkerJson,
    )
    from collective.client.collective import Collective
    from collective.core.work import Report
    from collective.model.grants import Grant
    from collective.model.nodes import NodeStatus
    from collective.model.peers import PeerFacts, PeerFigures
    from collective.model.status import ChunkHealth, NodeCodeStatus, PeerStatus, Status

app = typer.Typer()

WATCH_INTERVAL_S: Final = 2.0
NEVER_SEEN: Final = "not seen yet"
"""Since the coordinator's start."""
PEER_HEADINGS: Final = ("PEER", "STATE", "VERSION", "BUNDLE", "GRANTS", "BYTES", "REFUSED")
"""The last three are for admins."""


def grant_json(grant: Grant) -> GrantJson:
    """Return a grant as JSON has it."""
    return {
        "id": grant.id,
        "path": str(grant.path),
        "rights": grant.words,
        "principal": str(grant.principal),
        "expires": output.when(round((grant.expires_s or 0) * 1000)),
        "granted_by": str(grant.granted_by),
        "sources": list(grant.sources),
    }


def node_json(node: NodeStatus) -> NodeJson:
    """Return a node as JSON has it; the spec fixes the names."""
    return {
        "id": node.node,
        "address": node.address,
        "total_capacity": node.capacity_bytes,
        "used_capacity": node.used_bytes,
        "chunk_count": node.chunk_count,
        "is_healthy": node.is_healthy,
        "state": node.state.value,
        "last_seen": output.when(node.last_seen_ms),
        "standing": node.standing.value,
        "standing_reason": node.standing_reason,
        "is_new": node.is_new,
        "quarantined_bytes": node.quarantined_bytes,
        "disk": "" if node.disk is None else node.disk.value,
    }


def with_quarantine(
    headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], nodes: Sequence[NodeStatus]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Add what is in quarantine to a table of nodes, where there is anything."""
    if not any(node.quarantined_bytes for node in nodes):
        return headings, list(rows)
    sizes = [format_size(node.quarantined_bytes) for node in nodes]
    return (*headings, "QUARANTINE"), [(*row, size) for row, size in zip(rows, sizes, strict=True)]


def figures_json(figures: PeerFigures | None) -> FiguresJson:
    """Return what there is between this member and a peer as JSON has it; null to whoever is no admin."""
    return {
        "grants_here": figures.granted if figures else None,
        "grants_there": figures.granted_there if figures else None,
        "sent_bytes": figures.sent_bytes if figures else None,
        "received_bytes": figures.received_bytes if figures else None,
        "refused": figures.refused if figures else None,
    }


def _peer_json(peer: PeerStatus) -> StatusPeerJson:
    return {
        "member_id": peer.member,
        "domain": peer.domain,
        "address": peer.address,
        "state": "healthy" if peer.is_healthy else "away",
        "is_healthy": peer.is_healthy,
        "last_seen": output.when(peer.last_seen_ms),
        "latency_ms": peer.latency_ms,
        "version": peer.version,
        "bundle_taken": output.when(peer.taken_ms),
        **figures_json(peer.figures),
    }


def state_of(peer: PeerStatus | PeerFacts) -> str:
    """Return for people whether a peer answers: how fast, or when it did last."""
    if peer.is_healthy:
        return f"healthy, {peer.latency_ms:.0f} ms"
    if not peer.last_seen_ms:
        return f"away, {NEVER_SEEN}"
    return f"away, seen {_narrow(peer.last_seen_ms)}"


def _narrow(unix_ms: int) -> str:
    """Return a time in two words, for a narrow column."""
    return output.moment(unix_ms, "-").replace("T", " ")


def status_peer_row(peer: PeerStatus) -> tuple[str, ...]:
    """Return a peer as a row for people, with figures where they are told."""
    row = (peer.domain, state_of(peer), peer.version, _narrow(peer.taken_ms))
    if peer.figures is None:
        return row
    figures = peer.figures
    return (
        *row,
        f"{figures.granted} here, {figures.granted_there} there",
        f"{format_size(figures.received_bytes)} in, {format_size(figures.sent_bytes)} out",
        str(figures.refused),
    )


def status_json(status: Status) -> StatusJson:
    """Return the status with the fields of the spec and a few more; all always present."""
    return {
        "member_id": status.member,
        "domain": status.domain,
        "coordinator": {
            "address": status.address,
            "version": status.version,
            "uptime_s": status.uptime_s,
        },
        "local_nodes": [node_json(node) for node in status.nodes],
        "peers": [_peer_json(peer) for peer in status.peers],
        "remote_nodes": [node_json(node) for node in status.remote_nodes],
        "files": {"total": status.totals.files, "bytes": status.totals.file_bytes},
        "chunks": _chunks_json(status.totals.health),
        "storage": {
            "total_bytes": status.space.total_bytes,
            "used_bytes": status.space.used_bytes,
            "available_bytes": status.space.available_bytes,
        },
        "you": {
            "global_id": str(status.caller.global_id or status.caller),
            "grants": [grant_json(grant) for grant in status.grants],
        },
        "warnings": list(status.warnings),
        "node_code": _code_json(status.node_code),
        "workers": [_worker_json(worker) for worker in status.workers],
    }


def _chunks_json(health: ChunkHealth | None) -> ChunksJson:
    """Return what is known of chunks; null where there is no datastore that the caller reads whole."""
    return {
        "total": health.chunks if health else None,
        "under_replicated": health.under_replicated if health else None,
        "unavailable": health.unavailable if health else None,
        "datastores": [str(path) for path in health.covers] if health else [],
    }


def _worker_json(worker: Report) -> WorkerJson:
    return {
        "name": worker.name,
        "state": worker.state.value,
        "last_success": output.when(worker.last_success_ms),
        "queue": worker.queue,
        "error": worker.error,
        "next_s": worker.next_s,
    }


def _worker_row(worker: Report) -> tuple[str, ...]:
    return (
        worker.name,
        worker.state.value,
        "" if worker.queue is None else str(worker.queue),
        output.moment(worker.last_success_ms, "never"),
        worker.error,
    )


def _code_json(code: NodeCodeStatus | None) -> NodeCodeJson | None:
    """Return the code by which nodes join; null to whoever is no operator."""
    if code is None:
        return None
    return {
        "uses_left": code.uses_left,
        "enrolled": code.enrolled,
        "expires": output.when(code.expires_ms),
    }


def show(
    status: Status,
    style: Style,
    *,
    with_workers: bool = False,
    pace: RepairPace | None = None,
) -> None:
    """Print a status for people, ``with_workers`` also what goes on in the background."""
    output.plain(style.fields(overview(status, pace)))
    output.line()
    rows = [node_row(node) for node in status.nodes]
    output.table(
        *with_quarantine(NODE_HEADINGS, rows, status.nodes),
        style=style,
        tones=node_tones(status.nodes),
    )
    if with_workers and status.workers:
        output.line()
        columns = ("WORKER", "STATE", "QUEUE", "LAST SUCCESS", "ERROR")
        output.table(columns, [_worker_row(worker) for worker in status.workers])
    if status.peers:
        output.line()
        rows = [status_peer_row(peer) for peer in status.peers]
        tones = {
            (number, 1): Tone.GOOD if peer.is_healthy else Tone.BAD
            for number, peer in enumerate(status.peers)
        }
        output.table(PEER_HEADINGS[: len(rows[0])], rows, style=style, tones=tones)


@app.command()
@command
def status(
    invocation: Invocation,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
) -> None:
    """Show the member's nodes, capacity, files and what you may do; -v: background work too."""
    import asyncio  # noqa: PLC0415 - not for help

    pace = RepairPace() if watch else None

    async def work(collective: Collective) -> None:
        while True:
            current = await collective.status()
            if watch and sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            if pace is not None and current.totals.health is not None:
                now_s = invocation.world.clock.monotonic_s()
                pace.note(now_s, current.totals.health.under_replicated)
            if invocation.as_json:
                output.as_json(status_json(current), compact=watch)
            else:
                show(current, invocation.style, with_workers=invocation.verbose, pace=pace)
            sys.stdout.flush()
            if not watch:
                return
            await asyncio.sleep(WATCH_INTERVAL_S)

    invocation.run(work)
