"""Grants, invites and identities of the own member, and grants at other members."""

from __future__ import annotations

from collections.abc import Sequence

from collective.client.owners import Owner, Owners
from collective.core.ids import parse_domain
from collective.core.paths import FilePath
from collective.model.grants import Grant
from collective.model.rights import Right
from collective.rpc.remote.people import RemotePeople


class People(RemotePeople):
    """The people of the own member; a grant is made, listed and removed where its path is."""

    def __init__(self, owners: Owners) -> None:
        """Reach members by ``owners``."""
        home = owners.home.connection
        super().__init__(home.control, home.channel.stub(self.SERVICE))
        self._owners = owners

    async def add_grant(
        self, path: FilePath, rights: Right, principal: str, *, expires_ms: int = 0
    ) -> Grant:
        """Give ``principal`` rights on ``path``; see :meth:`RemotePeople.add_grant`."""
        owner = await self._owners.of(path)
        if owner.names.paths is None:
            return await super().add_grant(path, rights, principal, expires_ms=expires_ms)
        added = await owner.connection.people.add_grant(
            owner.there(path), rights, principal, expires_ms=expires_ms
        )
        return owner.names.paths.grant_here(added)

    async def grants(self, *, domain: str = "") -> Sequence[Grant]:
        """Return the caller's grants, of those at the member of ``domain``; empty: at the own one."""
        owner = await self._at(domain)
        if owner.names.paths is None:
            return await super().grants(domain=domain)
        found = await owner.connection.people.grants()
        return [owner.names.paths.grant_here(one) for one in found]

    async def remove_grant(self, grant_id: str) -> None:
        """Take a grant back; the id of one at another member ends in ``@DOMAIN``."""
        at_owner, _, domain = grant_id.partition("@")
        owner = await self._at(domain)
        if owner.names.paths is None:
            await super().remove_grant(grant_id)
        else:
            await owner.connection.people.remove_grant(at_owner)

    async def _at(self, domain: str) -> Owner:
        return await self._owners.at(parse_domain(domain)) if domain else self._owners.home
