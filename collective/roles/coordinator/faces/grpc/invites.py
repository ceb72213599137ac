"""The Invites service: codes made, listed and revoked; nobody passes on more than he has.

The secret of a code is in the answer to its making, and nowhere else afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.catalog.interface import Catalog
from collective.core.clock import Clock
from collective.core.errors import CollectiveError, UsageError
from collective.member.people.invites import InviteIssuer
from collective.model.calls import Call
from collective.model.people import Invite, InviteKind
from collective.model.rights import GrantTerms
from collective.pki import invite_code
from collective.pki.invite_code import InviteCode
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.rights import terms_from, terms_message
from collective.rpc.gen.collective import v1 as common_pb
from collective.rpc.gen.collective.v1 import people as pb

VALIDITY_DEFAULT_S: Final = 86400.0
GRANTS_MAX: Final = 64
_KINDS: Final = {
    InviteKind.USER: pb.InviteKind.USER,
    InviteKind.NODE: pb.InviteKind.NODE,
    InviteKind.PEER: pb.InviteKind.PEER,
    InviteKind.DEVICE: pb.InviteKind.DEVICE,
}


class InvitesService(pb.InvitesBase):
    """Adapts invites to the codes."""

    def __init__(
        self,
        catalog: Catalog,
        codes: InviteIssuer,
        calls: Admission,
        clock: Clock,
        *,
        node_uses: int,
        node_validity_s: float,
    ) -> None:
        """Make codes by ``codes``; nodes' have ``node_uses`` and ``node_validity_s`` by default."""
        self._catalog = catalog
        self._codes = codes
        self._calls = calls
        self._clock = clock
        self._node_uses = node_uses
        self._node_validity_s = node_validity_s

    async def generate_invite(self, message: pb.GenerateInviteRequest) -> pb.GenerateInviteResponse:
        """Make a code, for a user or (an admin only) the unattended one for nodes."""
        async with self._calls.call("invite", "") as caller:
            if message.kind == pb.InviteKind.NODE:
                if message.grants:
                    raise UsageError("A node gets no grants; leave --grant out.")
                await self._catalog.require_admin(caller, "make an invite for a node")
                record, code = await self._node_code(caller, message)
            elif message.kind == pb.InviteKind.USER:
                record, code = await self._codes.create(
                    caller,
                    InviteKind.USER,
                    uses=message.max_uses or 1,
                    validity_s=message.validity_s or VALIDITY_DEFAULT_S,
                    description=message.description,
                    grants=_grants_from(message.grants),
                )
            else:
                raise UsageError("An invite is for a user or for a node; choose one of them.")
            return generated(record, code, self._clock.wall_s())

    async def _node_code(
        self, caller: Call, message: pb.GenerateInviteRequest
    ) -> tuple[Invite, InviteCode]:
        """Return a code for one node, which it approves, or the one for all in its file, made anew."""
        if message.max_uses == 1:
            return await self._codes.create(
                caller,
                InviteKind.NODE,
                uses=1,
                validity_s=message.validity_s or VALIDITY_DEFAULT_S,
                description=message.description,
                approves=True,
            )
        return await self._codes.rotate_node_code(
            caller,
            uses=message.max_uses or self._node_uses,
            validity_s=message.validity_s or self._node_validity_s,
            description=message.description,
        )

    async def list_invites(self, message: pb.ListInvitesRequest) -> pb.ListInvitesResponse:
        """Return a page of the caller's codes (an admin: all), newest first."""
        async with self._calls.call("list_invites", "") as caller:
            page = await self._catalog.invites(
                caller, only_open=not message.all, token=message.page_token
            )
            now_s = self._clock.wall_s()
            return pb.ListInvitesResponse(
                invites=[invite_message(record, now_s) for record in page],
                next_page_token=page.next_token,
            )

    async def revoke_invite(self, message: pb.RevokeInviteRequest) -> pb.RevokeInviteResponse:
        """Make a code unusable; of a whole code only the id is looked at."""
        async with self._calls.call("revoke_invite", "") as caller:
            record = await self._catalog.revoke_code(caller, _code_id(message.code_or_id))
            return pb.RevokeInviteResponse(invite=invite_message(record, self._clock.wall_s()))


def generated(record: Invite, code: InviteCode, now_s: float) -> pb.GenerateInviteResponse:
    """Return a code just made for the wire: the only time that its secret is shown."""
    return pb.GenerateInviteResponse(
        code=code.encode(), join_url=code.url(), invite=invite_message(record, now_s)
    )


def invite_message(record: Invite, now_s: float) -> pb.Invite:
    """Return a code without its secret for the wire."""
    return pb.Invite(
        id=record.id,
        kind=_KINDS[record.kind],
        grants=[terms_message(one) for one in record.grants],
        max_uses=record.uses_total,
        uses_left=record.uses_left,
        created_ms=int(record.created_s * 1000),
        expires_ms=int(record.expires_s * 1000),
        created_by=str(record.created_by),
        description=record.description,
        state=record.state(now_s),
        redemptions=[
            pb.InviteRedemption(identity=str(use.identity), at_ms=use.at_ms) for use in record.uses
        ],
    )


def _grants_from(messages: Sequence[common_pb.GrantTerms]) -> list[GrantTerms]:
    if not messages:
        raise UsageError(
            "An invite for a user needs at least one grant, like --grant /shared:read+write."
        )
    if len(messages) > GRANTS_MAX:
        raise UsageError(f"An invite may give at most {GRANTS_MAX} grants; make two invites.")
    return [terms_from(one) for one in messages]


def _code_id(text: str) -> str:
    if len(text) > invite_code.TEXT_MAX:
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
