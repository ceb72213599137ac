"""The member as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.core.errors import UsageError
from collective.core.ids import SpiffeId, parse_domain, parse_member_id
from collective.core.paths import FilePath
from collective.core.work import Report, State
from collective.model.grants import Grant
from collective.model.status import (
    ChunkHealth,
    NodeCodeStatus,
    PeerStatus,
    Space,
    Status,
    Totals,
)
from collective.rpc.conversions.figures import figures_from, figures_message
from collective.rpc.conversions.grants import grant_from, grant_message
from collective.rpc.conversions.node_status import node_from, node_message
from collective.rpc.gen.collective import v1 as common_pb
from collective.rpc.gen.collective.v1 import status as pb

GRANTS_SHOWN_BYTES: Final = 1024 * 1024


def status_message(status: Status) -> pb.Status:
    """Return the state of a member for the wire: of the caller's grants, those that fit."""
    you = _caller_message(status.caller, status.grants)
    warnings = list(status.warnings)
    if you.grants_left:
        warnings.append(
            f"{you.grants_left} of your grants are not shown here; see: collective grant list"
        )
    return pb.Status(
        member_id=status.member,
        domain=status.domain,
        coordinator=pb.CoordinatorStatus(
            address=status.address, version=status.version, uptime_s=status.uptime_s
        ),
        local_nodes=[node_message(one) for one in status.nodes],
        peers=[_peer_message(one) for one in status.peers],
        remote_nodes=[node_message(one) for one in status.remote_nodes],
        files=pb.FileTotals(total=status.totals.files, bytes=status.totals.file_bytes),
        chunks=_health_message(status.totals.health),
        storage=pb.StorageTotals(
            total_bytes=status.space.total_bytes,
            used_bytes=status.space.used_bytes,
            available_bytes=status.space.available_bytes,
        ),
        you=you,
        node_join_code=_code_message(status.node_code),
        warnings=warnings,
        workers=[_worker_message(one) for one in status.workers],
    )


def status_from(message: pb.Status) -> Status:
    """Return the state of a member."""
    coordinator, you = message.coordinator, message.you
    files, storage = message.files, message.storage
    if coordinator is None or you is None or files is None or storage is None:
        raise UsageError("The status is not whole.")
    return Status(
        member=parse_member_id(message.member_id),
        domain=parse_domain(message.domain),
        address=coordinator.address,
        version=coordinator.version,
        uptime_s=coordinator.uptime_s,
        nodes=[node_from(one) for one in message.local_nodes],
        space=Space(storage.total_bytes, storage.used_bytes),
        totals=Totals(files.total, files.bytes, _health_from(message.chunks)),
        caller=SpiffeId.parse(you.principal),
        grants=[grant_from(one) for one in you.grants],
        node_code=_code_from(message.node_join_code),
        warnings=list(message.warnings),
        workers=[_worker_from(one) for one in message.workers],
        peers=[_peer_from(one) for one in message.peers],
        remote_nodes=[node_from(one) for one in message.remote_nodes],
    )


def _caller_message(caller: SpiffeId, grants: Sequence[Grant]) -> pb.CallerStatus:
    shown: list[common_pb.Grant] = []
    size = 0
    for grant in grants:
        message = grant_message(grant)
        size += len(bytes(message)) + 8
        if size > GRANTS_SHOWN_BYTES:
            break
        shown.append(message)
    return pb.CallerStatus(
        principal=str(caller), grants=shown, grants_left=len(grants) - len(shown)
    )


def _health_message(health: ChunkHealth | None) -> pb.ChunkTotals | None:
    if health is None:
        return None
    return pb.ChunkTotals(
        total=health.chunks,
        under_replicated=health.under_replicated,
        unavailable=health.unavailable,
        datastores=[str(path) for path in health.covers],
    )


def _health_from(message: pb.ChunkTotals | None) -> ChunkHealth | None:
    if message is None:
        return None
    return ChunkHealth(
        chunks=message.total,
        under_replicated=message.under_replicated,
        unavailable=message.unavailable,
        covers=tuple(FilePath.parse(path) for path in message.datastores),
    )


def _code_message(code: NodeCodeStatus | None) -> pb.JoinCodeStatus | None:
    if code is None:
        return None
    return pb.JoinCodeStatus(
        uses_left=code.uses_left, enrolled_count=code.enrolled, expires_ms=code.expires_ms
    )


def _code_from(message: pb.JoinCodeStatus | None) -> NodeCodeStatus | None:
    if message is None:
        return None
    return NodeCodeStatus(message.uses_left, message.enrolled_count, message.expires_ms)


def _worker_message(report: Report) -> pb.WorkerStatus:
    return pb.WorkerStatus(
        name=report.name,
        state=report.state.value,
        last_success_ms=report.last_success_ms,
        queue=report.queue,
        error=report.error,
        next_s=report.next_s,
        failing_s=report.failing_s,
        step_s=report.step_s,
    )


def _worker_from(message: pb.WorkerStatus) -> Report:
    try:
        state = State(message.state)
    except ValueError as error:
        raise UsageError(f"No worker is {message.state!r}.") from error
    return Report(
        name=message.name,
        state=state,
        last_success_ms=message.last_success_ms,
        queue=message.queue,
        error=message.error,
        next_s=message.next_s,
        failing_s=message.failing_s,
        step_s=message.step_s,
    )


def _peer_message(peer: PeerStatus) -> pb.PeerStatus:
    return pb.PeerStatus(
        member_id=peer.member,
        domain=peer.domain,
        address=peer.address,
        is_healthy=peer.is_healthy,
        last_seen_ms=peer.last_seen_ms,
        latency_ms=peer.latency_ms,
        version=peer.version,
        taken_ms=peer.taken_ms,
        figures=None if peer.figures is None else figures_message(peer.figures),
    )


def _peer_from(message: pb.PeerStatus) -> PeerStatus:
    return PeerStatus(
        member=message.member_id,
        domain=message.domain,
        address=message.address,
        is_healthy=message.is_healthy,
        last_seen_ms=message.last_seen_ms,
        latency_ms=message.latency_ms,
        version=message.version,
        taken_ms=message.taken_ms,
        figures=None if message.figures is None else figures_from(message.figures),
    )
