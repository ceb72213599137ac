"""Replacing the member's CA while everything runs: begin, who is still to follow, finish.

Overlap: both CAs count, servers still show leaves of the old one, users' renewals are of the new
one, and nodes hear of it by heartbeat, and say by the next which CAs they trust: only that shows that the
answer arrived, and no clock.  Finish: the new CA signs everything and the old key is
destroyed; nodes and bootstraps renew at once; when all have, only the new one counts.  Force shuts out
those who had not followed when it was given, and waits for the others for a bounded time.
Who has followed is noted (:mod:`collective.member.trust.followers`).  Each step stands in the audit, written
before the step: a crash between leaves a row too many, never one too few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from collective.catalog.interface import Catalog
from collective.core.errors import ConflictError
from collective.core.ids import SpiffeId, shown_principal
from collective.core.work import Periodic, Worker
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.trust.followers import Followers
from collective.member.trust.own_certificates import OwnCertificates
from collective.member.trust.revocations import Revocations
from collective.model.calls import Call
from collective.model.trust import Phase, RotationProgress
from collective.pki import certificates, rotation

NAMES_SHOWN: Final = 5
AUDIT_NAMES_MAX: Final = 50
CLOSING_INTERVALS: Final = 5
"""Heartbeat intervals that the closing phase lasts at least, for bootstraps to follow."""
FORCED_INTERVALS_MOST: Final = 30
"""Heartbeat intervals after which a forced closing phase waits for nobody any more."""


class Rotation:
    """The replacement of one member's CA."""

    def __init__(
        self,
        own: OwnCertificates,
        catalog: Catalog,
        table: LiveNodes,
        revocations: Revocations,
        followers: Followers,
        *,
        interval_s: float,
    ) -> None:
        """Rotate the CAs of ``own``; nodes beat every ``interval_s`` seconds."""
        self._own = own
        self._catalog = catalog
        self._table = table
        self._revocations = revocations
        self._followers = followers
        self._clock = own.clock
        self._interval_s = interval_s
        self._closing_since_s = own.clock.monotonic_s()
        self._turn = asyncio.Lock()

    def worker(self) -> Worker:
        """Return the worker that ends the closing phase once everybody has followed."""
        return Periodic("CA rotation", self._interval_s, self.look, sleeps_first=True)

    async def look(self) -> None:
        """End the closing phase if it is time."""
        async with self._turn:
            if self._own.authorities.phase is not Phase.CLOSING:
                return
            age_s = self._clock.monotonic_s() - self._closing_since_s
            if age_s < CLOSING_INTERVALS * self._interval_s:
                return
            waiting = await self._waiting()
            is_forced = self._followers.is_forced
            if not waiting or (is_forced and age_s > FORCED_INTERVALS_MOST * self._interval_s):
                await self._close(waiting)

    async def begin(self, actor: Call) -> RotationProgress:
        """Make the successor; ConflictError, saying how far it is, while a rotation is under way."""
        async with self._turn:
            if self._own.authorities.phase is not Phase.NONE:
                raise ConflictError(await self._under_way())
            await self._note(actor, "begin", "this CA is to be replaced")
            await self._followers.begin()
            await self._own.rotate(rotation.begin)
        return await self.progress()

    async def finish(self, actor: Call, *, force: bool) -> RotationProgress:
        """Go on towards the end of the old CA; harmless to repeat.

        Raises:
            ConflictError: no rotation was begun, or some would be shut out and ``force`` is not set.
        """
        async with self._turn:
            match self._own.authorities.phase:
                case Phase.NONE if not self._followers.begun_ms:
                    raise ConflictError(
                        "No CA is being replaced; begin with: collective pki rotate-ca"
                    )
                case Phase.OVERLAP:
                    waiting = await self._waiting()
                    if waiting and not force:
                        raise ConflictError(self._wait_sentence(waiting))
                    newest = self._own.authorities.newest.digest.hex()
                    detail = f"{newest} signs from now on{_forced_text(waiting)}"
                    await self._note(actor, "finish", detail)
                    self._closing_since_s = self._clock.monotonic_s()
                    await self._followers.switch(waiting, is_forced=force)
                    await self._own.rotate(rotation.switch)
                case Phase.CLOSING if force and (waiting := await self._waiting()):
                    detail = f"waits for nobody{_forced_text(waiting)}"
                    await self._note(actor, "force", detail)
                    await self._followers.force(waiting)
                case _:
                    pass
        return await self.progress()

    async def progress(self) -> RotationProgress:
        """Tell how far it is."""
        known = self._own.authorities
        waiting = [] if known.phase is Phase.NONE else await self._waiting()
        return RotationProgress(
            known.phase,
            waiting,
            certificates.certificate_der(known.newest.certificate),
            self._followers.begun_ms,
        )

    async def warnings(self) -> list[str]:
        """Return what the operator should know, one sentence each."""
        phase = self._own.authorities.phase
        if phase is Phase.NONE:
            return []
        now = await self.progress()
        if now.waiting:
            return [f"The CA is being replaced. {self._wait_sentence(now.waiting)}"]
        if phase is Phase.OVERLAP:
            return ["The CA is being replaced; finish it with: collective pki rotate-ca --finish"]
        return ["The CA is being replaced; the old one ends in a moment."]

    async def _waiting(self) -> list[str]:
        known = self._own.authorities
        revoked = self._revocations.present
        waiting = set()
        holders = {str(one) for one in await self._catalog.certificates.holders()}
        if known.phase is Phase.OVERLAP:
            waiting |= {who for who in holders if SpiffeId.parse(who).role == "user"}
            waiting |= set(self._followers.seen_old)
            waiting -= set(self._followers.followed)
            for live in self._table.all():
                if known.newest.digest not in live.trusted_digests:
                    waiting.add(str(self._table.identity(live.record.node)))
        else:
            waiting |= {who for who in holders if SpiffeId.parse(who).role == "bootstrap"}
            waiting -= set(self._followers.followed)
            for live in self._table.all():
                if live.authority_digest != known.signing.digest:
                    waiting.add(str(self._table.identity(live.record.node)))
            waiting -= set(self._followers.left_behind)
        return sorted(who for who in waiting if who not in revoked.entries)

    async def _under_way(self) -> str:
        known = self._own.authorities
        waiting = await self._waiting()
        if waiting:
            then = self._wait_sentence(waiting)
        elif known.phase is Phase.OVERLAP:
            then = "Everybody has followed; end the old CA with: collective pki rotate-ca --finish"
        else:
            then = "The old CA ends in a moment; look with: collective pki rotate-ca --status"
        return f"The CA is being replaced already (phase: {known.phase.value}). {then}"

    async def _note(self, actor: Call, step: str, detail: str) -> None:
        """Write the step into the audit; its target is the CA that goes."""
        known = self._own.authorities
        keys = [certificates.certificate_key(one) for one in known.trusted]
        digests = [certificates.key_digest(key) for key in keys]
        newest = known.newest.digest
        goes = next((one for one in digests if one != newest), known.signing.digest)
        await self._catalog.audit.note_change(actor, f"rotate-ca-{step}", goes.hex(), detail)

    def _wait_sentence(self, waiting: Sequence[str]) -> str:
        shown = ", ".join(shown_principal(one) for one in waiting[:NAMES_SHOWN])
        more = f" and {len(waiting) - NAMES_SHOWN} more" if len(waiting) > NAMES_SHOWN else ""
        return (
            f"{len(waiting)} have no certificate of the new CA yet ({shown}{more}); each renews by "
            "itself when it runs or is used, or shut them out with: collective pki rotate-ca "
            "--finish --force"
        )

    async def _close(self, shut_out: Sequence[str]) -> None:
        own = Call.own(self._own.authority.domain)
        newest = self._own.authority.digest.hex()
        detail = f"this CA counts no longer, only {newest}{_forced_text(shut_out)}"
        await self._note(own, "end", detail)
        await self._own.rotate(rotation.close)
        await self._followers.close()


def _forced_text(waiting: Sequence[str]) -> str:
    """Return the end of an audit row: who is shut out, as far as there is room."""
    if not waiting:
        return ""
    shown = ", ".join(shown_principal(one) for one in waiting[:AUDIT_NAMES_MAX])
    more = len(waiting) - AUDIT_NAMES_MAX
    rest = f" and {more} more" if more > 0 else ""
    return f"; forced, although {len(waiting)} had not followed: {shown}{rest}"
