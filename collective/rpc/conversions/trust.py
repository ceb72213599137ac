"""Certificates and CAs, revocations, and the audit."""

from __future__ import annotations

from typing import Final

from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.audit import AuditRow
from collective.model.people import Consequences
from collective.model.trust import Phase, Renewed, Revoked, RotationProgress, TrustedAuthorities
from collective.rpc.conversions.enum_text import word_of
from collective.rpc.gen.collective.v1 import trust as pb

NAMES_MAX: Final = 1000
"""Names of each kind in one answer."""


def trusted_message(trusted: TrustedAuthorities) -> pb.GetTrustResponse:
    """Return the CAs that count for the wire."""
    return pb.GetTrustResponse(trusted_ca_ders=list(trusted.ders), ca_link_ders=list(trusted.links))


def trusted_from(message: pb.GetTrustResponse) -> TrustedAuthorities:
    """Return what is said of the CAs that count; none of it is checked."""
    return TrustedAuthorities(message.trusted_ca_ders, message.ca_link_ders)


def renewed_message(renewed: Renewed) -> pb.RenewCertificateResponse:
    """Return a renewed certificate for the wire."""
    return pb.RenewCertificateResponse(
        certificate_der=renewed.certificate_der,
        trusted_ca_ders=list(renewed.trusted.ders),
        ca_link_ders=list(renewed.trusted.links),
    )


def renewed_from(message: pb.RenewCertificateResponse) -> Renewed:
    """Return a renewed certificate; none of it is checked."""
    trusted = TrustedAuthorities(message.trusted_ca_ders, message.ca_link_ders)
    return Renewed(message.certificate_der, trusted)


def rotation_message(progress: RotationProgress) -> pb.RotateAuthorityResponse:
    """Return how far the CA's replacement is for the wire."""
    return pb.RotateAuthorityResponse(
        phase=progress.phase.value,
        waiting=list(progress.waiting),
        ca_certificate_der=progress.newest_der,
        begun_ms=progress.begun_ms,
    )


def rotation_from(message: pb.RotateAuthorityResponse) -> RotationProgress:
    """Return how far the CA's replacement is."""
    return RotationProgress(
        word_of(Phase, message.phase, "phase"),
        list(message.waiting),
        message.ca_certificate_der,
        message.begun_ms,
    )


def revoked_message(done: Revoked) -> pb.RevokeIdentityResponse:
    """Return what a revocation did for the wire, with the first names of each kind."""
    return pb.RevokeIdentityResponse(
        revocation_epoch=done.epoch,
        connections_closed=done.closed,
        revoked=list(done.entries),
        lost_rights=[str(one) for one in done.consequences.losers[:NAMES_MAX]],
        lost_rights_count=done.losers_count,
        invites_ended=done.consequences.invites,
        datastores=[str(one) for one in done.consequences.datastores[:NAMES_MAX]],
    )


def revoked_from(message: pb.RevokeIdentityResponse) -> Revoked:
    """Return what a revocation did."""
    return Revoked(
        epoch=message.revocation_epoch,
        closed=message.connections_closed,
        entries=list(message.revoked),
        consequences=Consequences(
            losers=tuple(SpiffeId.parse(one) for one in message.lost_rights),
            invites=message.invites_ended,
            datastores=tuple(FilePath.parse(one) for one in message.datastores),
        ),
        losers_count=message.lost_rights_count,
    )


def audit_message(row: AuditRow) -> pb.AuditRecord:
    """Return a row of the audit for the wire."""
    return pb.AuditRecord(
        at_ms=row.at_ms,
        actor=row.actor,
        action=row.action,
        target=row.target,
        detail=row.detail,
        request_id=row.request_id,
    )


def audit_from(message: pb.AuditRecord) -> AuditRow:
    """Return a row of the audit."""
    return AuditRow(
        at_ms=message.at_ms,
        actor=message.actor,
        action=message.action,
        target=message.target,
        detail=message.detail,
        request_id=message.request_id,
    )
