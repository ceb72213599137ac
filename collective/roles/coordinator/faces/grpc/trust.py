"""The Trust service: the CA, shutting out, and the audit."""

from __future__ import annotations

from typing import Final

from collective.core import limits
from collective.member.trust.member_trust import MemberTrust
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.trust import (
    audit_message,
    revoked_message,
    rotation_message,
)
from collective.rpc.gen.collective.v1 import trust as pb

ROWS_DEFAULT: Final = 1000
ROWS_MAX: Final = 5000


class TrustService(pb.TrustBase):
    """Adapts what certificates stand for."""

    def __init__(self, trust: MemberTrust, admission: Admission) -> None:
        """Serve by ``trust``."""
        self._trust = trust
        self._admission = admission

    async def rotate_authority(
        self, message: pb.RotateAuthorityRequest
    ) -> pb.RotateAuthorityResponse:
        """Begin or finish the CA's replacement, or tell how far it is; the operator only."""
        async with self._admission.call("rotate_authority", "") as call:
            progress = await self._trust.rotate(
                call, finish=message.finish, force=message.force, only_look=message.status
            )
            return rotation_message(progress)

    async def revoke_identity(self, message: pb.RevokeIdentityRequest) -> pb.RevokeIdentityResponse:
        """End an identity's, a certificate's or a key's validity, on open connections too."""
        async with self._admission.call("revoke_identity", message.who) as call:
            return revoked_message(await self._trust.revoking.revoke(call, message.who))

    async def list_audit(self, message: pb.ListAuditRequest) -> pb.ListAuditResponse:
        """Return rows since a time, the oldest first; fewer than asked for if they are long."""
        async with self._admission.call("audit", "") as call:
            limit = min(message.limit or ROWS_DEFAULT, ROWS_MAX)
            records: list[pb.AuditRecord] = []
            size = 0
            for row in await self._trust.audit(call, since_ms=message.since_ms, limit=limit):
                records.append(audit_message(row))
                size += len(bytes(records[-1])) + 8
                if size > limits.ANSWER_MAX_BYTES:
                    break
            return pb.ListAuditResponse(records=records)
