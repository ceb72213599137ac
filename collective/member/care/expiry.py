"""What ends by itself as time passes: leases, uploads, invites, grants, ticket keys."""

from __future__ import annotations

from typing import Final

from collective.catalog.interface import Upkeep
from collective.core.work import Periodic, Worker
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.trust.revocations import Revocations
from collective.transfer.tickets.key_ring import KeyRing

EXPIRE_S: Final = 30.0


class Expiry:
    """Ends what is over, and takes up what that changed."""

    def __init__(
        self,
        upkeep: Upkeep,
        nodes: LiveNodes,
        keys: KeyRing,
        revocations: Revocations,
        *,
        copies: int,
    ) -> None:
        """End by ``upkeep`` what is over in the catalogue.

        Where full disks are why no file of ``copies`` finds a quorum, uploads end that stand still: what they have
        sent has the room.
        """
        self._copies = copies
        self._upkeep = upkeep
        self._nodes = nodes
        self._keys = keys
        self._revocations = revocations

    def worker(self) -> Worker:
        """Return the worker that looks."""
        return Periodic("expiry", EXPIRE_S, self.look)

    async def look(self) -> None:
        """Look once."""
        self._keys.rotate_own()
        await self._upkeep.expire(makes_room=self._nodes.is_short_of_room(self._copies))
        await self._revocations.refresh()
        await self._nodes.reload()
