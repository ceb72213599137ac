"""Who has a certificate of the newest CA, while one CA takes another's place; on disk, too.

Joins and renewals tell who has one now, calls who still shows an older one.  The notes lie in the
coordinator's cert dir, so that a restart forgets nothing; where they are lost, everybody is waited for
again.  Refuses to decide: who is waited for, and until when, is the rotation's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any, Final

import structlog

from collective.core.errors import CollectiveError
from collective.core.ids import SpiffeId
from collective.core.small_files import read_small, write_atomically
from collective.core.world import World
from collective.member.trust.own_certificates import Issuer
from collective.model.trust import Phase

_FORMAT: Final = 1


class Followers:
    """The notes of one rotation."""

    def __init__(self, own: Issuer, path: str, world: World) -> None:
        """Keep the notes on the rotation of the CAs of ``own`` at ``path``."""
        self._own = own
        self._path = path
        self._clock = world.clock
        self._disk = world.disk
        self._threads = world.threads
        self.begun_ms = 0
        """When the rotation began; 0 where none did since this process began."""
        self.is_forced = False
        """Whether the end of the old CA waits for nobody who is left behind."""
        self._followed: set[str] = set()
        self._seen_old: set[str] = set()
        self._left_behind: set[str] = set()
        self._writing = asyncio.Lock()
        self._log = structlog.get_logger("coordinator.rotation")

    @property
    def followed(self) -> Collection[str]:
        """SPIFFE ids that have a certificate of the newest CA."""
        return self._followed

    @property
    def seen_old(self) -> Collection[str]:
        """Those of users who were here with an older one since."""
        return self._seen_old

    @property
    def left_behind(self) -> Collection[str]:
        """Those that the operator shuts out, since they had not followed."""
        return self._left_behind

    async def load(self) -> None:
        """Take up what a former process noted."""
        if self._own.authorities.phase is not Phase.NONE:
            await self._threads.run(self._read)

    async def begin(self) -> None:
        """Note that a rotation begins now: nobody has followed."""
        self.begun_ms = int(self._clock.wall_s() * 1000)
        self._followed, self._seen_old, self._left_behind = set(), set(), set()
        self.is_forced = False
        await self._write()

    async def switch(self, left_behind: Collection[str], *, is_forced: bool) -> None:
        """Note that the new CA signs all from now on, and who is shut out by that."""
        self._followed, self._left_behind = set(), set(left_behind)
        self.is_forced = is_forced
        await self._write()

    async def force(self, left_behind: Collection[str]) -> None:
        """Note that these are waited for no more."""
        self._left_behind |= set(left_behind)
        self.is_forced = True
        await self._write()

    async def close(self) -> None:
        """Note that the old CA has ended."""
        self._followed, self._left_behind = set(), set()
        await self._write()

    async def note(self, identity: SpiffeId) -> None:
        """Note that ``identity`` has a certificate of the newest CA now."""
        if self._own.authorities.phase is Phase.NONE or str(identity) in self._followed:
            return
        self._followed.add(str(identity))
        self._seen_old.discard(str(identity))
        await self._write()

    def see(self, identity: SpiffeId, authority_digest: bytes) -> None:
        """Note that a user was here with a certificate of the CA with that digest."""
        known = self._own.authorities
        if (
            known.phase is Phase.OVERLAP
            and identity.role == "user"
            and authority_digest != known.newest.digest
        ):
            self._seen_old.add(str(identity))

    def _read(self) -> None:
        try:
            fields: dict[str, Any] = json.loads(read_small(self._path, disk=self._disk))
            self.begun_ms = int(fields["begun_ms"])
            self._followed = {str(SpiffeId.parse(one)) for one in fields["followed"]}
            self.is_forced = bool(fields["forced"])
            left_behind = fields.get("left_behind", ())  # notes of an older program have none
            self._left_behind = {str(SpiffeId.parse(one)) for one in left_behind}
        except (ValueError, KeyError, TypeError, CollectiveError) as error:
            self._log.warning("rotation_notes_lost", why=str(error))
            self.begun_ms = int(self._clock.wall_s() * 1000)

    async def _write(self) -> None:
        """Write the notes as they are when it is their turn: many follow at the same moment."""
        async with self._writing:
            raw = json.dumps(
                {
                    "format": _FORMAT,
                    "begun_ms": self.begun_ms,
                    "followed": sorted(self._followed),
                    "forced": self.is_forced,
                    "left_behind": sorted(self._left_behind),
                },
                indent=1,
            ).encode()
            await self._threads.run(
                write_atomically, self._path, raw, permissions=0o600, disk=self._disk
            )
