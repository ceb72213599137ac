"""Invites and identities."""

from __future__ import annotations

from typing import Final

from collective.core.errors import UsageError
from collective.core.ids import SpiffeId
from collective.model.people import (
    CertificateRecord,
    DeviceRecord,
    IdentityRecord,
    InviteKind,
    InviteStatus,
    InviteUse,
    MadeInvite,
)
from collective.rpc.conversions.rights import terms_message, terms_told
from collective.rpc.gen.collective.v1 import people as pb

_KINDS: Final = {
    InviteKind.USER: pb.InviteKind.USER,
    InviteKind.NODE: pb.InviteKind.NODE,
    InviteKind.PEER: pb.InviteKind.PEER,
    InviteKind.DEVICE: pb.InviteKind.DEVICE,
}
_KINDS_BY_MESSAGE: Final = {message: kind for kind, message in _KINDS.items()}


def kind_message(kind: InviteKind) -> pb.InviteKind:
    """Return for whom a code is, for the wire."""
    return _KINDS[kind]


def kind_from(message: pb.InviteKind) -> InviteKind:
    """Return for whom a code is."""
    kind = _KINDS_BY_MESSAGE.get(message)
    if kind is None:
        raise UsageError("An invite is for a user or for a node; choose one of them.")
    return kind


def invite_message(invite: InviteStatus) -> pb.Invite:
    """Return a code without its secret for the wire."""
    return pb.Invite(
        id=invite.id,
        kind=kind_message(invite.kind),
        grants=[terms_message(one) for one in invite.grants],
        max_uses=invite.uses_total,
        uses_left=invite.uses_left,
        created_ms=invite.created_ms,
        expires_ms=invite.expires_ms,
        created_by=str(invite.created_by),
        description=invite.description,
        state=invite.state,
        redemptions=[
            pb.InviteRedemption(identity=str(use.identity), at_ms=use.at_ms) for use in invite.uses
        ],
    )


def invite_from(message: pb.Invite | None) -> InviteStatus:
    """Return a checked code."""
    if message is None:
        raise UsageError("No invite is named.")
    return InviteStatus(
        id=message.id,
        kind=kind_from(message.kind),
        state=message.state,
        grants=[terms_told(one) for one in message.grants],
        uses_total=message.max_uses,
        uses_left=message.uses_left,
        created_ms=message.created_ms,
        expires_ms=message.expires_ms,
        created_by=SpiffeId.parse(message.created_by),
        description=message.description,
        uses=[InviteUse(SpiffeId.parse(use.identity), use.at_ms) for use in message.redemptions],
    )


def made_message(made: MadeInvite) -> pb.GenerateInviteResponse:
    """Return a code just made for the wire."""
    return pb.GenerateInviteResponse(
        code=made.code, join_url=made.join_url, invite=invite_message(made.invite)
    )


def made_from(message: pb.GenerateInviteResponse) -> MadeInvite:
    """Return a code just made."""
    return MadeInvite(message.code, message.join_url, invite_from(message.invite))


def identity_message(record: IdentityRecord) -> pb.IdentityStatus:
    """Return who joined for the wire."""
    return pb.IdentityStatus(
        principal=str(record.principal),
        display_name=record.display_name,
        revoked=record.revoked,
        certificates=[_certificate_message(one) for one in record.certificates],
        devices=[_device_message(one) for one in record.devices],
        invited_by=str(record.invited_by),
        joined_ms=record.joined_ms,
    )


def identity_from(message: pb.IdentityStatus) -> IdentityRecord:
    """Return who joined."""
    return IdentityRecord(
        principal=SpiffeId.parse(message.principal),
        display_name=message.display_name,
        invited_by=SpiffeId.parse(message.invited_by),
        joined_ms=message.joined_ms,
        revoked=message.revoked,
        certificates=[_certificate_from(one) for one in message.certificates],
        devices=[_device_from(one) for one in message.devices],
    )


def _device_message(record: DeviceRecord) -> pb.DeviceStatus:
    return pb.DeviceStatus(
        key_digest=record.key_digest,
        added_ms=record.added_ms,
        issued_offline=record.vouched,
        revoked=record.revoked,
        certificates=[_certificate_message(one) for one in record.certificates],
    )


def _device_from(message: pb.DeviceStatus) -> DeviceRecord:
    return DeviceRecord(
        key_digest=bytes(message.key_digest),
        added_ms=message.added_ms,
        vouched=message.issued_offline,
        revoked=message.revoked,
        certificates=[_certificate_from(one) for one in message.certificates],
    )


def _certificate_message(record: CertificateRecord) -> pb.CertificateStatus:
    return pb.CertificateStatus(
        serial=record.serial, expires_ms=record.expires_ms, revoked=record.revoked
    )


def _certificate_from(message: pb.CertificateStatus) -> CertificateRecord:
    return CertificateRecord(message.serial, message.expires_ms, message.revoked)
