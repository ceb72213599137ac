"""Forwards Bootstrap calls to the coordinator, and says which leaf the caller saw.

The joiner's proof is bound to that leaf, so a bootstrap that lies about it only makes joins fail.
"""

from __future__ import annotations

from typing import Final

from collective.roles.bootstrap.certificate import OwnCertificate
from collective.rpc.gen.collective.v1 import bootstrap as pb
from collective.rpc.headers import LEAF_DIGEST_KEY, SOURCE_KEY
from collective.rpc.server import context

FORWARD_TIMEOUT_S: Final = 10.0


class ForwardingService(pb.BootstrapBase):
    """The Bootstrap service of a process without a CA key."""

    def __init__(self, own: OwnCertificate) -> None:
        """Forward over the channel of ``own``: mutual TLS to the coordinator's main listener."""
        self._own = own

    @property
    def _stub(self) -> pb.BootstrapStub:
        return self._own.channel.stub(pb.BootstrapStub)

    async def begin_join(self, message: pb.BeginJoinRequest) -> pb.BeginJoinResponse:
        """Forward, with a deadline."""
        return await self._stub.begin_join(message, timeout=FORWARD_TIMEOUT_S)

    async def join(self, message: pb.JoinRequest) -> pb.JoinResponse:
        """Forward with the digest of our leaf and the joiner's host, with a deadline."""
        return await self._stub.join(message, timeout=FORWARD_TIMEOUT_S, metadata=self._seen())

    async def begin_renewal(self, message: pb.BeginRenewalRequest) -> pb.BeginRenewalResponse:
        """Forward, with a deadline."""
        return await self._stub.begin_renewal(message, timeout=FORWARD_TIMEOUT_S)

    async def renew(self, message: pb.RenewRequest) -> pb.JoinResponse:
        """Forward, with a deadline."""
        return await self._stub.renew(message, timeout=FORWARD_TIMEOUT_S)

    async def begin_peering(self, message: pb.BeginPeeringRequest) -> pb.BeginPeeringResponse:
        """Forward, with a deadline."""
        return await self._stub.begin_peering(message, timeout=FORWARD_TIMEOUT_S)

    async def peer(self, message: pb.PeerRequest) -> pb.PeerResponse:
        """Forward with the digest of our leaf and the caller's host, with a deadline."""
        return await self._stub.peer(message, timeout=FORWARD_TIMEOUT_S, metadata=self._seen())

    def _seen(self) -> dict[str, str]:
        """Return which leaf the caller saw, and where they come from."""
        return {
            LEAF_DIGEST_KEY: self._own.leaf_digest.hex(),
            SOURCE_KEY: context.current().source,
        }
