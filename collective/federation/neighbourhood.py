"""Other members as this member's status tells of them."""

from __future__ import annotations

from collections.abc import Sequence

from collective.federation.links.peer_links import PeerLinks
from collective.federation.peers.introductions import Introductions
from collective.model.nodes import NodeStatus
from collective.model.status import PeerStatus


class Neighbourhood:
    """The peers, and the folder by which members find each other."""

    def __init__(self, links: PeerLinks, introductions: Introductions | None) -> None:
        """Tell of the peers of ``links``, and of the folder where there is one."""
        self._links = links
        self._introductions = introductions

    async def statuses(self, *, for_admin: bool) -> Sequence[PeerStatus]:
        """Return how every peer that counts is, in order of domain; for admins with figures."""
        return self._links.statuses(await self._links.granted() if for_admin else None)

    def nodes(self) -> Sequence[NodeStatus]:
        """Return the nodes of peers, as each told of them last."""
        return self._links.nodes()

    async def warnings(self) -> Sequence[str]:
        """Return what the operator should know, one sentence each."""
        told = list(await self._links.warnings())
        if self._introductions is not None:
            told += self._introductions.warnings()
        return told
