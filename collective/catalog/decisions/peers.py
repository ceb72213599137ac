"""Which peerings are taken up, and which bundle takes the place of another: pure, on what the catalogue holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from collective.core import limits
from collective.core.errors import ConflictError, NotFoundError, RejectedError
from collective.core.ids import Domain
from collective.model.grants import Grant
from collective.model.peers import Peer, PeerState
from collective.model.people import Invite, InviteKind

STEP_BYTES: Final = 3
"""Two futures of one backup meet in one of 16 million; numbers below 2^53 last for a billion changes."""


def require_peer_code(code: Invite, domain: Domain) -> None:
    """Raise ConflictError unless ``code`` invites the member of ``domain`` to peer."""
    if code.kind is not InviteKind.PEER:
        raise ConflictError(
            f"This code is for a {code.kind.value}, not for a peer; ask for one by: collective peer"
            f" invite {domain}"
        )
    if code.bound is None or code.bound.trust_domain != domain:
        raise ConflictError(
            f"This code is for another member than {domain}; ask for one by: collective peer invite"
            f" {domain}"
        )


def is_repeat(known: Peer | None, code_id: str, wanted: Peer) -> bool:
    """Tell whether ``wanted`` has come by this code before: it gets the same answer, and no use is counted.

    One that was removed since has not: its code is used up.
    """
    return (
        known is not None
        and known.state is not PeerState.REMOVED
        and (known.came_by, known.authority_digest) == (code_id, wanted.authority_digest)
    )


def state_by(code: Invite) -> PeerState:
    """Return what a peer is that comes by ``code``: it waits where the operator asked to confirm it first."""
    return PeerState.ACTIVE if code.approves else PeerState.WAITING


def ends_grants(known: Peer | None, stored: Peer) -> bool:
    """Tell whether all grants to a domain end: another CA speaks for it from now on."""
    return known is not None and known.authority_digest != stored.authority_digest


def is_of_domain(grant: Grant, domain: Domain) -> bool:
    """Tell whether a member vouches for the receiver or the giver of a grant."""
    return domain in {grant.principal.trust_domain, grant.granted_by.trust_domain}


def taken_up(known: Peer | None, wanted: Peer, others: int, *, replaces: bool) -> Peer:
    """Return what is stored of a peering with ``wanted``.

    Args:
        known: what is stored of that domain.
        wanted: the peer as it came.
        others: peers of other domains that are not removed.
        replaces: whether an active peer with another CA gives way: its owner said so.

    Raises:
        ConflictError: the domain is another CA's here, or there are too many peers.
    """
    is_present = known is not None and known.state is not PeerState.REMOVED
    if known is not None and is_present:
        if known.authority_digest == wanted.authority_digest:
            body = wanted if wanted.sequence > known.sequence else known
            state = (
                PeerState.ACTIVE
                if PeerState.ACTIVE in {known.state, wanted.state}
                else PeerState.WAITING
            )
            return replace(
                body, state=state, since_ms=known.since_ms, came_by=wanted.came_by or known.came_by
            )
        if not replaces:
            raise ConflictError(another_authority(wanted.domain))
    if not is_present and others >= limits.PEERS_MAX:
        raise ConflictError(
            f"{wanted.domain} cannot become a peer of a member that has {limits.PEERS_MAX} already; the"
            " operator of that member removes one first: collective peer remove DOMAIN"
        )
    return wanted


def another_authority(domain: Domain) -> str:
    """Return what is said where a peer comes with a CA that the one known has not signed for; true on both sides."""
    return (
        f"{domain} is a peer already, with another CA than this one; if its operator made that anew, let"
        f" {domain} invite, compare fingerprints, and accept its code with --replace."
    )


def introduced(known: Peer | None, wanted: Peer, others: int) -> Peer:
    """Return what is stored of a member that nobody invited, but the introductions folder tells of.

    Args:
        known: what is stored of that domain; it is never replaced.
        wanted: the peer as the folder has it.
        others: peers of other domains that are not removed.

    Raises:
        ConflictError: the domain was removed, is another CA's here, or there are too many peers.
    """
    if known is not None and known.state is PeerState.REMOVED:
        raise ConflictError(f"{wanted.domain} was removed here; peer with it again by a code.")
    if known is not None and known.authority_digest == wanted.authority_digest:
        return known
    return taken_up(known, wanted, others, replaces=False)


def renewed(known: Peer | None, newer: Peer) -> Peer | None:
    """Return the peer with the bundle of ``newer``; None where it is the one that is known.

    Raises:
        NotFoundError: it is no peer any more.
        ConflictError: the same number with another content: two coordinators say that they are it.
        RejectedError: it is older than what is known.
    """
    if known is None or known.state is PeerState.REMOVED:
        raise NotFoundError(f"{newer.domain} is no peer here.")
    if newer.sequence < known.sequence:
        raise RejectedError(f"The bundle of {newer.domain} is older than the one that is known.")
    if newer.sequence == known.sequence:
        if newer.body != known.body:
            raise ConflictError(
                f"Two coordinators say that they are {newer.domain} (two bundles have one number); ask"
                " its operator to stop the one that is a copy, and then to restart the other."
            )
        return None
    return replace(
        known,
        member=newer.member,
        authority_digest=newer.authority_digest,
        sequence=newer.sequence,
        body=newer.body,
        signature=newer.signature,
        taken_ms=newer.taken_ms,
    )


def confirmed(known: Peer | None, domain: Domain, now_ms: int) -> Peer:
    """Return a waiting peer as one that counts; NotFoundError, or ConflictError where none waits."""
    if known is None or known.state is PeerState.REMOVED:
        raise no_such_peer(domain)
    if known.state is PeerState.ACTIVE:
        raise ConflictError(f"{domain} is a peer already.")
    return replace(known, state=PeerState.ACTIVE, since_ms=now_ms, is_seen=True)


def removed(known: Peer | None, domain: Domain, now_ms: int, *, by_them: bool) -> Peer:
    """Return the tombstone of a peer; NotFoundError where there is none.

    ``by_them``: the peer has ended it, which an admin here is to be told.
    """
    if known is None or known.state is PeerState.REMOVED:
        raise no_such_peer(domain)
    return replace(known, state=PeerState.REMOVED, since_ms=now_ms, is_seen=not by_them)


def require_voucher(domain: Domain, state: str | None) -> None:
    """Refuse a grant to people of a member with whom the peering has ended, or has not begun.

    Args:
        domain: that vouches for them; the own one, or a peer's.
        state: of the peer of that domain; None for the own member.

    Raises:
        NotFoundError: it is no peer (any more): a grant that came just after would revive with the next
            peering.

    """
    if state not in {None, PeerState.ACTIVE.value}:
        raise no_such_peer(domain)


def no_such_peer(domain: Domain) -> NotFoundError:
    """Return what is said where ``domain`` is no peer."""
    return NotFoundError(f"{domain} is no peer here; see: collective peer list")


def step_of(random: bytes) -> int:
    """Return how far the number of the own bundle rises at once, from STEP_BYTES random bytes.

    A future that was lost and the one that follows the backup begin at the same number.  Were each to count up by
    one, a peer could hold a bundle of the one with the number that the other gives to something else, and would
    never take it.
    """
    return 1 + int.from_bytes(random[:STEP_BYTES], "big")


def next_sequence(stored: int, *, is_same: bool, echoed: int, step: int) -> int:
    """Return the number of the own bundle.

    Args:
        stored: the number that it had last; 0 for none.
        is_same: whether it says the same as then.
        echoed: the highest number of it that a peer has shown: above ``stored`` after a backup was restored.
        step: at random, see :func:`step_of`.

    """
    if echoed > stored:
        return echoed + step
    return stored if is_same and stored else stored + step


def surplus(tombstones: Sequence[Peer]) -> Sequence[Domain]:
    """Return which tombstones, the oldest, go so that there are at most PEER_TOMBSTONES_MAX."""
    oldest_first = sorted(tombstones, key=lambda one: one.since_ms)
    most = limits.PEER_TOMBSTONES_MAX
    return [one.domain for one in oldest_first[: max(0, len(oldest_first) - most)]]
