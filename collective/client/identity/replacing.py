"""Whether a member that was just joined is one that was joined before, under another CA.

Member id and domain are what a CA says of itself, so another member can claim those of one that this
machine has joined.  What it cannot do is answer, with its own CA, at the addresses that the one
before gave: that, and only that, lets it take the other's place.  Where the CA of before still
answers, or nobody does, both stay and the person is told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from cryptography import x509

from collective.client.identity.certificates import digest_of
from collective.client.identity.documents import JoinedCollective
from collective.core.clock import Clock

if TYPE_CHECKING:
    from collective.client.joining import Joined
    from collective.rpc.links import Links


class Standing(Enum):
    """What became of a collective that was joined before."""

    LIVE = "live"
    """It answers where it was, under the CA that is known of it."""
    REPLACED = "replaced"
    """There answers the CA of the one that was just joined."""
    SILENT = "silent"
    """Neither does."""


class Ask(Protocol):
    """Finds out about a collective that was joined before."""

    async def __call__(self, known: JoinedCollective, joined: Joined) -> Standing:
        """Tell what became of ``known``, whose member id and domain ``joined`` has, too."""
        ...


def rivals(
    joined_before: Sequence[JoinedCollective],
    joined: Joined,
    digests: dict[str, set[bytes]],
) -> list[JoinedCollective]:
    """Return those that say the same of themselves as ``joined``; none if it is known already.

    Args:
        joined_before: what this machine has.
        joined: what a redemption gave.
        digests: the key digests of the CAs of each of the former, by name.
    """
    own = {digest_of(one) for one in joined.trusted}
    if any(own & digests[one.name] for one in joined_before):
        return []
    return [
        one for one in joined_before if (one.member, one.domain) == (joined.member, joined.domain)
    ]


async def standing_of(
    known: JoinedCollective,
    joined: Joined,
    authorities: Sequence[x509.Certificate],
    links: Links,
    clock: Clock,
) -> Standing:
    """Ask where ``known`` was who is there now, by the CA of whoever answers; sends nothing.

    Args:
        known: joined before.
        joined: claims to be the same.
        authorities: the CAs known of ``known``.
        links: over which they are asked.
        clock: for the validity of what is shown.
    """
    from collective.client.joining import answers  # noqa: PLC0415 - heavy, rarely needed

    addresses = (*known.bootstrap_addresses, *known.coordinator_addresses)

    async def stands(digests: Collection[bytes]) -> bool:
        return await answers(addresses, tuple(digests), links=links, clock=clock)

    if await stands({known.authority_digest, *map(digest_of, authorities)}):
        return Standing.LIVE
    return (
        Standing.REPLACED
        if await stands([digest_of(one) for one in joined.trusted])
        else Standing.SILENT
    )
