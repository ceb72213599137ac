"""The Certificates service: what everybody who has a certificate of the member may have, for itself."""

from __future__ import annotations

from typing import Final

from collective.core.errors import UsageError
from collective.member.trust.member_trust import MemberTrust
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.trust import renewed_message, trusted_message
from collective.rpc.gen.collective.v1 import trust as pb

_CSR_MAX_BYTES: Final = 16 * 1024


class CertificatesService(pb.CertificatesBase):
    """Adapts renewal, and which CAs count."""

    def __init__(self, trust: MemberTrust, admission: Admission) -> None:
        """Serve by ``trust``."""
        self._trust = trust
        self._admission = admission

    async def renew_certificate(
        self, message: pb.RenewCertificateRequest
    ) -> pb.RenewCertificateResponse:
        """Exchange the peer's certificate."""
        peer = await self._admission.own()
        if len(message.csr_der) > _CSR_MAX_BYTES:
            raise UsageError("The certificate request is too large.")
        return renewed_message(await self._trust.renew(peer, message.csr_der))

    async def get_trust(self, message: pb.GetTrustRequest) -> pb.GetTrustResponse:  # noqa: ARG002
        """Tell which CAs count."""
        await self._admission.own()
        return trusted_message(self._trust.trusted())
