"""Who gets a certificate by a join code, at the coordinator.

Decides every identity itself, from the code's kind and the wish; a request's own names are ignored.
A use is counted only with the certificate issued (both in one transaction of the catalogue), and
the same key redeeming the same code gets the same answer.  Who does not prove to have the code's secret
gets no further (:mod:`~.code_secrets`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import IssuedCertificate, Redemption
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    NameTakenError,
    UsageError,
)
from collective.core.ids import GlobalId, NodeId, SpiffeId, parse_node_id
from collective.core.world import World
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.people.code_secrets import CodeSecrets, GivenProof
from collective.member.people.receivers import PeerDomains
from collective.member.trust.followers import Followers
from collective.member.trust.own_certificates import Issuer
from collective.model.nodes import NodeRecord
from collective.model.people import Invite, InviteKind, JoinAttempt
from collective.pki import certificates, proof
from collective.pki.ca import CertificateAuthority
from collective.pki.rotation import Authorities

WISH_MAX_BYTES: Final = 320
DISPLAY_NAME_MAX: Final = 128
ANY_USER: Final = "@"
"""The wish of someone who has no global id yet: a user, whose name is decided here."""
_OFFERED: Final = frozenset((InviteKind.NODE, InviteKind.USER, InviteKind.DEVICE))


@dataclass(frozen=True, slots=True)
class Admitted:
    """A certificate that was given, and on whose word."""

    identity: SpiffeId
    certificate_der: bytes
    code: Invite | None
    """None for a renewal."""


class Joining:
    """Redemptions at one member."""

    def __init__(
        self,
        own: Issuer,
        catalog: Catalog,
        nodes: LiveNodes,
        unknown: UnknownNodes,
        followers: Followers,
        secrets: CodeSecrets,
        peers: PeerDomains,
        world: World,
    ) -> None:
        """Admit to the member of ``own``.

        Args:
            own: the CAs; the one that signs is the one that codes pin.
            catalog: keeps codes, uses, nodes and audit.
            nodes: take up each node that was admitted, once its record is durable.
            unknown: nodes that wait for their adoption: nobody else gets their ids.
            followers: note each person who joined with a certificate of the newest CA.
            secrets: checks codes' secrets.
            peers: whose people nobody else gets the names of.
            world: for expiry.
        """
        self._own = own
        self._catalog = catalog
        self._clock = world.clock
        self._nodes = nodes
        self._unknown = unknown
        self._followers = followers
        self._secrets = secrets
        self._peers = peers
        self._naming = asyncio.Lock()
        self._log = structlog.get_logger("coordinator.joining")

    @property
    def authorities(self) -> Authorities:
        """The CAs of now."""
        return self._own.authorities

    @property
    def authority(self) -> CertificateAuthority:
        """The CA that signs servers, and that codes pin."""
        return self._own.authorities.signing

    def begin_join(self, code_id: str) -> bytes:
        """Return a nonce for a join with ``code_id``, whether or not such a code exists."""
        return self._secrets.nonce(code_id)

    async def join(self, attempt: JoinAttempt) -> Admitted:
        """Return the certificate that a proven code gives.

        Raises:
            PermissionDeniedError: unknown code, wrong proof, stale nonce: one answer for all.
            ConflictError: the code is revoked, used up or ran out, or the node id is taken.
            BusyError: a wrong proof after too many others.
            RejectedError, UsageError: a request or wish that cannot be read.
        """
        code = await self._secrets.check(_proof_of(attempt))
        public_key = certificates.check_request(attempt.csr_der)
        if code.kind not in _OFFERED:
            raise ConflictError(
                "This code is for another member, whose operator accepts it there: collective peer"
                " accept CODE"
            )
        if len(attempt.wish.encode()) > WISH_MAX_BYTES:
            raise UsageError(f"The wish may have at most {WISH_MAX_BYTES} bytes.")
        if len(attempt.display_name) > DISPLAY_NAME_MAX or (
            attempt.display_name and not attempt.display_name.isprintable()
        ):
            raise UsageError(
                f"A display name has at most {DISPLAY_NAME_MAX} characters, all of them printable."
            )
        digest = certificates.key_digest(public_key)
        async with self._naming:
            decided = await self._decide(code, attempt.wish, digest)
            authority = self._authority_for(code, attempt)

            def issue() -> IssuedCertificate:
                if isinstance(decided, CollectiveError):
                    raise decided
                certificate = authority.issue(decided, public_key, lifetime_s=self._own.lifetime_s)
                leaf = certificates.describe(certificate)
                der = certificates.certificate_der(certificate)
                return IssuedCertificate(decided, leaf.serial, int(leaf.expires_s * 1000), der)

            redemption = await self._redeem(attempt, digest, issue)
            if redemption.identity.role == "node":
                await self._record_node(redemption)
        await self._note_followed(code, redemption)
        self._log.info("enrolled", identity=str(redemption.identity), code=code.id)
        return Admitted(redemption.identity, redemption.certificate_der, code)

    def _authority_for(self, code: Invite, attempt: JoinAttempt) -> CertificateAuthority:
        """Return who signs: for people the newest CA, where the joiner can follow it."""
        known = self._own.authorities
        is_person = code.kind in {InviteKind.USER, InviteKind.DEVICE}
        return known.newest if is_person and attempt.follows_links else known.signing

    async def _note_followed(self, code: Invite, redemption: Redemption) -> None:
        """Tell of a person who has the newest CA's certificate; other devices of theirs may not yet."""
        newest = self._own.authorities.newest.certificate
        issued = certificates.load_certificate(redemption.certificate_der)
        if code.kind is InviteKind.USER and certificates.is_signed_by(issued, newest):
            await self._followers.note(redemption.identity)

    async def _redeem(
        self,
        attempt: JoinAttempt,
        digest: bytes,
        issue: Callable[[], IssuedCertificate],
    ) -> Redemption:
        """Return what the key was answered before, or else redeem the code with what ``issue`` gives."""
        try:
            before = await self._catalog.codes.redeemed(attempt.code_id, digest)
            if before is not None:
                return before
            return await self._catalog.codes.redeem(
                attempt.code_id,
                digest,
                issue(),
                display_name=attempt.display_name,
                request_id=attempt.request_id,
            )
        except NameTakenError:
            # It costs no use, so it counts as a failed proof: nobody tries out names for nothing.
            await self._secrets.count_failure(attempt.code_id, attempt.source)
            raise

    # --- identity --------------------------------------------------------------------------------

    async def _decide(
        self, code: Invite, wish: str, key_digest: bytes
    ) -> SpiffeId | CollectiveError:
        """Return the identity for a new redemption, or the error that one would meet.

        The error is raised only if a certificate is really to be made: a repeated redemption gets
        its stored answer whatever is decided here.
        """
        try:
            if code.kind is InviteKind.NODE:
                return SpiffeId.node(
                    self.authority.domain, await self._node_id(code, wish, key_digest)
                )
            if not wish:
                raise ConflictError(
                    "This code is for a person, not a node; redeem it with 'collective invite"
                    " redeem'."
                )
            if code.kind is InviteKind.DEVICE:
                return self._device(code, wish)
            return SpiffeId.user(self.authority.domain, self._global_id(wish, key_digest))
        except CollectiveError as error:
            return error

    def _global_id(self, wish: str, key_digest: bytes) -> GlobalId:
        """Return the global id for the first key of a user."""
        if wish == ANY_USER:
            return GlobalId(f"guest-{key_digest[:4].hex()}", self.authority.domain)
        wanted = GlobalId.parse(wish)
        if self._peers.is_peer(wanted.domain):
            raise ConflictError(
                f"{wanted.domain} is a peer here and vouches for its people itself; join there, and"
                f" ask for a grant to {wanted}."
            )
        return wanted

    def _device(self, code: Invite, wish: str) -> SpiffeId:
        bound = code.bound
        if bound is None or bound.global_id is None:
            raise ConflictError("This device code is for nobody; ask for a new one.")
        if wish not in {ANY_USER, str(bound.global_id)}:
            raise ConflictError(
                f"This code adds a device of {bound.global_id}, not of {wish}; redeem it on a"
                " machine with that identity, or with none."
            )
        return bound

    async def _node_id(self, code: Invite, wish: str, key_digest: bytes) -> NodeId:
        """Return the id for a new node, or for one that comes back with the key that it had."""
        if "@" in wish:
            raise ConflictError(
                "This code enrols a node, not a person; on the node's machine run: collective join CODE"
                " --as node"
            )
        records = await self._catalog.nodes.list()
        taken = {record.node for record in records}
        if wish:
            node = parse_node_id(wish)
            identity = SpiffeId.node(self.authority.domain, node)
            if any(record.node == node and record.removed for record in records):
                raise ConflictError(f"Node {node} was removed; give this one another id.")
            if node in taken and not await self._catalog.codes.has_redeemed(identity, key_digest):
                raise ConflictError(
                    f"Node {node} is enrolled already with another key;"
                    " give this node another COLLECTIVE_NODE_ID, or none."
                )
            return node
        if code.revoked or code.uses_left <= 0 or code.expires_s <= self._clock.wall_s():
            # No number is spent on a code that redeem will refuse (or answer from what it keeps).
            raise ConflictError("The join code cannot be used any more; ask for a new one.")
        waiting = {claim.node for claim in self._unknown.all()}
        while True:
            number = await self._catalog.nodes.next_number()
            node = parse_node_id(f"{self.authority.member[:54]}-node-{number:02d}")
            if node not in taken and node not in waiting:
                return node

    async def _record_node(self, redemption: Redemption) -> None:
        """Tell of a node's record, which the redemption wrote; one that is lost is made again."""
        node = redemption.identity.node_id
        known = {record.node: record for record in await self._catalog.nodes.list()}
        record = known.get(node)
        if record is None:
            leaf = certificates.describe(certificates.load_certificate(redemption.certificate_der))
            expires_ms = int(leaf.expires_s * 1000)
            record = NodeRecord(
                node,
                None,
                0,
                0,
                0,
                (),
                0,
                certificate_serial=leaf.serial,
                certificate_expires_ms=expires_ms,
            )
            await self._catalog.nodes.add(record)
        self._nodes.add(record)


def _proof_of(attempt: JoinAttempt) -> GivenProof:
    """Return what the joiner shows of the code's secret."""
    return GivenProof(
        attempt.code_id,
        attempt.nonce,
        attempt.proof,
        [
            proof.Transcript(
                attempt.code_id,
                attempt.nonce,
                leaf_digest,
                attempt.csr_der,
                attempt.wish,
                attempt.display_name,
            )
            for leaf_digest in attempt.leaf_digests
        ],
        attempt.source,
    )
