"""The people of a member: who may do what, how they come in, and who is here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.catalog.interface import Catalog
from collective.core.clock import Clock
from collective.core.errors import UsageError
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.member.people.invites import InviteIssuer
from collective.member.people.node_code import NodeCode
from collective.member.people.receivers import PeerDomains, receiver_of
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.pages import Page
from collective.model.people import (
    IdentityRecord,
    Invite,
    InviteKind,
    InviteStatus,
    MadeInvite,
)
from collective.model.rights import GrantTerms, Right
from collective.pki.invite_code import InviteCode

VALIDITY_DEFAULT_S: Final = 86400.0
DEVICE_VALIDITY_S: Final = 900.0
DEVICE_VALIDITY_MAX_S: Final = 86400.0
GRANTS_MAX: Final = 64


class MemberPeople:
    """Gives and ends grants, makes and ends codes, and lists who joined."""

    def __init__(
        self,
        domain: Domain,
        catalog: Catalog,
        invites: InviteIssuer,
        node_code: NodeCode,
        peers: PeerDomains,
        clock: Clock,
    ) -> None:
        """Serve the member of ``domain``; codes are made by ``invites``."""
        self._peers = peers
        self._domain = domain
        self._catalog = catalog
        self._invites = invites
        self._node_code = node_code
        self._clock = clock

    # --- grants ----------------------------------------------------------------------------------

    async def add_grant(
        self, call: Call, path: FilePath, rights: Right, who: str, expires_s: float | None
    ) -> Grant:
        """Give rights on a path to a user or a whole member (:mod:`~.receivers`)."""
        receiver = receiver_of(who, self._domain, self._peers)
        return await self._catalog.grants.add(call, path, rights, receiver, expires_s)

    async def grants(self, call: Call, *, token: str = "") -> Page[Grant]:
        """Return a page of the caller's grants and what came from them; of all for an admin."""
        return await self._catalog.grants.list(call, token=token)

    async def remove_grant(self, call: Call, grant_id: str) -> None:
        """End a grant."""
        await self._catalog.grants.remove(call, grant_id)

    # --- invites ---------------------------------------------------------------------------------

    async def invite(
        self,
        call: Call,
        kind: InviteKind,
        *,
        grants: Sequence[GrantTerms] = (),
        uses: int = 0,
        validity_s: float = 0.0,
        description: str = "",
    ) -> MadeInvite:
        """Make a code for users, or (an admin only) for nodes; 0 stands for what is usual.

        A node code for one use approves the node that comes with it; any other one takes the place of
        the unattended code in its file.
        """
        if kind is InviteKind.NODE:
            if grants:
                raise UsageError("A node gets no grants; leave --grant out.")
            await self._catalog.identities.require_admin(call, "make an invite for a node")
            if uses != 1:
                record, code = await self._node_code.renew(
                    call, uses=uses, validity_s=validity_s, description=description
                )
                return self._made(record, code)
        elif kind is InviteKind.USER:
            if not grants:
                raise UsageError(
                    "An invite for a user needs at least one grant, like --grant /shared:read+write."
                )
            if len(grants) > GRANTS_MAX:
                raise UsageError(
                    f"An invite may give at most {GRANTS_MAX} grants; make two invites."
                )
        else:
            raise UsageError("An invite is for a user or for a node; choose one of them.")
        record, code = await self._invites.create(
            call,
            kind,
            uses=uses or 1,
            validity_s=validity_s or VALIDITY_DEFAULT_S,
            description=description,
            grants=grants,
            approves=kind is InviteKind.NODE,
        )
        return self._made(record, code)

    async def add_device(self, call: Call, *, validity_s: float = 0.0) -> MadeInvite:
        """Make a code, good once, by which the caller's identity joins from a further machine."""
        if call.principal.role != "user":
            raise UsageError(
                "The operator has no devices; issue certificates by 'collective pki issue'."
            )
        validity_s = validity_s or DEVICE_VALIDITY_S
        if not 0 < validity_s <= DEVICE_VALIDITY_MAX_S:
            raise UsageError("A device code may be valid for at most 24 hours.")
        record, code = await self._invites.create(
            call,
            InviteKind.DEVICE,
            uses=1,
            validity_s=validity_s,
            description="a further device",
            bound=call.principal,
        )
        return self._made(record, code)

    async def invites(self, call: Call, *, only_open: bool, token: str = "") -> Page[InviteStatus]:
        """Return a page of the caller's codes (an admin: all), newest first."""
        found = await self._catalog.codes.list(call, only_open=only_open, token=token)
        now_s = self._clock.wall_s()
        page = Page(InviteStatus.of(one, now_s) for one in found)
        page.next_token = found.next_token
        return page

    async def revoke_invite(self, call: Call, code_id: str) -> InviteStatus:
        """Make a code unusable from now on; ConflictError if it is already."""
        ended = await self._catalog.codes.revoke(call, code_id)
        return InviteStatus.of(ended, self._clock.wall_s())

    def _made(self, record: Invite, code: InviteCode) -> MadeInvite:
        return MadeInvite(code.encode(), code.url(), InviteStatus.of(record, self._clock.wall_s()))

    # --- identities ------------------------------------------------------------------------------

    async def identities(self, call: Call, *, token: str = "") -> Page[IdentityRecord]:
        """Return a page of who joined: all to an admin, the caller alone to anybody else."""
        return await self._catalog.identities.list(call, token=token)
