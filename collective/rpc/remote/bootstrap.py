"""Joining and late renewal, as a bootstrap serves them to whoever has no certificate that counts."""

from __future__ import annotations

from typing import Self

from collective.model.trust import JoinAnswer
from collective.rpc.conversions.joining import join_answer_from
from collective.rpc.gen.collective.v1.bootstrap import (
    BeginJoinRequest,
    BeginRenewalRequest,
    BootstrapStub,
    JoinRequest,
    RenewRequest,
)
from collective.rpc.links import Channel
from collective.rpc.remote.answers import taken


class BootstrapCalls:
    """Calls of one bootstrap, as nobody: what it answers is for the caller to check."""

    def __init__(self, bootstrap: BootstrapStub, timeout_s: float) -> None:
        """Call ``bootstrap``, each call within ``timeout_s``."""
        self._bootstrap = bootstrap
        self._timeout_s = timeout_s

    @classmethod
    def over(cls, channel: Channel, timeout_s: float) -> Self:
        """Return what calls over ``channel``."""
        return cls(channel.stub(BootstrapStub), timeout_s)


class RemoteBootstrap(BootstrapCalls):
    """Joining, and renewing a certificate that ran out, by one bootstrap."""

    async def begin_join(self, code_id: str) -> bytes:
        """Return the nonce for a join by a code."""
        request = BeginJoinRequest(code_id=code_id)
        return (await self._bootstrap.begin_join(request, timeout=self._timeout_s)).nonce

    async def join(
        self,
        code_id: str,
        nonce: bytes,
        csr_der: bytes,
        proof: bytes,
        *,
        wish: str,
        display_name: str,
    ) -> JoinAnswer:
        """Join by a code; ``proof`` is that of :mod:`collective.pki.proof`."""
        request = JoinRequest(
            code_id=code_id,
            nonce=nonce,
            csr_der=csr_der,
            proof=proof,
            wish=wish,
            display_name=display_name,
            follows_links=True,
        )
        answer = await self._bootstrap.join(request, timeout=self._timeout_s)
        return taken(join_answer_from, answer)

    async def begin_renewal(self, certificate_der: bytes) -> bytes:
        """Return the nonce for renewing a certificate that ran out."""
        request = BeginRenewalRequest(certificate_der=certificate_der)
        return (await self._bootstrap.begin_renewal(request, timeout=self._timeout_s)).nonce

    async def renew(
        self, certificate_der: bytes, nonce: bytes, csr_der: bytes, signature: bytes
    ) -> JoinAnswer:
        """Renew a certificate that ran out, by a signature with its key."""
        request = RenewRequest(
            certificate_der=certificate_der, nonce=nonce, csr_der=csr_der, signature=signature
        )
        answer = await self._bootstrap.renew(request, timeout=self._timeout_s)
        return taken(join_answer_from, answer)
