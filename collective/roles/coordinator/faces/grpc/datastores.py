"""The Datastores service: top-level paths with owner and policy."""

from __future__ import annotations

from typing import Literal

from collective.catalog.interface import Datastores
from collective.core import limits
from collective.core.errors import UsageError
from collective.core.ids import Domain, SpiffeId
from collective.core.paths import FilePath
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.datastores import datastore_message
from collective.rpc.conversions.paths import local_path
from collective.rpc.gen.collective.v1 import datastores as pb


class DatastoresService(pb.DatastoresBase):
    """Adapts datastores to the catalogue."""

    def __init__(self, domain: Domain, datastores: Datastores, calls: Admission) -> None:
        """Serve the member of ``domain``, who owns what has no other owner."""
        self._domain = domain
        self._datastores = datastores
        self._calls = calls

    async def create_datastore(self, message: pb.CreateDatastoreRequest) -> pb.Datastore:
        """Make a datastore with a policy."""
        async with self._calls.call("create_datastore", message.path) as caller:
            owner = self._owner(message.owner)
            made = await self._datastores.create_datastore(
                caller,
                local_path(message.path),
                copies=message.copies,
                quota_bytes=message.quota_bytes,
                owner=None if owner == "member" else owner,
            )
            return datastore_message(made, self._domain)

    async def list_datastores(
        self,
        message: pb.ListDatastoresRequest,
    ) -> pb.ListDatastoresResponse:
        """Return a page of the datastores that the caller may read; its token is the last path."""
        async with self._calls.call("list_datastores", "") as caller:
            after = FilePath.parse(message.page_token) if message.page_token else FilePath()
            answer = pb.ListDatastoresResponse()
            size = 0
            for record in await self._datastores.datastores(caller):
                if record.path <= after:
                    continue
                one = datastore_message(record, self._domain)
                size += len(bytes(one)) + 8
                if answer.datastores and size > limits.ANSWER_MAX_BYTES:
                    answer.next_page_token = answer.datastores[-1].path
                    break
                answer.datastores.append(one)
            return answer

    async def set_datastore(self, message: pb.SetDatastoreRequest) -> pb.Datastore:
        """Change what the message names."""
        async with self._calls.call("set_datastore", message.path) as caller:
            changed = await self._datastores.set_datastore(
                caller,
                local_path(message.path),
                copies=message.copies,
                quota_bytes=message.quota_bytes,
                owner=None if message.owner is None else self._owner(message.owner),
            )
            return datastore_message(changed, self._domain)

    def _owner(self, text: str) -> SpiffeId | Literal["member"]:
        """Return the owner named by global id or SPIFFE id; the member for nothing or itself."""
        if text in {"", "member", str(SpiffeId.coordinator(self._domain))}:
            return "member"
        owner = SpiffeId.named(text, self._domain)
        if owner.role != "user" or owner.trust_domain != self._domain:
            raise UsageError("A datastore's owner is a user here, by name@domain, or the member.")
        return owner
