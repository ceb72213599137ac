"""The part of the Identities service that lists who joined and adds devices."""

from __future__ import annotations

from typing import Final

from collective.catalog.interface import Catalog
from collective.core.clock import Clock
from collective.core.errors import UsageError
from collective.member.people.invites import InviteIssuer
from collective.model.people import CertificateRecord, DeviceRecord, IdentityRecord, InviteKind
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.roles.coordinator.faces.grpc.invites import generated
from collective.rpc.gen.collective.v1 import people as pb

DEVICE_VALIDITY_S: Final = 900.0
DEVICE_VALIDITY_MAX_S: Final = 86400.0


class IdentityCalls(pb.IdentitiesBase):
    """Adapts identities to the catalogue."""

    def __init__(
        self, catalog: Catalog, codes: InviteIssuer, calls: Admission, clock: Clock
    ) -> None:
        """Make device codes by ``codes``."""
        self._identity_catalog = catalog
        self._device_codes = codes
        self._identity_frame = calls
        self._identity_clock = clock

    async def list_identities(
        self,
        message: pb.ListIdentitiesRequest,
    ) -> pb.ListIdentitiesResponse:
        """Return a page of who joined: all to an admin, himself to anybody else."""
        async with self._identity_frame.call("list_identities", "") as caller:
            page = await self._identity_catalog.identities(caller, token=message.page_token)
            return pb.ListIdentitiesResponse(
                identities=[_identity_message(one) for one in page],
                next_page_token=page.next_token,
            )

    async def add_device(self, message: pb.AddDeviceRequest) -> pb.GenerateInviteResponse:
        """Make a code, good once, by which the caller's identity joins from a further machine."""
        async with self._identity_frame.call("add_device", "") as caller:
            if caller.principal.role != "user":
                raise UsageError(
                    "The operator has no devices; issue certificates by 'collective pki issue'."
                )
            validity_s = message.validity_s or DEVICE_VALIDITY_S
            if not 0 < validity_s <= DEVICE_VALIDITY_MAX_S:
                raise UsageError("A device code may be valid for at most 24 hours.")
            record, code = await self._device_codes.create(
                caller,
                InviteKind.DEVICE,
                uses=1,
                validity_s=validity_s,
                description="a further device",
                bound=caller.principal,
            )
            return generated(record, code, self._identity_clock.wall_s())


def _identity_message(record: IdentityRecord) -> pb.IdentityStatus:
    return pb.IdentityStatus(
        principal=str(record.principal),
        global_id=str(record.principal.global_id or ""),
        display_name=record.display_name,
        revoked=record.revoked,
        certificates=[_certificate_message(one) for one in record.certificates],
        devices=[_device_message(one) for one in record.devices],
        invited_by=str(record.invited_by),
        joined_ms=record.joined_ms,
    )


def _device_message(record: DeviceRecord) -> pb.DeviceStatus:
    return pb.DeviceStatus(
        key_digest=record.key_digest,
        added_ms=record.added_ms,
        issued_offline=record.vouched,
        revoked=record.revoked,
        certificates=[_certificate_message(one) for one in record.certificates],
    )


def _certificate_message(record: CertificateRecord) -> pb.CertificateStatus:
    return pb.CertificateStatus(
        serial=record.serial, expires_ms=record.expires_ms, revoked=record.revoked
    )
