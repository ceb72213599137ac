"""The unattended node code, kept usable: there is always one in its file, and it pins the CA that signs."""

from __future__ import annotations

from typing import Final

from collective.core.work import Periodic, Worker
from collective.member.people.invites import InviteIssuer
from collective.member.trust.own_certificates import OwnCertificates
from collective.model.calls import Call

CODE_CHECK_S: Final = 600.0


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

    async def ensure(self) -> None:
        """Make one if there is none that can be used."""
        await self._invites.ensure_node_code(
            Call.own(self._own.domain), uses=self._uses, validity_s=self._validity_s
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
