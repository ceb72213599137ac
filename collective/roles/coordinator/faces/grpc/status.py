"""The MemberStatus service: the member as a whole."""

from __future__ import annotations

from collective.member.status import MemberStatus
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.status import status_message
from collective.rpc.gen.collective.v1 import status as pb


class StatusService(pb.MemberStatusBase):
    """Adapts the member's state."""

    def __init__(self, status: MemberStatus, admission: Admission) -> None:
        """Tell what ``status`` says."""
        self._status = status
        self._admission = admission

    async def get_status(self, message: pb.GetStatusRequest) -> pb.Status:  # noqa: ARG002
        """Return everything that the caller may know; counts cover what it may read."""
        async with self._admission.call("status", "") as call:
            return status_message(await self._status.status(call))
