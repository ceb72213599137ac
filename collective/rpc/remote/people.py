"""The people of a member, as its coordinator serves them: grants, invites and identities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from collective.core.errors import NotFoundError, UsageError
from collective.core.paths import FilePath
from collective.model.grants import Grant
from collective.model.pages import Page
from collective.model.people import IdentityRecord, InviteKind, InviteStatus, MadeInvite
from collective.model.rights import GrantTerms, Right
from collective.pki import invite_code
from collective.rpc.conversions.grants import grant_from
from collective.rpc.conversions.people import (
    identity_from,
    invite_from,
    kind_message,
    made_from,
)
from collective.rpc.conversions.rights import right_messages, terms_message
from collective.rpc.gen.collective.v1.people import (
    AddDeviceRequest,
    AddGrantRequest,
    GenerateInviteRequest,
    ListGrantsRequest,
    ListIdentitiesRequest,
    ListInvitesRequest,
    PeopleStub,
    RemoveGrantRequest,
    RevokeInviteRequest,
)
from collective.rpc.links import Channel
from collective.rpc.remote.answers import taken
from collective.rpc.remote.connection import Control


class RemotePeople:
    """Who may do what, how people come in, and who is here; the coordinator decides who may ask."""

    def __init__(self, control: Control, people: PeopleStub) -> None:
        """Call ``people`` with the deadlines of ``control``."""
        self._control = control
        self._people = people

    @classmethod
    def over(cls, channel: Channel, control: Control) -> Self:
        """Return what calls over ``channel``."""
        return cls(control, channel.stub(PeopleStub))

    # --- grants ----------------------------------------------------------------------------------

    async def add_grant(
        self, path: FilePath, rights: Right, principal: str, *, expires_ms: int = 0
    ) -> Grant:
        """Give ``principal`` (global id or SPIFFE id) rights on ``path``.

        ``expires_ms``: Unix milliseconds; 0 for never.
        """
        request = AddGrantRequest(
            path=str(path),
            rights=right_messages(rights),
            principal=principal,
            expires_ms=expires_ms,
        )
        return taken(grant_from, await self._control.call(self._people.add_grant, request))

    async def grants(self, *, domain: str = "") -> Sequence[Grant]:
        """Return the caller's grants and what came from them; all of them to an admin.

        ``domain``: of the peer whose grants are asked for; empty: of the member itself.
        """
        pages = self._control.pages(self._people.list_grants, ListGrantsRequest(domain=domain))
        return [taken(grant_from, one) async for page in pages for one in page.grants]

    async def grants_page(self, token: str) -> Page[Grant]:
        """Return one page of these."""
        request = ListGrantsRequest(page_token=token)
        answer = await self._control.call(self._people.list_grants, request)
        page = Page(taken(grant_from, one) for one in answer.grants)
        page.next_token = answer.next_page_token
        return page

    async def remove_grant(self, grant_id: str) -> None:
        """Take a grant back."""
        await self._control.call(self._people.remove_grant, RemoveGrantRequest(id=grant_id))

    # --- invites ---------------------------------------------------------------------------------

    async def invite(
        self,
        *,
        kind: InviteKind = InviteKind.USER,
        grants: Sequence[GrantTerms] = (),
        max_uses: int = 0,
        validity_s: float = 0.0,
        description: str = "",
    ) -> MadeInvite:
        """Return a new invite with its code, which is never shown again.

        Args:
            kind: for whom it is.
            grants: what whoever redeems it may do; no more than the caller may share.
            max_uses: 0 for the coordinator's default (1 for a user).
            validity_s: how long it may be redeemed; 0 for the default (24 hours for a user).
            description: for people.
        """
        request = GenerateInviteRequest(
            kind=kind_message(kind),
            grants=[terms_message(one) for one in grants],
            max_uses=max_uses,
            validity_s=validity_s,
            description=description,
        )
        return taken(made_from, await self._control.call(self._people.generate_invite, request))

    async def add_device(self, *, validity_s: float = 0.0) -> MadeInvite:
        """Return a code, good once, by which a further machine joins as the caller's identity.

        Args:
            validity_s: how long it may be redeemed; 0 for the coordinator's 15 minutes.
        """
        request = AddDeviceRequest(validity_s=validity_s)
        return taken(made_from, await self._control.call(self._people.add_device, request))

    async def invites(self, *, all_states: bool = False) -> Sequence[InviteStatus]:
        """Return the invites that the caller may see: open ones, or ``all_states``."""
        pages = self._control.pages(self._people.list_invites, ListInvitesRequest(all=all_states))
        return [taken(invite_from, one) async for page in pages for one in page.invites]

    async def revoke_invite(self, code_or_id: str) -> InviteStatus:
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
        answer = await self._control.call(self._people.revoke_invite, request)
        return taken(invite_from, answer.invite)

    # --- identities ------------------------------------------------------------------------------

    async def identities(self) -> Sequence[IdentityRecord]:
        """Return who joined: all to an admin, the caller alone to anybody else."""
        pages = self._control.pages(self._people.list_identities, ListIdentitiesRequest())
        return [taken(identity_from, one) async for page in pages for one in page.identities]
