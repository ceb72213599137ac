"""Peers and their bundles."""

from __future__ import annotations

from collective.core.errors import UsageError
from collective.core.ids import parse_domain, parse_member_id
from collective.model.peers import Inviter, PeerFacts, PeerState
from collective.pki.bundle import SignedBundle
from collective.rpc.conversions.addresses import address_messages, addresses_from
from collective.rpc.gen.collective.v1 import peering as pb


def bundle_message(signed: SignedBundle) -> pb.SignedBundle:
    """Return a signed bundle for the wire."""
    return pb.SignedBundle(body=signed.body, signature=signed.signature)


def bundle_from(message: pb.SignedBundle | None) -> SignedBundle:
    """Return a signed bundle, of which nothing was checked; UsageError where there is none."""
    if message is None:
        raise UsageError("No bundle is given.")
    return SignedBundle(bytes(message.body), bytes(message.signature))


def inviter_message(inviter: Inviter) -> pb.Inviter:
    """Return who made a code for the wire."""
    return pb.Inviter(
        member_id=inviter.member,
        domain=inviter.domain,
        addresses=address_messages(inviter.addresses),
        fingerprint=inviter.fingerprint,
        own_fingerprint=inviter.own_fingerprint,
    )


def inviter_from(message: pb.Inviter) -> Inviter:
    """Return who made a code."""
    return Inviter(
        parse_member_id(message.member_id),
        parse_domain(message.domain),
        addresses_from(message.addresses),
        message.fingerprint,
        message.own_fingerprint,
    )


def facts_message(facts: PeerFacts) -> pb.PeerFacts:
    """Return a peer as an admin sees it for the wire."""
    return pb.PeerFacts(
        member_id=facts.member,
        domain=facts.domain,
        state=facts.state.value,
        addresses=address_messages(facts.addresses),
        fingerprint=facts.fingerprint,
        sequence=facts.sequence,
        version=facts.version,
        since_ms=facts.since_ms,
        is_seen=facts.is_seen,
        is_healthy=facts.is_healthy,
        last_seen_ms=facts.last_seen_ms,
        latency_ms=facts.latency_ms,
        why_away=facts.why_away,
        granted=facts.granted,
    )


def facts_from(message: pb.PeerFacts) -> PeerFacts:
    """Return a peer as an admin sees it."""
    try:
        state = PeerState(message.state)
    except ValueError as error:
        raise UsageError(f"No peer can be {message.state!r}.") from error
    return PeerFacts(
        member=parse_member_id(message.member_id),
        domain=parse_domain(message.domain),
        state=state,
        addresses=addresses_from(message.addresses),
        fingerprint=message.fingerprint,
        sequence=message.sequence,
        version=message.version,
        since_ms=message.since_ms,
        is_seen=message.is_seen,
        is_healthy=message.is_healthy,
        last_seen_ms=message.last_seen_ms,
        latency_ms=message.latency_ms,
        why_away=message.why_away,
        granted=message.granted,
    )
