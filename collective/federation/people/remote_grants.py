"""A peer's grants, each method one call to its coordinator in the name of who makes it."""

from __future__ import annotations

from collective.core.paths import FilePath
from collective.federation.links.forwarding import Forwarding
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.pages import Page
from collective.model.rights import Right
from collective.rpc.remote.people import RemotePeople


class RemoteGrants:
    """The grants of one peer; ids and paths are those by which they are called here."""

    def __init__(self, forwarding: Forwarding) -> None:
        """Ask by ``forwarding``."""
        self._forwarding = forwarding

    async def add_grant(
        self, call: Call, path: FilePath, rights: Right, who: str, expires_s: float | None
    ) -> Grant:
        """Give rights on a path of the peer's."""
        to = self._forwarding
        async with to.to_owner(call) as (channel, control):
            added = await RemotePeople.over(channel, control).add_grant(
                to.paths.at_owner(path),
                rights,
                who,
                expires_ms=0 if expires_s is None else round(expires_s * 1000),
            )
        return to.paths.grant_here(added)

    async def grants(self, call: Call, *, token: str = "") -> Page[Grant]:
        """Return a page of the caller's grants there, and of what came from them."""
        async with self._forwarding.to_owner(call) as (channel, control):
            found = await RemotePeople.over(channel, control).grants_page(token)
        page = Page(self._forwarding.paths.grant_here(one) for one in found)
        page.next_token = found.next_token
        return page

    async def remove_grant(self, call: Call, grant_id: str) -> None:
        """End a grant there."""
        async with self._forwarding.to_owner(call) as (channel, control):
            await RemotePeople.over(channel, control).remove_grant(grant_id)
