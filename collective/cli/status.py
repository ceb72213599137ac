"""``collective status``: the member's state, for people and for scripts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from collective.cli import output
from collective.cli.options import Invocation, command
from collective.core.ids import shown_principal
from collective.core.units import format_size
from collective.rpc.gen.collective.v1 import cluster as pb

if TYPE_CHECKING:  # heavy
    from collective.client.collective import Collective

app = typer.Typer()

WATCH_INTERVAL_S: Final = 2.0


def grant_json(grant: pb.Grant) -> dict[str, Any]:
    """Return a grant as JSON has it."""
    return {
        "id": grant.id,
        "path": grant.path,
        "rights": [right.name.lower() for right in grant.rights if right and right.name],
        "principal": grant.principal,
        "expires": output.when(grant.expires_ms),
        "granted_by": grant.granted_by,
        "sources": list(grant.sources),
    }


def node_json(node: pb.NodeStatus) -> dict[str, Any]:
    """Return a node as JSON has it; the spec fixes the names."""
    return {
        "id": node.id,
        "address": node.address,
        "total_capacity": node.total_capacity,
        "used_capacity": node.used_capacity,
        "chunk_count": node.chunk_count,
        "is_healthy": node.is_healthy,
        "state": node.state,
        "last_seen": output.when(node.last_seen_ms),
        "standing": node.standing,
        "standing_reason": node.standing_reason,
        "is_new": node.is_new,
        "quarantined_bytes": node.quarantined_bytes,
        "disk": node.disk,
    }


def node_row(node: pb.NodeStatus) -> tuple[str, ...]:
    """Return a node as a row for people."""
    return (
        node.id,
        node.state if node.disk in {"", "ok"} else f"{node.state}, disk {node.disk}",
        node.address,
        format_size(node.used_capacity),
        format_size(node.total_capacity),
        str(node.chunk_count),
        output.moment(node.last_seen_ms, "never"),
    )


def with_quarantine(
    headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], nodes: Sequence[pb.NodeStatus]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Add what is in quarantine to a table of nodes, where there is anything."""
    if not any(node.quarantined_bytes for node in nodes):
        return headings, list(rows)
    sizes = [format_size(node.quarantined_bytes) for node in nodes]
    return (*headings, "QUARANTINE"), [(*row, size) for row, size in zip(rows, sizes, strict=True)]


def _peer_json(peer: pb.PeerStatus) -> dict[str, Any]:
    return {
        "member_id": peer.member_id,
        "domain": peer.domain,
        "address": peer.address,
        "is_healthy": peer.is_healthy,
        "last_seen": output.when(peer.last_seen_ms),
        "latency_ms": peer.latency_ms,
    }


def status_json(status: pb.Status) -> dict[str, Any]:
    """Return the status with the fields of the spec and a few more; all always present."""
    coordinator = status.coordinator or pb.CoordinatorStatus()
    files = status.files or pb.FileTotals()
    storage = status.storage or pb.StorageTotals()
    you = status.you or pb.CallerStatus()
    return {
        "member_id": status.member_id,
        "domain": status.domain,
        "coordinator": {
            "address": coordinator.address,
            "version": coordinator.version,
            "uptime_s": coordinator.uptime_s,
        },
        "local_nodes": [node_json(node) for node in status.local_nodes],
        "peers": [_peer_json(peer) for peer in status.peers],
        "remote_nodes": [node_json(node) for node in status.remote_nodes],
        "files": {"total": files.total, "bytes": files.bytes},
        "chunks": _chunks_json(status.chunks),
        "storage": {
            "total_bytes": storage.total_bytes,
            "used_bytes": storage.used_bytes,
            "available_bytes": storage.available_bytes,
        },
        "you": {
            "global_id": you.global_id,
            "grants": [grant_json(grant) for grant in you.grants],
        },
        "warnings": list(status.warnings),
        "node_code": _code_json(status.node_join_code),
        "workers": [_worker_json(worker) for worker in status.workers],
    }


def _chunks_json(chunks: pb.ChunkTotals | None) -> dict[str, Any]:
    """Return what is known of chunks; null where there is no datastore that the caller reads whole."""
    return {
        "total": chunks.total if chunks else None,
        "under_replicated": chunks.under_replicated if chunks else None,
        "unavailable": chunks.unavailable if chunks else None,
        "datastores": list(chunks.datastores) if chunks else [],
    }


def _worker_json(worker: pb.WorkerStatus) -> dict[str, Any]:
    return {
        "name": worker.name,
        "state": worker.state,
        "last_success": output.when(worker.last_success_ms),
        "queue": worker.queue,
        "error": worker.error,
        "next_s": worker.next_s,
    }


def _chunks_line(chunks: dict[str, Any]) -> str:
    if chunks["total"] is None:
        return "shown to those who may read a whole datastore"
    return (
        f"{chunks['total']}, {chunks['under_replicated']} short of copies,"
        f" {chunks['unavailable']} unavailable"
    )


def _worker_row(worker: pb.WorkerStatus) -> tuple[str, ...]:
    return (
        worker.name,
        worker.state,
        "" if worker.queue is None else str(worker.queue),
        output.moment(worker.last_success_ms, "never"),
        worker.error,
    )


def _code_json(code: pb.JoinCodeStatus | None) -> dict[str, Any] | None:
    """Return the code by which nodes join; null to whoever is no operator."""
    if code is None or not code.expires_ms:
        return None
    return {
        "uses_left": code.uses_left,
        "enrolled": code.enrolled_count,
        "expires": output.when(code.expires_ms),
    }


def status_lines(status: pb.Status) -> list[str]:
    """Return what people see above the table of nodes."""
    facts = status_json(status)
    coordinator, files, storage = (facts[name] for name in ("coordinator", "files", "storage"))
    lines = [
        f"Member       {facts['member_id']} ({facts['domain']})",
        (
            f"Coordinator  {coordinator['address']}, version {coordinator['version']},"
            f" up {coordinator['uptime_s']:.0f} s"
        ),
        f"You          {shown_principal(facts['you']['global_id'])}",
    ]
    lines += [
        f"             {grant['path']}: {'+'.join(grant['rights'])}"
        for grant in facts["you"]["grants"]
    ]
    if not facts["you"]["grants"] and "@" in facts["you"]["global_id"]:
        lines.append("             you may do nothing yet; ask whoever invited you for a grant")
    lines += [
        f"Files        {files['total']}, {format_size(files['bytes'])}",
        f"Chunks       {_chunks_line(facts['chunks'])}",
        (
            f"Storage      {format_size(storage['used_bytes'])} of"
            f" {format_size(storage['total_bytes'])} used,"
            f" {format_size(storage['available_bytes'])} available"
        ),
    ]
    code = status.node_join_code
    if code is not None and code.expires_ms:  # zeros to whoever is no operator
        lines.append(
            f"Node code    {code.uses_left} uses left, {code.enrolled_count} nodes enrolled,"
            f" expires {output.moment(code.expires_ms)}"
        )
    lines += [f"Warning      {warning}" for warning in status.warnings]
    return lines


def show(
    status: pb.Status, *, as_json: bool, compact: bool = False, with_workers: bool = False
) -> None:
    """Print a status, ``with_workers`` also what goes on in the background."""
    if as_json:
        output.as_json(status_json(status), compact=compact)
        return
    output.lines(status_lines(status))
    output.line()
    headings = ("NODE", "STATE", "ADDRESS", "USED", "CAPACITY", "CHUNKS", "LAST SEEN")
    rows = [node_row(node) for node in status.local_nodes]
    output.table(*with_quarantine(headings, rows, status.local_nodes))
    if with_workers and status.workers:
        output.line()
        columns = ("WORKER", "STATE", "QUEUE", "LAST SUCCESS", "ERROR")
        output.table(columns, [_worker_row(worker) for worker in status.workers])
    if status.peers:
        output.line()
        rows = [
            (peer.member_id, peer.domain, peer.address, "up" if peer.is_healthy else "down")
            for peer in status.peers
        ]
        output.table(("PEER", "DOMAIN", "ADDRESS", "STATE"), rows)


@app.command()
@command
def status(
    invocation: Invocation,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
) -> None:
    """Show the member's nodes, capacity, files and what you may do; -v: background work too."""
    import asyncio  # noqa: PLC0415 - not for help

    async def work(collective: Collective) -> None:
        while True:
            current = await collective.member.status()
            if watch and sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            show(
                current,
                as_json=invocation.as_json,
                compact=watch,
                with_workers=invocation.verbose,
            )
            sys.stdout.flush()
            if not watch:
                return
            await asyncio.sleep(WATCH_INTERVAL_S)

    invocation.run(work)
