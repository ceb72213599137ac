"""Who gets another certificate for the one they have, at the coordinator.

Two ways: over a live connection, and at the bootstrap by whoever was off too long.  Either way the
identity is that of the old certificate and the key stays the same; what is revoked or removed renews
by neither.  Whoever asks again before a third of a renewed certificate's life is over gets the same
one again: nothing is signed or written, however often they ask.
"""

from __future__ import annotations

from typing import Final

import structlog

from collective.catalog.interface import Catalog
from collective.core import limits
from collective.core.errors import (
    CollectiveError,
    PermissionDeniedError,
    RejectedError,
    ShutOutError,
)
from collective.core.ids import SpiffeId
from collective.core.world import World
from collective.member.people.joining import Admitted
from collective.member.trust.followers import Followers
from collective.member.trust.own_certificates import Issuer
from collective.member.trust.revocations import Revocations
from collective.pki import certificates, proof
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import Certified
from collective.pki.nonces import NonceMint
from collective.pki.renewal_times import RENEWABLE
from collective.pki.trust import RevokedCertificateError, TrustStore, verify_leaf

EXPIRED_RENEWAL_S: Final = limits.EXPIRED_RENEWAL_S
_FRESH_PART: Final = 2 / 3
"""A renewed certificate that has so much of its life left is given again."""


class CertificateRenewals:
    """Renewals of one member's certificates."""

    def __init__(
        self,
        own: Issuer,
        catalog: Catalog,
        revocations: Revocations,
        followers: Followers,
        world: World,
        *,
        expired_renewal_s: float = EXPIRED_RENEWAL_S,
    ) -> None:
        """Renew certificates of the member of ``own``.

        Args:
            own: the CAs.
            catalog: keeps nodes and what was issued.
            revocations: what is revoked now.
            followers: note each identity that got a certificate of the newest CA.
            world: for nonces and expiry.
            expired_renewal_s: how long after its end a certificate may renew itself; 0 never.
        """
        self._own = own
        self._catalog = catalog
        self._clock = world.clock
        self._nonces = NonceMint(world.clock, world.randomness)
        self._revocations = revocations
        self._expired_renewal_s = expired_renewal_s
        self._followers = followers
        self._log = structlog.get_logger("coordinator.renewal")

    def begin_renewal(self, certificate_der: bytes) -> bytes:
        """Return a nonce for renewing ``certificate_der``, which may have run out.

        The nonce is bound to these bytes.  DER has bits outside of what is signed that mean nothing;
        whoever changes them between the two calls is refused, and gains nothing by the same bytes in
        both: identity, serial and key, on which all else rests, are within what is signed.
        """
        self._verify_old(certificate_der)
        return self._nonces.make("renew", certificate_der)

    async def renew(
        self, certificate_der: bytes, nonce: bytes, csr_der: bytes, signature: bytes
    ) -> Admitted:
        """Renew a certificate for the holder of its key, without a client certificate.

        Raises:
            PermissionDeniedError: stale nonce, wrong signature, removed, or it ran out too long ago.
            RejectedError: the certificate does not count, or the request is for another key.
        """
        old = self._verify_old(certificate_der)
        self._nonces.check("renew", certificate_der, nonce)
        old_key = certificates.certificate_key(certificates.load_certificate(certificate_der))
        proof.check_renewal(old_key, nonce, csr_der, signature)
        # Whoever was off pins the CA that it knows, as the bootstrap's leaf does: the one that signs.
        return await self._reissue(old, csr_der, self._own.authorities.signing)

    async def renew_live(self, peer: Certified, csr_der: bytes) -> Admitted:
        """Exchange the certificate of a live connection for a new one of the same identity and key.

        The coordinator renews its own with its CA, never here.  Another key is refused: a thief of
        a key could otherwise move to one that its owner knows nothing of.
        """
        if peer.identity.role not in RENEWABLE:
            raise PermissionDeniedError("The coordinator's certificate is renewed by itself.")
        known = self._own.authorities
        if peer.identity.trust_domain != known.signing.domain:
            raise PermissionDeniedError("Another member's certificate is renewed by that member.")
        authority = known.newest if peer.identity.role == "user" else known.signing
        return await self._reissue(peer, csr_der, authority)

    def _verify_old(self, certificate_der: bytes) -> Certified:
        """Apply the whole trust rule, but to the last moment of a certificate that ran out."""
        try:
            end_s = certificates.load_certificate(certificate_der).not_valid_after_utc.timestamp()
        except ValueError as error:
            raise RejectedError("The certificate cannot be read.") from error
        now_s = self._clock.wall_s()
        if now_s > end_s + self._expired_renewal_s:
            raise PermissionDeniedError(
                "The certificate ran out too long ago to renew itself; join again with a code."
            )
        known = self._own.authorities
        try:
            return verify_leaf(
                certificate_der,
                TrustStore({known.signing.domain: known.trusted}),
                roles=RENEWABLE,
                usage="client",
                now_s=min(now_s, end_s),
                revoked=self._revocations.present,
            )
        except RevokedCertificateError as error:
            raise ShutOutError from error

    async def _reissue(
        self, old: Certified, csr_der: bytes, authority: CertificateAuthority
    ) -> Admitted:
        """Issue what follows ``old``, for the same key, which its holder has just proven to have."""
        identity = old.identity
        public_key = certificates.check_request(csr_der)
        if certificates.key_digest(public_key) != old.key_digest:
            raise RejectedError("A certificate renews with the same key only; join again instead.")
        if self._revocations.present.is_revoked(identity, old.serial, old.key_digest):
            raise PermissionDeniedError(f"{identity.shown}, its certificate or its key is revoked.")
        await self._catalog.certificates.see(
            SpiffeId.coordinator(authority.domain),
            identity,
            old.serial,
            int(old.expires_s * 1000),
            old.key_digest,
        )
        if identity.role == "node":
            records = {record.node: record for record in await self._catalog.nodes.list()}
            known = records.get(identity.node_id)
            if known is not None and known.removed:
                raise PermissionDeniedError(
                    f"Node {identity.node_id} was removed; enrol it under another id."
                )
        fresh = await self._still_fresh(old, authority)
        if fresh is not None:
            # Also here: the call that issued it may have failed before this was noted.
            if authority is self._own.authorities.newest:
                await self._followers.note(identity)
            return Admitted(identity, fresh, None)
        certificate = authority.issue(identity, public_key, lifetime_s=self._own.lifetime_s)
        leaf = certificates.describe(certificate)
        der = certificates.certificate_der(certificate)
        await self._catalog.certificates.add_issued(
            identity, leaf.serial, int(leaf.expires_s * 1000), leaf.key_digest, der
        )
        if authority is self._own.authorities.newest:
            await self._followers.note(identity)
        self._log.info("renewed", identity=str(identity), serial=leaf.serial)
        return Admitted(identity, der, None)

    async def _still_fresh(self, old: Certified, authority: CertificateAuthority) -> bytes | None:
        """Return the last renewal of this identity and key if it does for now, of this CA."""
        der = await self._catalog.certificates.last_renewal(old.identity, old.key_digest)
        if der is None:
            return None
        try:
            last = verify_leaf(
                der,
                TrustStore({authority.domain: (authority.certificate,)}),
                roles=RENEWABLE,
                usage="client",
                now_s=self._clock.wall_s(),
                revoked=self._revocations.present,
            )
        except CollectiveError:
            return None  # it ran out, it is of another CA, or it alone was revoked
        left_s = last.expires_s - self._clock.wall_s()
        least_s = (last.expires_s - last.not_before_s) * _FRESH_PART
        is_fresh = least_s < left_s <= self._own.lifetime_s + 1  # whole seconds in certificates
        return der if is_fresh else None
