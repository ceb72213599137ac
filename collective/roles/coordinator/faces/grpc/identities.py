"""The Identities service: who joined, and whom to shut out."""

from __future__ import annotations

from typing import Final

from collective.catalog.interface import Catalog
from collective.core.clock import Clock
from collective.member.people.invites import InviteIssuer
from collective.member.trust.revoking import Revoking
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.roles.coordinator.faces.grpc.identity_lists import IdentityCalls
from collective.rpc.gen.collective.v1 import people as pb

NAMES_MAX: Final = 1000
"""Names of each kind in one answer."""


class IdentitiesService(IdentityCalls):
    """Adapts the affairs of identities."""

    def __init__(
        self,
        catalog: Catalog,
        codes: InviteIssuer,
        revoking: Revoking,
        calls: Admission,
        clock: Clock,
    ) -> None:
        """Serve by ``revoking``; device codes are made by ``codes``."""
        super().__init__(catalog, codes, calls, clock)
        self._revoking = revoking
        self._calls = calls

    async def revoke_identity(self, message: pb.RevokeIdentityRequest) -> pb.RevokeIdentityResponse:
        """End an identity's, a certificate's or a key's validity, on open connections too."""
        async with self._calls.call("revoke_identity", message.who) as caller:
            done = await self._revoking.revoke(caller, message.who)
            return pb.RevokeIdentityResponse(
                revocation_epoch=done.epoch,
                connections_closed=done.closed,
                revoked=list(done.entries),
                lost_rights=[str(one) for one in done.consequences.losers[:NAMES_MAX]],
                lost_rights_count=len(done.consequences.losers),
                invites_ended=done.consequences.invites,
                datastores=[str(one) for one in done.consequences.datastores[:NAMES_MAX]],
            )
