"""The Audit service: who did what, and who was refused what, for admins."""

from __future__ import annotations

from typing import Final

from collective.catalog.interface import Trust
from collective.core import limits
from collective.core.errors import UsageError
from collective.model.audit import AuditRow
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.gen.collective.v1 import people as pb

ROWS_DEFAULT: Final = 1000
ROWS_MAX: Final = 5000


class AuditService(pb.AuditBase):
    """Adapts the audit to the catalogue."""

    def __init__(self, trust: Trust, calls: Admission) -> None:
        """Read from ``trust``."""
        self._trust = trust
        self._calls = calls

    async def list_audit(self, message: pb.ListAuditRequest) -> pb.ListAuditResponse:
        """Return rows since a time, the oldest first; fewer than asked for if they are long."""
        async with self._calls.call("audit", "") as caller:
            await self._trust.require_admin(caller, "read the audit")
            if message.since_ms < 0:
                raise UsageError("The audit begins after 1970; give a later time.")
            limit = min(message.limit or ROWS_DEFAULT, ROWS_MAX)
            records: list[pb.AuditRecord] = []
            size = 0
            for row in await self._trust.audit(since_ms=message.since_ms, limit=limit):
                records.append(_record(row))
                size += len(bytes(records[-1])) + 8
                if size > limits.ANSWER_MAX_BYTES:
                    break
            return pb.ListAuditResponse(records=records)


def _record(row: AuditRow) -> pb.AuditRecord:
    return pb.AuditRecord(
        at_ms=row.at_ms,
        actor=row.actor,
        action=row.action,
        target=row.target,
        detail=row.detail,
        request_id=row.request_id,
    )
