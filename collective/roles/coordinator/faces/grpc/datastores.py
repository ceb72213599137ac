"""The Datastores service: top-level paths with owner and policy."""

from __future__ import annotations

from collective.core import limits
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.member.files.member_datastores import MemberDatastores
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.datastores import datastore_message
from collective.rpc.conversions.paths import local_path
from collective.rpc.gen.collective.v1 import datastores as pb


class DatastoresService(pb.DatastoresBase):
    """Adapts a member's datastores."""

    def __init__(self, domain: Domain, datastores: MemberDatastores, admission: Admission) -> None:
        """Serve ``datastores`` of the member of ``domain``."""
        self._domain = domain
        self._datastores = datastores
        self._admission = admission

    async def create_datastore(self, message: pb.CreateDatastoreRequest) -> pb.Datastore:
        """Make a datastore with a policy."""
        async with self._admission.call("create_datastore", message.path) as call:
            made = await self._datastores.create(
                call,
                local_path(message.path),
                copies=message.copies,
                quota_bytes=message.quota_bytes,
                owner=message.owner,
            )
            return datastore_message(made, self._domain)

    async def list_datastores(
        self,
        message: pb.ListDatastoresRequest,
    ) -> pb.ListDatastoresResponse:
        """Return a page of the datastores that the caller may read; its token is the last path."""
        async with self._admission.call("list_datastores", "") as call:
            after = FilePath.parse(message.page_token) if message.page_token else FilePath()
            answer = pb.ListDatastoresResponse()
            size = 0
            for found in await self._datastores.list(call, after=after):
                one = datastore_message(found, self._domain)
                size += len(bytes(one)) + 8
                if answer.datastores and size > limits.ANSWER_MAX_BYTES:
                    answer.next_page_token = answer.datastores[-1].path
                    break
                answer.datastores.append(one)
            return answer

    async def set_datastore(self, message: pb.SetDatastoreRequest) -> pb.Datastore:
        """Change what the message names."""
        async with self._admission.call("set_datastore", message.path) as call:
            changed = await self._datastores.set(
                call,
                local_path(message.path),
                copies=message.copies,
                quota_bytes=message.quota_bytes,
                owner=message.owner,
            )
            return datastore_message(changed, self._domain)
