"""The state of a member, as its coordinator tells it."""

from __future__ import annotations

from collective.model.status import Status
from collective.rpc.conversions.status import status_from
from collective.rpc.gen.collective.v1.status import GetStatusRequest, MemberStatusStub
from collective.rpc.links import Channel
from collective.rpc.remote.answers import taken
from collective.rpc.remote.connection import Control


async def status_over(channel: Channel, control: Control) -> Status:
    """Return the member's state as the caller may see it."""
    stub = channel.stub(MemberStatusStub)
    return taken(status_from, await control.call(stub.get_status, GetStatusRequest()))
