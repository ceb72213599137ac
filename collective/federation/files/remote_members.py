"""The files and grants of every peer, as the member's directories ask for them."""

from __future__ import annotations

from collections.abc import Sequence

from collective.core.clock import Clock
from collective.core.ids import Domain, SpiffeId
from collective.core.units import Address
from collective.federation.files.relayed_routes import RelayedRoutes
from collective.federation.files.remote_member import RemoteMember
from collective.federation.links.forwarding import Forwarding
from collective.federation.links.peer_link import PeerLink
from collective.federation.links.peer_links import PeerLinks
from collective.federation.people.remote_grants import RemoteGrants
from collective.member.files.interface import Files
from collective.member.people.grant_directory import Grants
from collective.transfer.tickets.key_ring import KeyRing


class RemoteMembers:
    """One :class:`RemoteMember` for each peer that counts."""

    def __init__(
        self,
        own: SpiffeId,
        addresses: Sequence[Address],
        keys: KeyRing,
        links: PeerLinks,
        clock: Clock,
    ) -> None:
        """Reach peers by ``links``; their bytes pass the coordinator ``own``, found at ``addresses``."""
        self._own = own
        self._addresses = tuple(addresses)
        self._keys = keys
        self._links = links
        self._clock = clock
        self._made: dict[Domain, tuple[PeerLink, RemoteMember]] = {}

    def move(self, addresses: Sequence[Address]) -> None:
        """Be found at ``addresses`` by those whose bytes pass here."""
        self._addresses = tuple(addresses)
        self._made.clear()

    def domains(self) -> Sequence[Domain]:
        """Return the domain of each peer, in order."""
        return tuple(self._links.all)

    def grants(self, domain: Domain) -> Grants:
        """Return the grants of a peer; NotFoundError for a stranger's."""
        return RemoteGrants(Forwarding(self._links.to(domain), self._clock))

    def files(self, domain: Domain) -> Files:
        """Return the files of a peer; NotFoundError for a stranger's."""
        link = self._links.to(domain)
        made = self._made.get(domain)
        if made is None or made[0] is not link:
            routes = RelayedRoutes(self._own, self._addresses, self._keys, link)
            made = self._made[domain] = (link, RemoteMember(link, routes, self._clock))
        return made[1]
