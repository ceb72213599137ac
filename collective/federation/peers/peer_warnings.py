"""What an operator should know of one peering, a sentence each, with what to do: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from collective.core.ids import Domain, SpiffeId
from collective.federation.links.circuit_breaker import PeerHealth
from collective.federation.peers.peer_book import Known
from collective.model.peers import PeerState
from collective.pki.bundle import fingerprint

_NAMES_SHOWN: Final = 5


def of_peering(known: Known, names: Sequence[SpiffeId] = ()) -> Iterator[str]:
    """Yield what is to be looked at before a peering counts as seen.

    ``names``: people of this member with a name in its domain, given out before it was a peer.
    """
    peer = known.peer
    domain, compared = peer.domain, fingerprint(peer.authority_digest)
    if peer.state is PeerState.WAITING:
        yield (
            f"{domain} redeemed an invitation to peer and waits; compare its fingerprint, {compared},"
            f" then: collective peer confirm {domain}"
        )
    elif peer.state is PeerState.ACTIVE and not peer.is_seen:
        yield (
            f"{domain} is a peer {_way(known)}; compare its fingerprint, {compared}: collective peer list"
        )
    elif peer.state is PeerState.REMOVED and not peer.is_seen:
        yield (
            f"{domain} has ended the peering, and with it its people's grants here; see: collective"
            " peer list --all"
        )
    if names and not peer.is_seen and peer.state is not PeerState.REMOVED:
        yield _of_names(domain, names)


def _way(known: Known) -> str:
    """Return how a peer came that nobody has looked at yet."""
    if known.peer.came_by:
        return "by an invitation since it redeemed it"
    return "by the introductions folder, or by its code that was accepted here"


def _of_names(domain: Domain, names: Sequence[SpiffeId]) -> str:
    """Return what is said of names that were given out before their domain was a peer."""
    shown = ", ".join(one.shown for one in names[:_NAMES_SHOWN])
    if len(names) > _NAMES_SHOWN:
        shown += f" and {len(names) - _NAMES_SHOWN} more"
    return (
        f"Names in {domain} were given out here before it was a peer ({shown}): they are"
        " people of this member, and keep their rights. Shut out whoever should not have such a name:"
        " collective identity revoke NAME; then see: collective peer list"
    )


def of_absence(health: PeerHealth) -> Iterator[str]:
    """Yield that a peer is away, if it is."""
    if health.away_since_s is None:
        return
    if health.last_seen_ms:
        yield f"Peer {health.domain} is away: {health.why}"
        return
    reason = health.why.rstrip(".")
    yield (
        f"Peer {health.domain} is away, and has not answered since this coordinator started: {reason}. If"
        " it invited with --confirm, its operator has to confirm this member first."
    )
