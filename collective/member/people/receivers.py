"""Whom a grant is for, as people write it: pure.

``name@D`` is the person whom the member of D vouches for, where D is a peer, and else one of this member's
own identities; ``name@D via M`` names the member that vouches; ``@D`` is everybody whom D vouches for.
"""

from __future__ import annotations

from typing import Final, Protocol

from collective.core.errors import NotFoundError, UsageError
from collective.core.ids import Domain, GlobalId, SpiffeId, parse_domain

_VIA: Final = " via "


class PeerDomains(Protocol):
    """Who is a peer."""

    def is_peer(self, domain: Domain) -> bool:
        """Tell whether ``domain`` is a peer that counts."""
        ...


def receiver_of(text: str, own: Domain, peers: PeerDomains) -> SpiffeId:
    """Return whom ``text`` names at the member of ``own``; a coordinator's id stands for its whole member.

    Raises:
        UsageError: it names nobody that a grant can be for.
        NotFoundError: the member that would vouch is no peer.
    """
    if text.startswith("spiffe://"):
        found = SpiffeId.parse(text)
        if found.role != "user":
            raise UsageError(
                "Grants are given to users, by name@domain, or to a member, by @domain."
            )
        return SpiffeId(_known(found.trust_domain, own, peers), found.role, found.name)
    if text.startswith("@"):
        return SpiffeId.coordinator(_known(parse_domain(text[1:]), own, peers))
    name, via, member = text.partition(_VIA)
    who = GlobalId.parse(name)
    if via:
        return SpiffeId.user(_known(parse_domain(member), own, peers), who)
    return SpiffeId.user(who.domain if peers.is_peer(who.domain) else own, who)


def _known(domain: Domain, own: Domain, peers: PeerDomains) -> Domain:
    if domain != own and not peers.is_peer(domain):
        raise NotFoundError(f"{domain} is no peer here; see: collective peer list")
    return domain
