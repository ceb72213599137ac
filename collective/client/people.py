"""Identities, invites, datastores and the audit log of one member, as a program uses them.

Stubs are made when they are first needed.  Raises what the coordinator answers, and nothing else on
purpose.
"""

from __future__ import annotations

from collective.client.control import Control
from collective.rpc.channel import RpcChannel
from collective.rpc.gen.collective.v1 import (
    AddDeviceRequest,
    GenerateInviteResponse,
    IdentitiesStub,
)


class People:
    """Who may do what at one member; made by ``Collective.connect``."""

    def __init__(self, channel: RpcChannel, control: Control) -> None:
        """Call over ``channel`` with the deadlines of ``control``."""
        self._channel = channel
        self._control = control

    async def add_device(self, *, validity_s: float = 0.0) -> GenerateInviteResponse:
        """Return a code, good once, by which a further machine joins as the caller's identity.

        Args:
            validity_s: how long it may be redeemed; 0 for the coordinator's 15 minutes.
        """
        stub = self._channel.stub(IdentitiesStub)
        request = AddDeviceRequest(validity_s=validity_s)
        return await self._control.call(stub.add_device, request)
