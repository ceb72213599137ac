"""Identities, invites, datastores and the audit log of one member, as a program uses them.

Stubs are made when they are first needed.  Raises what the coordinator answers, and nothing else on
purpose.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from collective.core.errors import NotFoundError, UsageError
from collective.core.paths import FilePath
from collective.model.rights import GrantTerms
from collective.pki import invite_code
from collective.rpc.conversions.rights import terms_message
from collective.rpc.gen.collective.v1.people import (
    AddDeviceRequest,
    AuditRecord,
    AuditStub,
    CreateDatastoreRequest,
    Datastore,
    DatastoresStub,
    GenerateInviteRequest,
    GenerateInviteResponse,
    IdentitiesStub,
    IdentityStatus,
    Invite,
    InviteKind,
    InvitesStub,
    ListAuditRequest,
    ListDatastoresRequest,
    ListIdentitiesRequest,
    ListInvitesRequest,
    RevokeIdentityRequest,
    RevokeIdentityResponse,
    RevokeInviteRequest,
    SetDatastoreRequest,
)
from collective.rpc.links import Channel
from collective.rpc.remote.connection import Control

AUDIT_PAGE: Final = 5000


class People:
    """Who may do what at one member; made by ``Collective.connect``."""

    def __init__(self, channel: Channel, control: Control) -> None:
        """Call over ``channel`` with the deadlines of ``control``."""
        self._channel = channel
        self._control = control

    async def add_device(self, *, validity_s: float = 0.0) -> GenerateInviteResponse:
        """Return a code, good once, by which a further machine joins as the caller's identity.

        Args:
            validity_s: how long it may be redeemed; 0 for the coordinator's 15 minutes.
        """
        stub = self._channel.stub(IdentitiesStub)
        request = AddDeviceRequest(validity_s=validity_s)
        return await self._control.call(stub.add_device, request)

    async def revoke_identity(self, who: str) -> RevokeIdentityResponse:
        """Shut out ``who``: a global id, a SPIFFE id, or ``serial:HEX``; for admins."""
        stub = self._channel.stub(IdentitiesStub)
        return await self._control.call(stub.revoke_identity, RevokeIdentityRequest(who=who))

    async def generate_invite(
        self,
        *,
        kind: InviteKind = InviteKind.USER,
        grants: Sequence[GrantTerms] = (),
        max_uses: int = 0,
        validity_s: float = 0.0,
        description: str = "",
    ) -> GenerateInviteResponse:
        """Return a new invite with its code, which is never shown again.

        Args:
            kind: for whom it is.
            grants: what whoever redeems it may do; no more than the caller may share.
            max_uses: 0 for the coordinator's default (1 for a user).
            validity_s: how long it may be redeemed; 0 for the default (24 hours for a user).
            description: for people.
        """
        request = GenerateInviteRequest(
            kind=kind,
            grants=[terms_message(one) for one in grants],
            max_uses=max_uses,
            validity_s=validity_s,
            description=description,
        )
        return await self._control.call(self._channel.stub(InvitesStub).generate_invite, request)

    async def invites(self, *, all_states: bool = False) -> Sequence[Invite]:
        """Return the invites that the caller may see: open ones, or ``all_states``."""
        stub = self._channel.stub(InvitesStub)
        pages = self._control.pages(stub.list_invites, ListInvitesRequest(all=all_states))
        return [one async for page in pages for one in page.invites]

    async def revoke_invite(self, code_or_id: str) -> Invite:
        """End an invite, named by its id or its code; of a code only the id is sent.

        Raises NotFoundError if ``code_or_id`` is neither.
        """
        text = code_or_id.strip()
        try:
            code_id = text if invite_code.is_code_id(text) else invite_code.parse(text).code_id
        except UsageError as error:
            raise NotFoundError(
                "This is neither the id of an invite nor its whole code; run: collective invite list"
            ) from error
        request = RevokeInviteRequest(code_or_id=code_id)
        answer = await self._control.call(self._channel.stub(InvitesStub).revoke_invite, request)
        return answer.invite or Invite(id=code_id, state="revoked")

    async def identities(self) -> Sequence[IdentityStatus]:
        """Return who joined: all to an admin, the caller alone to anybody else."""
        stub = self._channel.stub(IdentitiesStub)
        pages = self._control.pages(stub.list_identities, ListIdentitiesRequest())
        return [one async for page in pages for one in page.identities]

    async def create_datastore(
        self, path: str, *, copies: int = 0, quota_bytes: int = 0, owner: str = ""
    ) -> Datastore:
        """Make a datastore with a policy; admins only.

        Args:
            path: a top-level path.
            copies: of each chunk; 0 for the coordinator's setting.
            quota_bytes: bytes of files that fit; 0 for no limit.
            owner: a global id; empty for the member.
        """
        request = CreateDatastoreRequest(
            path=str(FilePath.parse(path)), copies=copies, quota_bytes=quota_bytes, owner=owner
        )
        return await self._control.call(
            self._channel.stub(DatastoresStub).create_datastore, request
        )

    async def datastores(self) -> Sequence[Datastore]:
        """Return the datastores that the caller may read."""
        stub = self._channel.stub(DatastoresStub)
        pages = self._control.pages(stub.list_datastores, ListDatastoresRequest())
        return [one async for page in pages for one in page.datastores]

    async def set_datastore(
        self,
        path: str,
        *,
        copies: int | None = None,
        quota_bytes: int | None = None,
        owner: str | None = None,
    ) -> Datastore:
        """Change a datastore's policy; None leaves as it is.  Copies count for new writes."""
        request = SetDatastoreRequest(
            path=str(FilePath.parse(path)), copies=copies, quota_bytes=quota_bytes, owner=owner
        )
        return await self._control.call(self._channel.stub(DatastoresStub).set_datastore, request)

    async def audit(self, *, since_ms: int = 0) -> AsyncIterator[AuditRecord]:
        """Yield audit records since ``since_ms`` (Unix), the oldest first; admins only."""
        stub = self._channel.stub(AuditStub)
        seen: list[AuditRecord] = []
        while True:
            request = ListAuditRequest(since_ms=since_ms, limit=AUDIT_PAGE)
            records = (await self._control.call(stub.list_audit, request)).records
            fresh = [record for record in records if record not in seen]
            for record in fresh:
                yield record
            if not fresh:
                return
            since_ms = records[-1].at_ms
            seen = [record for record in records if record.at_ms == since_ms]
