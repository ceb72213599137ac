"""Peers and their bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeVar

from collective.core import limits
from collective.core.errors import CollectiveError, UsageError
from collective.core.ids import Domain, SpiffeId, parse_domain, parse_member_id
from collective.core.paths import FilePath
from collective.model.grants import Grant
from collective.model.nodes import NodeStatus
from collective.model.peers import Inviter, MemberRecord, PeerFacts, PeerGrants, PeerState, Reach
from collective.pki.bundle import SignedBundle
from collective.pki.revocation import normalise
from collective.rpc.conversions.addresses import address_messages, addresses_from
from collective.rpc.conversions.figures import figures_from, figures_message
from collective.rpc.conversions.grants import grant_from, grant_message
from collective.rpc.conversions.node_status import node_from, node_message
from collective.rpc.gen.collective import v1 as common_pb
from collective.rpc.gen.collective.v1 import nodes as nodes_pb
from collective.rpc.gen.collective.v1 import peering as pb
from collective.rpc.peer_word import (
    NEWS_MAX,
    NODES_MAX,
    RECORD_PART_MAX_BYTES,
    REVOKED_MAX,
    PeerWord,
)

_DIGEST_BYTES: Final = 32
_REACHES: Final = {
    Reach.REACHED: pb.Reach.REACHED,
    Reach.NOT_REACHED: pb.Reach.NOT_REACHED,
    Reach.OTHER_AUTHORITY: pb.Reach.OTHER_AUTHORITY,
    Reach.CLOCKS_DIFFER: pb.Reach.CLOCKS_DIFFER,
}
_REACHES_READ: Final = {wire: reach for reach, wire in _REACHES.items()}
GRANTS_MAX_BYTES: Final = 256 * limits.KIB
"""Grants of one direction that are told of a peer."""
GRANTS_TOLD_MAX: Final = 500
T = TypeVar("T")


def bundle_message(signed: SignedBundle) -> pb.SignedBundle:
    """Return a signed bundle for the wire."""
    return pb.SignedBundle(body=signed.body, signature=signed.signature)


def bundle_from(message: pb.SignedBundle | None) -> SignedBundle:
    """Return a signed bundle, of which nothing was checked; UsageError where there is none."""
    if message is None:
        raise UsageError("No bundle is given.")
    return SignedBundle(bytes(message.body), bytes(message.signature))


def word_message(word: PeerWord) -> pb.PeerWord:
    """Return what a peer is told for the wire."""
    return pb.PeerWord(
        bundle=None if word.bundle is None else bundle_message(word.bundle),
        newest_of_yours=word.newest_of_yours,
        record=None if word.record is None else _record_message(word.record),
        record_digest=word.record_digest,
        record_of_yours=word.record_of_yours,
        known=None if word.known is None else _known_message(word.known),
        known_digest=word.known_digest,
        known_of_yours=word.known_of_yours,
        news=[bundle_message(one) for one in word.news],
        granted_to_you=word.granted_to_you,
        reach=_reach_message(word.reach),
    )


def word_from(message: pb.PeerWord) -> PeerWord:
    """Return what a peer tells, within its bounds; UsageError for more."""
    if len(message.news) > NEWS_MAX:
        raise UsageError(f"At most {NEWS_MAX} bundles are told of at once.")
    for digest in (
        message.record_digest,
        message.record_of_yours,
        message.known_digest,
        message.known_of_yours,
    ):
        if len(digest) > _DIGEST_BYTES:
            raise UsageError("A digest is too long.")
    return PeerWord(
        newest_of_yours=message.newest_of_yours,
        record_of_yours=bytes(message.record_of_yours),
        known_of_yours=bytes(message.known_of_yours),
        bundle=None if message.bundle is None else bundle_from(message.bundle),
        record=None if message.record is None else _record_from(message.record),
        record_digest=bytes(message.record_digest),
        known=None if message.known is None else _known_from(message.known),
        known_digest=bytes(message.known_digest),
        news=[bundle_from(one) for one in message.news],
        granted_to_you=message.granted_to_you,
        reach=_reach_from(message.reach),
    )


def _reach_message(reach: Reach | None) -> pb.Reach:
    """Return how a peer is reached for the wire."""
    return pb.Reach.UNSPECIFIED if reach is None else _REACHES[reach]


def _reach_from(message: pb.Reach) -> Reach | None:
    """Return how a peer says that it reaches this member; None for nothing, or a word of a later version."""
    return _REACHES_READ.get(message)


def _record_message(record: MemberRecord) -> pb.MemberRecord:
    """Return a record for the wire; what would be too much of it is left out."""
    return pb.MemberRecord(
        revoked=list(_fitting(record.revoked, len)),
        nodes=list(_fitting((node_message(one) for one in record.nodes), _size_of)),
    )


def _fitting(
    items: Iterable[T], size_of: Callable[[T], int], most_bytes: int = RECORD_PART_MAX_BYTES
) -> Iterator[T]:
    """Yield the first ``items`` that have no more than ``most_bytes`` together."""
    left = most_bytes
    for one in items:
        left -= size_of(one)
        if left < 0:
            return
        yield one


def _size_of(message: nodes_pb.NodeStatus | common_pb.Grant) -> int:
    return len(bytes(message))


def _record_from(message: pb.MemberRecord) -> MemberRecord:
    if (
        len(message.revoked) > REVOKED_MAX
        or len(message.nodes) > NODES_MAX
        or len(list(_fitting(message.revoked, len))) < len(message.revoked)
        or len(list(_fitting(message.nodes, _size_of))) < len(message.nodes)
    ):
        raise UsageError("A record tells of too much.")
    return MemberRecord(
        tuple(normalise(one) for one in message.revoked),
        tuple(_readable(message.nodes)),
    )


def _readable(messages: Iterable[nodes_pb.NodeStatus]) -> Iterator[NodeStatus]:
    """Yield the nodes that can be read: a peer of a later version may have words that are not known here."""
    for message in messages:
        with suppress(CollectiveError):
            yield node_from(message)


def _known_message(known: Sequence[tuple[Domain, int]]) -> pb.KnownMembers:
    return pb.KnownMembers(
        members=[pb.KnownMember(domain=domain, sequence=sequence) for domain, sequence in known]
    )


def _known_from(message: pb.KnownMembers) -> Sequence[tuple[Domain, int]]:
    if len(message.members) > limits.PEERS_MAX:
        raise UsageError(f"A member has at most {limits.PEERS_MAX} peers.")
    return [(parse_domain(one.domain), one.sequence) for one in message.members]


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
        taken_ms=facts.taken_ms,
        figures=figures_message(facts.figures),
        not_taken=list(facts.not_taken),
        names_here=[str(one) for one in facts.names_here],
        reach=_reach_message(facts.reach),
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
        taken_ms=message.taken_ms,
        figures=figures_from(message.figures),
        not_taken=tuple(message.not_taken),
        names_here=tuple(SpiffeId.parse(one) for one in message.names_here),
        reach=_reach_from(message.reach),
    )


def shown_message(facts: PeerFacts, grants: PeerGrants) -> pb.ShowPeerResponse:
    """Return a peer and what is granted in both directions for the wire: of the grants, those that fit."""
    return pb.ShowPeerResponse(
        peer=facts_message(facts),
        grants_here=grants_message(grants.here),
        grants_there=grants_message(grants.there),
        why_not_there=grants.why_not_there,
    )


def shown_from(message: pb.ShowPeerResponse) -> tuple[PeerFacts, PeerGrants]:
    """Return a peer and what is granted in both directions."""
    if message.peer is None:
        raise UsageError("No peer is told of.")
    grants = PeerGrants(
        tuple(map(grant_from, message.grants_here)),
        tuple(map(grant_from, message.grants_there)),
        message.why_not_there,
    )
    return facts_from(message.peer), grants


def told_grants_message(grants: Sequence[Grant]) -> pb.ListGrantsToYouResponse:
    """Return what a peer is told of the grants to it and its people: not who gave them, nor out of what."""
    told = (replace(grant_message(one), granted_by="", sources=[]) for one in grants)
    return pb.ListGrantsToYouResponse(grants=list(_fitting(told, _size_of, GRANTS_MAX_BYTES)))


def grants_message(grants: Sequence[Grant]) -> list[common_pb.Grant]:
    """Return grants for the wire: the first that fit."""
    return list(_fitting(map(grant_message, grants), _size_of, GRANTS_MAX_BYTES))


def grants_there_from(message: pb.ListGrantsToYouResponse, domain: Domain) -> Sequence[Grant]:
    """Return the grants that a peer says it gave, by the ids and paths by which they are called here.

    It does not say who there gave them: they count as its coordinator's.
    """
    giver = str(SpiffeId.coordinator(domain))
    found = []
    for one in message.grants[:GRANTS_TOLD_MAX]:
        grant = grant_from(replace(one, granted_by=giver, sources=[]))
        found.append(
            replace(
                grant,
                id=f"{grant.id}@{domain}",
                path=FilePath((f"@{domain}", *grant.path.names)),
            )
        )
    return found
