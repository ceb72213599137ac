"""The datastores of a member, as its coordinator serves them."""

from __future__ import annotations

from collections.abc import Sequence

from collective.core.paths import FilePath
from collective.model.datastores import Datastore
from collective.rpc.conversions.datastores import datastore_from
from collective.rpc.gen.collective.v1.datastores import (
    CreateDatastoreRequest,
    DatastoresStub,
    ListDatastoresRequest,
    SetDatastoreRequest,
)
from collective.rpc.remote.answers import taken
from collective.rpc.remote.connection import Remote


class RemoteDatastores(Remote[DatastoresStub]):
    """Top-level paths with an owner and a policy; the coordinator decides who may ask."""

    SERVICE = DatastoresStub

    async def create(
        self, path: str, *, copies: int = 0, quota_bytes: int = 0, owner: str = ""
    ) -> Datastore:
        """Make a datastore with a policy; admins only.

        Args:
            path: a top-level path.
            copies: of each chunk; 0 for the coordinator's setting.
            quota_bytes: bytes of files that fit; 0 for no limit.
            owner: a global id; empty for the member.
        """
        request = CreateDatastoreRequest(
            path=str(FilePath.parse(path)), copies=copies, quota_bytes=quota_bytes, owner=owner
        )
        answer = await self._control.call(self._stub.create_datastore, request)
        return taken(datastore_from, answer)

    async def list(self) -> Sequence[Datastore]:
        """Return the datastores that the caller may read."""
        pages = self._control.pages(self._stub.list_datastores, ListDatastoresRequest())
        return [taken(datastore_from, one) async for page in pages for one in page.datastores]

    async def set(
        self,
        path: str,
        *,
        copies: int | None = None,
        quota_bytes: int | None = None,
        owner: str | None = None,
    ) -> Datastore:
        """Change a datastore's policy; None leaves as it is.  Copies count for new writes."""
        request = SetDatastoreRequest(
            path=str(FilePath.parse(path)), copies=copies, quota_bytes=quota_bytes, owner=owner
        )
        answer = await self._control.call(self._stub.set_datastore, request)
        return taken(datastore_from, answer)
