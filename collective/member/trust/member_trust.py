"""Certificates, CAs and revocations of a member, as those who hold certificates use them."""

from __future__ import annotations

from collections.abc import Sequence

from collective.catalog.interface import Catalog
from collective.core.errors import PermissionDeniedError, UsageError
from collective.member.trust.expiry_watch import ExpiryWatch
from collective.member.trust.own_certificates import OwnCertificates
from collective.member.trust.renewals import CertificateRenewals
from collective.member.trust.revoking import Revoking
from collective.member.trust.rotation import Rotation
from collective.model.audit import AuditRow
from collective.model.calls import Call
from collective.model.trust import Renewed, RotationProgress, TrustedAuthorities
from collective.pki.certificates import Certified


class MemberTrust:
    """Renews and revokes certificates, and replaces the CA."""

    def __init__(
        self,
        own: OwnCertificates,
        catalog: Catalog,
        renewals: CertificateRenewals,
        rotation: Rotation,
        revoking: Revoking,
        expiry: ExpiryWatch,
    ) -> None:
        """Tell the CAs of ``own``, and the audit of ``catalog``; each change has its own part."""
        self.own = own
        """The certificate and CAs."""
        self._catalog = catalog
        self._renewals = renewals
        self._rotation = rotation
        self.revoking = revoking
        self.expiry = expiry
        """What is about to run out."""

    async def renew(self, peer: Certified, csr_der: bytes) -> Renewed:
        """Return a new certificate of the peer's identity for the key in the request."""
        renewed = await self._renewals.renew_live(peer, csr_der)
        return Renewed(renewed.certificate_der, self.trusted())

    def trusted(self) -> TrustedAuthorities:
        """Return every CA that counts."""
        return TrustedAuthorities(self.own.trusted_ders(), self.own.link_ders())

    async def rotate(
        self, call: Call, *, finish: bool, force: bool, only_look: bool
    ) -> RotationProgress:
        """Begin or finish the CA's replacement, or tell how far it is; the operator only.

        Raises:
            PermissionDeniedError: somebody else asks.
            UsageError: the wishes contradict each other.
            ConflictError: see :class:`~collective.member.trust.rotation.Rotation`.
        """
        if not call.is_operator:
            raise PermissionDeniedError(
                "Only the operator may replace the CA; use the coordinator's certificate."
            )
        if force and not finish:
            raise UsageError("--force belongs to --finish.")
        if only_look and finish:
            raise UsageError("Give --status or --finish, not both.")
        if only_look:
            return await self._rotation.progress()
        if finish:
            return await self._rotation.finish(call, force=force)
        return await self._rotation.begin(call)

    async def audit(self, call: Call, *, since_ms: int, limit: int) -> Sequence[AuditRow]:
        """Return who did what and who was refused what, in order of time; admins only."""
        await self._catalog.identities.require_admin(call, "read the audit")
        if since_ms < 0:
            raise UsageError("The audit begins after 1970; give a later time.")
        return await self._catalog.audit.list(since_ms=since_ms, limit=limit)
