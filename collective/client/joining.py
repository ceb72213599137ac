"""The client side of joining: redeem a code, or renew a certificate that ran out.

Nothing is sent before the leaf of this very connection proved to be signed by the CA key that the
code pins, as ``/coordinator`` or ``/bootstrap/<id>``.  The secret itself is never sent.  What comes
back is checked as strictly: the CA must be the pinned one, the certificate must pass the trust rule
and be for our key.  A repeated redemption with the same key gets the same certificate, so callers
keep the key on disk before they call.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from collective.core.clock import Clock
from collective.core.errors import CollectiveError, PermissionDeniedError, RejectedError
from collective.core.ids import (
    Domain,
    MemberId,
    SpiffeId,
    SpiffeRole,
    parse_domain,
    parse_member_id,
)
from collective.core.units import Address
from collective.model.rights import GrantTerms
from collective.model.trust import JoinAnswer
from collective.pki import certificates, proof
from collective.pki.ca import authority_owner
from collective.pki.certificates import Certified
from collective.pki.credentials import Credentials
from collective.pki.invite_code import InviteCode
from collective.pki.renewal_times import RENEWABLE
from collective.pki.revocation import RevocationSet
from collective.pki.succession import Told, follow
from collective.pki.trust import TrustStore, verify_leaf
from collective.rpc.links import CONNECT_TIMEOUT_S, Channel, Links
from collective.rpc.remote.bootstrap import RemoteBootstrap
from collective.rpc.remote.own_trust import renewed_over, trusted_over
from collective.rpc.tls.pinned_gate import PinnedGate

CALL_TIMEOUT_S: Final = 15.0
PROBE_TIMEOUT_S: Final = 2.0
"""For each address where somebody may or may not be."""
_ADDRESSES_MAX: Final = 32
_JOINABLE: Final[frozenset[SpiffeRole]] = frozenset(("node", "user"))
_SERVERS: Final[frozenset[SpiffeRole]] = frozenset(("coordinator", "bootstrap"))


@dataclass(frozen=True, slots=True)
class Joined:
    """What a redemption or a renewal gave, checked."""

    identity: SpiffeId
    certified: Certified
    certificate: x509.Certificate
    authority: x509.Certificate
    """The one that was pinned."""
    trusted: tuple[x509.Certificate, ...]
    """All that count: the pinned one, and while it is being replaced what it speaks for."""
    member: MemberId
    domain: Domain
    collective_name: str
    coordinator_addresses: tuple[Address, ...]
    granted_by: str
    grants: tuple[GrantTerms, ...]
    grants_expire_ms: int


async def redeem(
    code: InviteCode,
    key: ec.EllipticCurvePrivateKey,
    *,
    links: Links,
    clock: Clock,
    wish: str = "",
    display_name: str = "",
    timeout_s: float = CALL_TIMEOUT_S,
) -> Joined:
    """Redeem ``code`` for a certificate for ``key``.

    Args:
        code: from ``invite_code.parse``; its addresses are tried in turn.
        key: our P-256 key, kept already: the same key gets the same answer again.
        links: over which the bootstrap is reached.
        clock: for the validity of what is shown and given.
        wish: node: the id it would like; user: its global id; empty: the coordinator decides.
        display_name: for people.
        timeout_s: for each of the two calls.

    Raises:
        UnreachableError: no address answered.
        RejectedError: whoever answered is not the member that the code names, or answered nonsense.
        PermissionDeniedError, ConflictError: the code is not valid (revoked, used up, ran out).

    Cancellation may leave a use counted; redeeming again with the same key costs none.
    """
    gate = PinnedGate(code.authority_digest, clock)
    csr_der = certificates.make_request(key)
    channel = _bootstrap_channel(links, code.addresses, gate)
    async with channel:
        await channel.connect()
        leaf_digest = gate.leaf_digest
        bootstrap = RemoteBootstrap.over(channel, timeout_s)
        nonce = await bootstrap.begin_join(code.code_id)
        if gate.leaf_digest != leaf_digest:
            raise RejectedError("The bootstrap changed during the join; try again.")
        transcript = proof.Transcript(code.code_id, nonce, leaf_digest, csr_der, wish, display_name)
        answer = await bootstrap.join(
            code.code_id,
            nonce,
            csr_der,
            proof.sign_join(code.secret, transcript),
            wish=wish,
            display_name=display_name,
        )
    return check_answer(answer, code.authority_digest, key, roles=_JOINABLE, now_s=clock.wall_s())


async def renew_expired(
    credentials: Credentials,
    addresses: Sequence[Address],
    *,
    links: Links,
    clock: Clock,
    timeout_s: float = CALL_TIMEOUT_S,
) -> Joined:
    """Renew a certificate that ran out, at the bootstrap, by signing its nonce with the same key.

    Raises as :func:`redeem`; PermissionDeniedError also when the member does not allow it.
    """
    digests = tuple(
        certificates.key_digest(certificates.certificate_key(one)) for one in credentials.trusted
    )
    gate = PinnedGate(digests, clock)
    key = credentials.private_key
    old_der = certificates.certificate_der(credentials.certificate)
    csr_der = certificates.make_request(key)
    channel = _bootstrap_channel(links, addresses, gate)
    async with channel:
        bootstrap = RemoteBootstrap.over(channel, timeout_s)
        nonce = await bootstrap.begin_renewal(old_der)
        signature = proof.sign_renewal(key, nonce, csr_der)
        answer = await bootstrap.renew(old_der, nonce, csr_der, signature)
    joined = check_answer(answer, digests, key, roles=RENEWABLE, now_s=clock.wall_s())
    if joined.identity != credentials.identity:
        raise RejectedError(f"The renewal is for {joined.identity}, not {credentials.identity}.")
    return joined


async def why_refused(
    credentials: Credentials,
    addresses: Sequence[Address],
    *,
    links: Links,
    clock: Clock,
    timeout_s: float = CALL_TIMEOUT_S,
) -> str:
    """Return why the member accepts our certificate no longer, as its bootstrap says.

    Empty if it does accept it, or if nobody whom we trust can be asked.
    """
    digests = tuple(
        certificates.key_digest(certificates.certificate_key(one)) for one in credentials.trusted
    )
    certificate_der = certificates.certificate_der(credentials.certificate)
    async with _bootstrap_channel(links, addresses, PinnedGate(digests, clock)) as channel:
        try:
            await channel.connect()
        except CollectiveError:
            return ""
        try:
            await RemoteBootstrap.over(channel, timeout_s).begin_renewal(certificate_der)
        except (PermissionDeniedError, RejectedError) as error:
            return error.message
        except CollectiveError:
            return ""
    return ""


async def answers(
    addresses: Sequence[Address],
    digests: Sequence[bytes],
    *,
    links: Links,
    clock: Clock,
    connect_timeout_s: float = PROBE_TIMEOUT_S,
) -> bool:
    """Tell whether a member whose CA's key has one of ``digests`` answers at one of ``addresses``.

    Nothing is sent but a handshake, without a certificate.
    """
    for address in addresses[:_ADDRESSES_MAX]:
        gate = PinnedGate(digests, clock)
        async with _bootstrap_channel(links, (address,), gate, connect_timeout_s) as channel:
            with suppress(CollectiveError):
                await channel.connect()
                return True
    return False


async def renew_trusting(
    channel: Channel,
    credentials: Credentials,
    *,
    clock: Clock,
    timeout_s: float = CALL_TIMEOUT_S,
) -> Credentials:
    """Return credentials with a new certificate and the CAs that count now; nothing is written.

    A caller that keeps them on disk writes the CAs (``pki.pem_files.write_authorities``) before the
    certificate, so that a crash leaves a certificate whose CA is known.
    """
    csr_der = certificates.make_request(credentials.private_key)
    answer = await renewed_over(channel, csr_der, timeout_s)
    trusted = credentials.trusted
    if answer.trusted.ders:
        told = Told(answer.trusted.ders, answer.trusted.links, teller_of(channel))
        trusted = follow(trusted, told, credentials.domain, clock.wall_s())
    trusting = credentials._replace(authorities=trusted)
    certificate = check_renewed(answer.certificate_der, trusting, now_s=clock.wall_s())
    return credentials.renewed(certificate, trusted)


async def current_trust(
    channel: Channel,
    credentials: Credentials,
    *,
    clock: Clock,
    timeout_s: float = CALL_TIMEOUT_S,
) -> tuple[x509.Certificate, ...]:
    """Return the CAs that count now by our coordinator and ``pki.succession``.

    The one that signs servers is first.
    """
    answer = await trusted_over(channel, timeout_s)
    told = Told(answer.ders, answer.links, teller_of(channel))
    return follow(credentials.trusted, told, credentials.domain, clock.wall_s())


def teller_of(channel: Channel) -> bytes:
    """Return the digest of the CA that signed the certificate at the other end; empty if unknown."""
    return channel.peer.authority_digest if channel.peer else b""


def check_renewed(
    certificate_der: bytes, credentials: Credentials, *, now_s: float
) -> x509.Certificate:
    """Return a renewed certificate if it is of the same CA, identity and key; else RejectedError."""
    certified = verify_leaf(
        certificate_der,
        credentials.trust(),
        roles=RENEWABLE,
        usage="client",
        now_s=now_s,
        revoked=RevocationSet(),
    )
    certificate = certificates.load_certificate(certificate_der)
    if certified.identity != credentials.identity:
        raise RejectedError(f"The renewal is for {certified.identity.shown}, which we are not.")
    _require_key(certificate, credentials.private_key)
    return certificate


def check_answer(
    answer: JoinAnswer,
    authority_digest: bytes | Collection[bytes],
    key: ec.EllipticCurvePrivateKey,
    *,
    roles: frozenset[SpiffeRole],
    now_s: float,
) -> Joined:
    """Return what the server's answer gives, or raise RejectedError: it is not believed blindly."""
    authority = certificates.load_certificate(answer.authority_der)
    pinned = (authority_digest,) if isinstance(authority_digest, bytes) else authority_digest
    if certificates.key_digest(certificates.certificate_key(authority)) not in pinned:
        raise RejectedError("The CA that came back is not the one that was pinned; ask for help.")
    try:
        member, domain = authority_owner(authority)
        named = (parse_member_id(answer.member), parse_domain(answer.domain))
    except CollectiveError as error:
        raise RejectedError("The bootstrap's answer names no member; ask its operator.") from error
    if named != (member, domain):
        raise RejectedError("The bootstrap's answer and its CA name different members.")
    trusted: tuple[x509.Certificate, ...] = (authority,)
    if answer.trusted.ders:
        # Whoever answers stands there with the pinned CA's word, and for another only by its link.
        told = Told(answer.trusted.ders, answer.trusted.links, b"")
        trusted = follow(trusted, told, domain, now_s)
    certified = verify_leaf(
        answer.certificate_der,
        TrustStore({domain: trusted}),
        roles=roles,
        usage="client",
        now_s=now_s,
        revoked=RevocationSet(),
    )
    certificate = certificates.load_certificate(answer.certificate_der)
    _require_key(certificate, key)
    return Joined(
        identity=certified.identity,
        certified=certified,
        certificate=certificate,
        authority=authority,
        trusted=trusted,
        member=member,
        domain=domain,
        collective_name=answer.collective_name,
        coordinator_addresses=tuple(answer.addresses),
        granted_by=answer.granted_by,
        grants=tuple(answer.grants),
        grants_expire_ms=answer.grants_expire_ms,
    )


def _require_key(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    if certificates.public_key_der(
        certificates.certificate_key(certificate)
    ) != certificates.public_key_der(key.public_key()):
        raise RejectedError("The certificate that came back is for another key.")


def _bootstrap_channel(
    links: Links,
    addresses: Sequence[Address],
    gate: PinnedGate,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> Channel:
    return links.channel(
        addresses,
        credentials=None,
        gate=gate,
        expect=lambda peer: peer.identity.role in _SERVERS,
        connect_timeout_s=connect_timeout_s,
    )
