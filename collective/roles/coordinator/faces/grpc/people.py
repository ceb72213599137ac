"""The People service: grants, invites and identities."""

from __future__ import annotations

from collective.core.errors import CollectiveError, UsageError
from collective.core.ids import parse_domain
from collective.core.limits import JOIN_CODE_MAX_CHARS
from collective.core.paths import FilePath
from collective.member.people.grant_directory import GrantDirectory
from collective.member.people.member_people import MemberPeople
from collective.model.rights import GrantTerms
from collective.pki import invite_code
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.grants import grant_message
from collective.rpc.conversions.paths import local_path
from collective.rpc.conversions.people import (
    identity_message,
    invite_message,
    kind_from,
    made_message,
)
from collective.rpc.conversions.rights import rights_from, terms_from
from collective.rpc.gen.collective import v1 as common_pb
from collective.rpc.gen.collective.v1 import people as pb


class PeopleService(pb.PeopleBase):
    """Adapts the affairs of people."""

    def __init__(self, people: MemberPeople, grants: GrantDirectory, admission: Admission) -> None:
        """Serve by ``people``, and the grants that ``grants`` knows."""
        self._people = people
        self._grants = grants
        self._admission = admission

    async def add_grant(self, message: pb.AddGrantRequest) -> common_pb.Grant:
        """Give rights on a path to a user."""
        async with self._admission.call("add_grant", message.path) as call:
            if message.expires_ms < 0:
                raise UsageError("A grant cannot expire before 1970.")
            path = FilePath.parse(message.path)
            grant = await self._grants.of_path(call, path).add_grant(
                call,
                path,
                rights_from(message.rights),
                message.principal,
                message.expires_ms / 1000 if message.expires_ms else None,
            )
            return grant_message(grant)

    async def list_grants(self, message: pb.ListGrantsRequest) -> pb.ListGrantsResponse:
        """Return a page of the caller's grants; of all for an admin."""
        async with self._admission.call("list_grants", "") as call:
            domain = parse_domain(message.domain) if message.domain else None
            grants = self._grants.of_domain(call, domain)
            page = await grants.grants(call, token=message.page_token)
            return pb.ListGrantsResponse(
                grants=[grant_message(grant) for grant in page], next_page_token=page.next_token
            )

    async def remove_grant(self, message: pb.RemoveGrantRequest) -> pb.RemoveGrantResponse:
        """End a grant."""
        async with self._admission.call("remove_grant", message.id) as call:
            grants, grant_id = self._grants.of_id(call, message.id)
            await grants.remove_grant(call, grant_id)
            return pb.RemoveGrantResponse()

    async def generate_invite(self, message: pb.GenerateInviteRequest) -> pb.GenerateInviteResponse:
        """Make a code, for users or (an admin only) for nodes."""
        async with self._admission.call("invite", "") as call:
            made = await self._people.invite(
                call,
                kind_from(message.kind),
                grants=[_local(terms_from(one)) for one in message.grants],
                uses=message.max_uses,
                validity_s=message.validity_s,
                description=message.description,
            )
            return made_message(made)

    async def add_device(self, message: pb.AddDeviceRequest) -> pb.GenerateInviteResponse:
        """Make a code by which the caller's identity joins from a further machine."""
        async with self._admission.call("add_device", "") as call:
            return made_message(await self._people.add_device(call, validity_s=message.validity_s))

    async def list_invites(self, message: pb.ListInvitesRequest) -> pb.ListInvitesResponse:
        """Return a page of the caller's codes (an admin: all), newest first."""
        async with self._admission.call("list_invites", "") as call:
            page = await self._people.invites(
                call, only_open=not message.all, token=message.page_token
            )
            return pb.ListInvitesResponse(
                invites=[invite_message(one) for one in page], next_page_token=page.next_token
            )

    async def revoke_invite(self, message: pb.RevokeInviteRequest) -> pb.RevokeInviteResponse:
        """Make a code unusable; of a whole code only the id is looked at."""
        async with self._admission.call("revoke_invite", "") as call:
            ended = await self._people.revoke_invite(call, _code_id(message.code_or_id))
            return pb.RevokeInviteResponse(invite=invite_message(ended))

    async def list_identities(self, message: pb.ListIdentitiesRequest) -> pb.ListIdentitiesResponse:
        """Return a page of who joined: all to an admin, the caller alone to anybody else."""
        async with self._admission.call("list_identities", "") as call:
            page = await self._people.identities(call, token=message.page_token)
            return pb.ListIdentitiesResponse(
                identities=[identity_message(one) for one in page],
                next_page_token=page.next_token,
            )


def _local(terms: GrantTerms) -> GrantTerms:
    """Refuse what is another member's to give."""
    return terms._replace(path=local_path(str(terms.path)))


def _code_id(text: str) -> str:
    if len(text) > JOIN_CODE_MAX_CHARS:
        raise UsageError("This is too long to be an invite's id; see 'collective invite list'.")
    wanted = text.strip().lower()
    if invite_code.is_code_id(wanted):
        return wanted
    try:
        return invite_code.parse(text).code_id
    except CollectiveError as error:
        raise UsageError(
            "This is neither an invite's id nor its code; see 'collective invite list'."
        ) from error
