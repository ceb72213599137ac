"""The Bootstrap service in the coordinator's process, over enrolment and renewal.

One instance serves the bootstrap listener, where callers have no certificate; another, with
``forwarded=True``, serves the main listener for standalone bootstraps, whose word counts for the
leaf that the joiner saw, because only they may call it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from collective.core.errors import CollectiveError, PermissionDeniedError, RejectedError
from collective.core.units import Address
from collective.federation.peers.inviting import Inviting
from collective.member.people.joining import Admitted, Joining
from collective.member.trust.renewals import CertificateRenewals
from collective.model.peers import PeeringAttempt, PeerState
from collective.model.people import JoinAttempt
from collective.model.trust import JoinAnswer, TrustedAuthorities
from collective.pki import certificates
from collective.rpc.conversions.joining import join_answer_message
from collective.rpc.conversions.peering import bundle_from, bundle_message
from collective.rpc.gen.collective.v1 import bootstrap as pb
from collective.rpc.headers import LEAF_DIGEST_KEY, SOURCE_KEY
from collective.rpc.server import context

_SOURCE_MAX: Final = 64
_DIGEST_BYTES: Final = 32


class Shows(Protocol):
    """The coordinator that people join."""

    @property
    def addresses(self) -> Sequence[Address]:
        """Where it can be reached."""
        ...

    def leaf_digests(self) -> Sequence[bytes]:
        """Return SHA-256 of the leaf that is shown, and of the one before it.

        Connections from before a renewal may live.
        """
        ...


class BootstrapService(pb.BootstrapBase):
    """Joins and renewals for those who have no certificate that counts."""

    def __init__(
        self,
        joining: Joining,
        renewal: CertificateRenewals,
        inviting: Inviting,
        own: Shows,
        *,
        collective_name: str,
        forwarded: bool = False,
    ) -> None:
        """Serve both.

        Args:
            joining: decides of joins, and issues.
            renewal: decides of certificates that ran out, and issues.
            inviting: takes up members that were invited to peer.
            collective_name: the name proposed to those who join.
            own: where the coordinator can be reached, and what its bootstrap listener shows.
            forwarded: take the digest of the leaf that was seen from a standalone bootstrap instead, and from it alone.
        """
        self._joining = joining
        self._renewal = renewal
        self._inviting = inviting
        self._collective_name = collective_name
        self._own = own
        self._forwarded = forwarded

    async def begin_join(self, message: pb.BeginJoinRequest) -> pb.BeginJoinResponse:
        """Give a nonce to sign."""
        self._check_caller("begin_join", message.code_id)
        return pb.BeginJoinResponse(nonce=self._joining.begin_join(message.code_id))

    async def join(self, message: pb.JoinRequest) -> pb.JoinResponse:
        """Redeem a code."""
        self._check_caller("join", message.code_id)
        admission = await self._joining.join(
            JoinAttempt(
                code_id=message.code_id,
                nonce=message.nonce,
                csr_der=message.csr_der,
                proof=message.proof,
                wish=message.wish,
                leaf_digests=self._digests(),
                request_id=context.current().request_id,
                display_name=message.display_name,
                source=self._source(),
                follows_links=message.follows_links,
            )
        )
        return self._answer(admission)

    async def begin_renewal(self, message: pb.BeginRenewalRequest) -> pb.BeginRenewalResponse:
        """Give a nonce to sign with the old key."""
        self._check_caller("begin_renewal", _claimed(message.certificate_der))
        return pb.BeginRenewalResponse(nonce=self._renewal.begin_renewal(message.certificate_der))

    async def renew(self, message: pb.RenewRequest) -> pb.JoinResponse:
        """Renew a certificate that ran out."""
        self._check_caller("renew", _claimed(message.certificate_der))
        return self._answer(
            await self._renewal.renew(
                message.certificate_der, message.nonce, message.csr_der, message.signature
            )
        )

    async def begin_peering(self, message: pb.BeginPeeringRequest) -> pb.BeginPeeringResponse:
        """Give a nonce to sign, and say who serves."""
        self._check_caller("begin_peering", message.code_id)
        nonce, bundle = await self._inviting.begin(message.code_id)
        return pb.BeginPeeringResponse(nonce=nonce, bundle=bundle_message(bundle))

    async def peer(self, message: pb.PeerRequest) -> pb.PeerResponse:
        """Redeem a code for a peer."""
        self._check_caller("peer", message.code_id)
        signed = bundle_from(message.bundle)
        bundle, peer = await self._inviting.redeem(
            PeeringAttempt(
                code_id=message.code_id,
                nonce=message.nonce,
                body=signed.body,
                signature=signed.signature,
                proof=message.proof,
                leaf_digests=tuple(self._digests()),
                request_id=context.current().request_id,
                source=self._source(),
            )
        )
        return pb.PeerResponse(
            bundle=bundle_message(bundle), is_waiting=peer.state is PeerState.WAITING
        )

    def _check_caller(self, operation: str, target: str) -> None:
        current = context.current()
        current.about(operation, target)
        if self._forwarded:
            peer = current.require_role("bootstrap").identity
            if peer.trust_domain != self._joining.authority.domain:
                raise PermissionDeniedError(
                    "Another member's bootstrap forwards to that member only."
                )

    def _source(self) -> str:
        """Return the joiner's host; a standalone bootstrap says whose it forwards."""
        current = context.current()
        if not self._forwarded:
            return current.source
        told = current.metadata.get(SOURCE_KEY)
        return told[:_SOURCE_MAX] if isinstance(told, str) else current.source

    def _digests(self) -> Sequence[bytes]:
        if not self._forwarded:
            return self._own.leaf_digests()
        text = context.current().metadata.get(LEAF_DIGEST_KEY, "")
        try:
            digest = bytes.fromhex(text) if isinstance(text, str) else text
        except ValueError as error:
            raise RejectedError("The bootstrap names no leaf; update it.") from error
        if len(digest) != _DIGEST_BYTES:
            raise RejectedError("The bootstrap names no leaf; update it.")
        return (digest,)

    def _answer(self, admission: Admitted) -> pb.JoinResponse:
        known = self._joining.authorities
        authority, code = known.signing, admission.code
        trusted = TrustedAuthorities(
            [
                certificates.certificate_der(one)
                for one in dict.fromkeys((authority.certificate, known.newest.certificate))
            ],
            [certificates.certificate_der(one) for one in known.links],
        )
        return join_answer_message(
            JoinAnswer(
                certificate_der=admission.certificate_der,
                authority_der=certificates.certificate_der(authority.certificate),
                trusted=trusted,
                member=authority.member,
                domain=authority.domain,
                collective_name=self._collective_name,
                addresses=self._own.addresses,
                identity=str(admission.identity),
                granted_by=str(code.created_by) if code else "",
                grants=code.grants if code else (),
                grants_expire_ms=int((code.grants_expire_s or 0) * 1000) if code else 0,
            )
        )


def _claimed(certificate_der: bytes) -> str:
    """Return whose certificate it says that it is: not proven, for the audit alone."""
    try:
        return str(certificates.describe(certificates.load_certificate(certificate_der)).identity)
    except (CollectiveError, ValueError):
        return ""
