"""Certificates and CAs of a member, as its coordinator serves them; with the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from collective.model.audit import AuditRow
from collective.model.trust import Revoked, RotationProgress
from collective.rpc.conversions.trust import audit_from, revoked_from, rotation_from
from collective.rpc.gen.collective.v1.trust import (
    ListAuditRequest,
    RevokeIdentityRequest,
    RotateAuthorityRequest,
    TrustStub,
)
from collective.rpc.remote.answers import taken
from collective.rpc.remote.connection import Remote

AUDIT_PAGE: Final = 5000


class RemoteTrust(Remote[TrustStub]):
    """What certificates stand for, as people change it; the coordinator decides who may ask."""

    SERVICE = TrustStub

    async def revoke(self, who: str) -> Revoked:
        """Shut out ``who``: a global id, a SPIFFE id, ``serial:HEX`` or ``key:HEX``."""
        request = RevokeIdentityRequest(who=who)
        return taken(revoked_from, await self._control.call(self._stub.revoke_identity, request))

    async def rotate(
        self, *, finish: bool = False, force: bool = False, status: bool = False
    ) -> RotationProgress:
        """Begin to replace the member's CA, finish that, or (``status``) tell how far it is.

        The operator only.  ConflictError where another begins, or some would be shut out by the end.
        """
        request = RotateAuthorityRequest(finish=finish, force=force, status=status)
        return taken(rotation_from, await self._control.call(self._stub.rotate_authority, request))

    async def audit(self, *, since_ms: int = 0) -> AsyncIterator[AuditRow]:
        """Yield audit records since ``since_ms`` (Unix), the oldest first; admins only."""
        seen: list[AuditRow] = []
        while True:
            request = ListAuditRequest(since_ms=since_ms, limit=AUDIT_PAGE)
            answer = await self._control.call(self._stub.list_audit, request)
            rows = [taken(audit_from, one) for one in answer.records]
            fresh = [row for row in rows if row not in seen]
            for row in fresh:
                yield row
            if not fresh:
                return
            since_ms = rows[-1].at_ms
            seen = [row for row in rows if row.at_ms == since_ms]
