"""The unattended node code, kept usable: there is always one in its file, and it pins the CA that signs."""

from __future__ import annotations

from typing import Final

from collective.core.work import Periodic, Worker
from collective.member.people.invites import InviteIssuer
from collective.member.trust.own_certificates import OwnCertificates
from collective.model.calls import Call
from collective.model.people import Invite
from collective.pki.invite_code import InviteCode

CODE_CHECK_S: Final = 30.0


class NodeCode:
    """Makes another code where the present one cannot be used any more."""

    def __init__(
        self, own: OwnCertificates, invites: InviteIssuer, *, uses: int, validity_s: float
    ) -> None:
        """Let each code in ``uses`` times, for ``validity_s`` seconds."""
        self._own = own
        self._invites = invites
        self._uses = uses
        self._validity_s = validity_s

    def limit(self, *, uses: int, validity_s: float) -> None:
        """Let codes to come in ``uses`` times, for ``validity_s`` seconds."""
        self._uses = uses
        self._validity_s = validity_s

    async def ensure(self) -> None:
        """Make one if there is none that can be used."""
        await self._invites.ensure_node_code(
            Call.own(self._own.domain), uses=self._uses, validity_s=self._validity_s
        )

    async def renew(
        self, call: Call, *, uses: int, validity_s: float, description: str
    ) -> tuple[Invite, InviteCode]:
        """Make another one, in the place of the present one; 0 stands for what is usual."""
        return await self._invites.rotate_node_code(
            call,
            uses=uses or self._uses,
            validity_s=validity_s or self._validity_s,
            description=description,
        )

    def worker(self) -> Worker:
        """Return the worker that looks now and then, and whenever other CAs count."""
        return Periodic(
            "node join code",
            CODE_CHECK_S,
            self.ensure,
            wake=self._own.changed,
            sleeps_first=True,
        )
