"""The datastores of a member: top-level paths with an owner and a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from collective.catalog.interface import Datastores
from collective.core.errors import UsageError
from collective.core.ids import Domain, SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.datastores import Datastore

MEMBER: Final = "member"


class MemberDatastores:
    """Makes, lists and changes datastores; who may is the catalogue's decision."""

    def __init__(self, domain: Domain, datastores: Datastores) -> None:
        """Serve the member of ``domain``, who owns what has no other owner."""
        self._domain = domain
        self._datastores = datastores

    async def create(
        self, call: Call, path: FilePath, *, copies: int, quota_bytes: int, owner: str
    ) -> Datastore:
        """Make a datastore with a policy; admins only.

        Args:
            call: whose.
            path: a top-level path.
            copies: of each chunk; 0 for the coordinator's setting.
            quota_bytes: bytes of files that fit; 0 for no limit.
            owner: a global id or SPIFFE id; empty for the member.
        """
        named = self._owner(owner)
        return await self._datastores.create(
            call,
            path,
            copies=copies,
            quota_bytes=quota_bytes,
            owner=None if named == MEMBER else named,
        )

    async def list(self, call: Call, *, after: FilePath) -> Sequence[Datastore]:
        """Return the datastores beyond ``after`` that the caller may read, in order of path."""
        return [one for one in await self._datastores.list(call) if one.path > after]

    async def set(
        self,
        call: Call,
        path: FilePath,
        *,
        copies: int | None,
        quota_bytes: int | None,
        owner: str | None,
    ) -> Datastore:
        """Change a policy; admins only.  None leaves as it is; ``owner`` is as for :meth:`create`."""
        return await self._datastores.set(
            call,
            path,
            copies=copies,
            quota_bytes=quota_bytes,
            owner=None if owner is None else self._owner(owner),
        )

    def _owner(self, text: str) -> SpiffeId | Literal["member"]:
        """Return the owner named by global id or SPIFFE id; the member for nothing or itself."""
        if text in {"", MEMBER, str(SpiffeId.coordinator(self._domain))}:
            return MEMBER
        owner = SpiffeId.named(text, self._domain)
        if owner.role != "user" or owner.trust_domain != self._domain:
            raise UsageError("A datastore's owner is a user here, by name@domain, or the member.")
        return owner
