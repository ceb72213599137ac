"""A member without peers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from collective.catalog.interface.peers import Peers
from collective.core.errors import NotFoundError
from collective.core.ids import Domain
from collective.federation.links.tallies import PeerTallies
from collective.federation.peers.inviting import Inviting
from collective.federation.peers.peer_book import PeerBook, ShownTrust
from collective.member.files.interface import Files
from collective.member.files.member_directory import MemberDirectory
from tests.unit.member.cluster import DOMAIN

NO_INVITING: Final = cast("Inviting", object())
"""Where no other member comes by a code: it is never called."""


class NoOthers:
    """No other member's files can be reached."""

    def domains(self) -> Sequence[Domain]:
        return ()

    def files(self, domain: Domain) -> Files:
        raise NotFoundError(f"No peer {domain} is known here.")


class Standing:
    """A book in which some stand, and which nobody changes."""

    def __init__(self, peers: Sequence[Domain]) -> None:
        self.all = dict.fromkeys(peers)

    def watch(self, _: object) -> None:
        """Nothing changes."""

    def is_peer(self, domain: Domain) -> bool:
        return domain in self.all


def no_peers() -> PeerBook:
    """Return a book in which nobody stands, and which nobody changes."""
    return PeerBook(DOMAIN, cast("Peers", object()), cast("ShownTrust", object()))


def tallies() -> PeerTallies:
    """Return counts of no peers."""
    return PeerTallies(no_peers())


def directory(files: Files) -> MemberDirectory:
    return MemberDirectory(DOMAIN, files, NoOthers())
