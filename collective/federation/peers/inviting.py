"""The inviter's side of a peering: codes, and who comes by them.

::

    inviter's coordinator                         accepter's coordinator
    invite DOMAIN: a code for that domain
                     ──── the code, by hand ───▶  look at it: dials the addresses in the code, and the
                                                  CA's key must be the one that the code pins
                     ◀─── who are you ──────────
                     ──── its bundle ──────────▶  shown to the operator, who compares the fingerprint
    takes the peer   ◀─── bundle, proof ────────  accept: proves the secret, bound to this connection
    up               ──── its bundle ──────────▶  takes the peer up

The secret never travels, and nothing of the accepter does before the operator has said yes.
"""

from __future__ import annotations

from typing import Final

import structlog

from collective.catalog.interface import Identities
from collective.core.clock import Clock
from collective.core.errors import ConflictError
from collective.core.ids import Domain, SpiffeId
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import PeerBook
from collective.member.people.code_secrets import CodeSecrets, GivenProof
from collective.member.people.invites import InviteIssuer
from collective.model.calls import Call
from collective.model.peers import Peer, PeeringAttempt
from collective.model.people import InviteKind, InviteStatus, MadeInvite
from collective.pki import proof
from collective.pki.bundle import SignedBundle

VALIDITY_DEFAULT_S: Final = 86400.0


class Inviting:
    """Invites other members, and takes up those that come."""

    def __init__(
        self,
        identities: Identities,
        book: PeerBook,
        own: OwnBundle,
        invites: InviteIssuer,
        secrets: CodeSecrets,
        clock: Clock,
    ) -> None:
        """Invite as ``own``; who came stands in ``book``."""
        self._identities = identities
        self._book = book
        self._own = own
        self._invites = invites
        self._secrets = secrets
        self._clock = clock
        self._log = structlog.get_logger("coordinator.peers")

    async def invite(
        self, call: Call, domain: Domain, *, validity_s: float = 0.0, confirms: bool = False
    ) -> MadeInvite:
        """Make a code that the member of ``domain`` alone may redeem, once; admins only."""
        await self._identities.require_admin(call, "invite a peer")
        if domain == self._own.domain:
            raise ConflictError(f"{domain} is this member itself; name the other member's domain.")
        record, code = await self._invites.create(
            call,
            InviteKind.PEER,
            uses=1,
            validity_s=validity_s or VALIDITY_DEFAULT_S,
            description=f"peer {domain}",
            bound=SpiffeId.coordinator(domain),
            approves=not confirms,
        )
        status = InviteStatus.of(record, self._clock.wall_s())
        return MadeInvite(code.encode(), code.url(), status)

    async def begin(self, code_id: str) -> tuple[bytes, SignedBundle]:
        """Return a nonce to redeem ``code_id`` with, and our bundle, whether or not there is such a code."""
        nonce = self._secrets.nonce(code_id)
        return nonce, (await self._own.current())[0]

    async def redeem(self, attempt: PeeringAttempt) -> tuple[SignedBundle, Peer]:
        """Take up who proves a code's secret; return our bundle, and the peer as it is stored.

        Raises:
            PermissionDeniedError: unknown code, wrong proof, stale nonce: one answer for all.
            RejectedError: the bundle cannot be used.
            ConflictError: the code is for somebody else or cannot be redeemed, or the domain or a CA
                of it is another's here.
            BusyError: a wrong proof after too many others.
        """
        await self._secrets.check(_proof_of(attempt))
        signed = SignedBundle(attempt.body, attempt.signature)
        peer = await self._book.redeem(attempt.code_id, signed, request_id=attempt.request_id)
        self._log.warning("peer came", domain=peer.domain, state=peer.state.value)
        return (await self._own.current())[0], peer


def _proof_of(attempt: PeeringAttempt) -> GivenProof:
    """Return what a peer to be shows of the code's secret."""
    return GivenProof(
        attempt.code_id,
        attempt.nonce,
        attempt.proof,
        [
            proof.PeeringTranscript(
                attempt.code_id, attempt.nonce, leaf_digest, attempt.body, attempt.signature
            )
            for leaf_digest in attempt.leaf_digests
        ],
        attempt.source,
    )
