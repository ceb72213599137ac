"""What anybody with a certificate asks a coordinator for itself: a new certificate, and the CAs that count."""

from __future__ import annotations

from collective.model.trust import Renewed, TrustedAuthorities
from collective.rpc.conversions.trust import renewed_from, trusted_from
from collective.rpc.gen.collective.v1.trust import (
    CertificatesStub,
    GetTrustRequest,
    RenewCertificateRequest,
)
from collective.rpc.links import Channel


async def renewed_over(channel: Channel, csr_der: bytes, timeout_s: float) -> Renewed:
    """Return a certificate in the place of the one of this connection; nothing of it is checked."""
    request = RenewCertificateRequest(csr_der=csr_der)
    answer = await channel.stub(CertificatesStub).renew_certificate(request, timeout=timeout_s)
    return renewed_from(answer)


async def trusted_over(channel: Channel, timeout_s: float) -> TrustedAuthorities:
    """Return the CAs that count, as the coordinator says; nothing of it is checked."""
    answer = await channel.stub(CertificatesStub).get_trust(GetTrustRequest(), timeout=timeout_s)
    return trusted_from(answer)
