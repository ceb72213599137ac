"""What several members promise each other, looked at from outside: their catalogues, bundles and connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from collective.core.ids import Domain
from collective.federation.links.peer_links import PROBE_MOST_S, SETTLED_AFTER_S
from collective.model.peers import PeerState
from collective.pki import bundle as bundles
from collective.pki import certificates
from collective.pki.bundle import SignedBundle, says_the_same
from tests.simulation.houses.following import cannot_follow
from tests.simulation.houses.ledger import PEER, Giving, peer_key, settle
from tests.simulation.process import BrokenPromiseError

if TYPE_CHECKING:
    from collective.pki.bundle import Bundle
    from tests.simulation.houses.household import Household
    from tests.simulation.network import Network

_is_genuine: Final = bundles._is_signed_by
"""The product's own check, as it is before a run puts a bug in its place."""
LOOK_S: Final = 1.0
REMOVED_S: Final = 5.0
"""So long after a peer was removed nothing of its people stands at the coordinator."""
FAREWELL_S: Final = PROBE_MOST_S + 15.0
"""So long after a removed peer can be told it has heard of that: it tries every half a minute at least."""
AGREE_S: Final = 120.0
"""How long after the last fault all peers see each other healthy, with the newest bundles."""


class NeighbourJudge:
    """Judges what the houses of a run are to each other."""

    def __init__(self, houses: Sequence[Household], network: Network) -> None:
        """Judge ``houses``."""
        self._houses = houses
        self._network = network
        self._gone_since_s: dict[tuple[Domain, Domain], float] = {}
        """Since when a domain is seen to be no peer of a house."""
        self._told: dict[tuple[Domain, Domain], tuple[Bundle, int, int]] = {}
        """The bundle that a house has of a peer, with since when it is one, and the house's restores."""
        self._tombstones: dict[tuple[Domain, Domain], tuple[int, Any]] = {}
        """Of peers that a house has removed: its restores, and the CAs by which it knows them."""
        self._genuine: set[tuple[bytes, bytes]] = set()
        """Bundles, with their signatures, that were looked into and are signed by their own CA."""
        self._unheard_since_s: dict[tuple[Domain, Domain], float] = {}
        """Since when a removed peer can hear that it was, and has not."""

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            for house in self._houses:
                self.look(house)

    def look(self, house: Household) -> None:
        """Compare a house's catalogue with its ledger; BrokenPromiseError where it has what it may not."""
        wired = house.wired()
        if wired is None:
            return
        book = wired.ground.federation.book
        house.expect_ends()
        strangers = book.all.keys() - {other.domain for other in house.neighbours}
        if strangers:
            raise BrokenPromiseError(f"{house.domain} has strangers for peers: {sorted(strangers)}")
        for other in house.neighbours:
            known = book.all.get(other.domain)
            is_peer = known is not None and known.peer.state is PeerState.ACTIVE
            if not is_peer:
                house.ledger.ended(other.domain)
            self._settle(house, peer_key(other.domain), PEER if is_peer else None)
            pair = (house.domain, other.domain)
            if is_peer:
                self._gone_since_s.pop(pair, None)
                self._tombstones.pop(pair, None)
                self._check_signature(house, other, known)
                self._check_number(house, other, known)
            else:
                if known is not None:
                    self._tombstones[pair] = (house.desk.restores, known.bundle.authorities)
                self._check_farewell(house, other)
                self._told.pop(pair, None)
                since_s = self._gone_since_s.setdefault(pair, house.loop.now_s)
                self._check_connections(house, other, since_s)
        self._look_at_grants(house, wired.ground.catalog._engine.writer.book)

    def _settle(self, house: Household, key: str, value: int | None) -> None:
        if not settle(house.ledger.register, key, value):
            may_be = sorted(map(str, house.ledger.may_be(key)))
            raise BrokenPromiseError(f"{house.domain} has {key} as {value}; it may be {may_be}")

    def _look_at_grants(self, house: Household, book: Any) -> None:
        found: dict[Giving, int] = {}
        now_s = house.member.machines[house.member.coordinator].clock.wall_s()
        for grant in book.live(now_s):
            told = Giving(str(grant.path), grant.principal, grant.granted_by)
            found[told] = found.get(told, 0) | int(grant.rights)
        for giving in house.ledger.givings:
            self._settle(house, giving.key, found.pop(giving, None))
        strange = [
            giving
            for giving in found
            if {giving.receiver.trust_domain, giving.giver.trust_domain} != {house.domain}
        ]
        if strange:
            raise BrokenPromiseError(f"{house.domain} has grants that nobody gave: {strange}")

    def _check_signature(self, house: Household, other: Household, known: Any) -> None:
        """Raise where what a house has of a peer was never that one's word; a later one would hide it."""
        signed = SignedBundle(known.peer.body, known.peer.signature)
        if (signed.body, signed.signature) in self._genuine:
            return
        if not _is_genuine(signed, certificates.certificate_key(known.bundle.authority)):
            raise BrokenPromiseError(
                f"{house.domain} took number {known.peer.sequence} of {other.domain}, who did not sign it"
            )
        self._genuine.add((signed.body, signed.signature))

    def _check_number(self, house: Household, other: Household, known: Any) -> None:
        """Raise where a peer's bundle gave way to one with a lower number that says something else."""
        pair, bundle = (house.domain, other.domain), known.bundle
        now = bundle, known.peer.since_ms, house.desk.restores
        before = self._told.get(pair)
        self._told[pair] = now
        if before is None or before[1:] != now[1:] or says_the_same(before[0], bundle):
            return
        if bundle.sequence < before[0].sequence:
            raise BrokenPromiseError(
                f"{house.domain} took number {bundle.sequence} of {other.domain} for number"
                f" {before[0].sequence}"
            )

    def has_all_peers(self, house: Household) -> bool:
        """Tell whether all neighbours are peers of a house now."""
        wired = house.wired()
        return wired is not None and all(
            wired.ground.federation.book.is_peer(other.domain) for other in house.neighbours
        )

    def _check_farewell(self, house: Household, other: Household) -> None:
        """Raise where a house has removed a peer that keeps the peering, though it could hear of that."""
        pair, now_s = (house.domain, other.domain), house.loop.now_s
        if not self._can_hear(house, other):
            self._unheard_since_s.pop(pair, None)
        elif self._unheard_since_s.setdefault(pair, now_s) + FAREWELL_S < now_s:
            raise BrokenPromiseError(
                f"{house.domain} has removed {other.domain}, which has not heard of it in"
                f" {FAREWELL_S:g} s"
            )

    def _can_hear(self, house: Household, other: Household) -> bool:
        """Tell whether ``other`` has ``house`` for a peer still, and nothing keeps it from learning better."""
        pair, wired = (house.domain, other.domain), other.wired()
        restores, authorities = self._tombstones.get(pair, (-1, ()))
        if wired is None or restores != house.desk.restores:
            return False
        federation = wired.ground.federation
        ends = house.member.coordinator, other.member.coordinator
        clocks = [one.member.machines[one.member.coordinator].clock for one in (house, other)]
        known = federation.book.all.get(house.domain)
        if known is None or known.peer.state is not PeerState.ACTIVE:
            return False
        # before that a farewell may be from before the peering
        settled_s = known.peer.since_ms / 1000 + SETTLED_AFTER_S
        return (
            settled_s < clocks[1].wall_s()
            and federation.bundle._own.authority.certificate in authorities
            and not cannot_follow(other, house)
            and not any(clock.offset_s for clock in clocks)
            and not (house.rotates or other.rotates)
            and all(self._network.link(*way).is_whole for way in (ends, ends[::-1]))
        )

    def _check_connections(self, house: Household, other: Household, since_s: float) -> None:
        """Raise where a connection of a removed peer, or of its people, stands though it could be ended."""
        member, now_s = house.member, house.loop.now_s
        settings = member.coordinator_settings
        for listener in self._network.listeners.values():
            host = listener.host
            if host not in member.machines or not listener.process.alive:
                continue
            limit_s = REMOVED_S
            if host != member.coordinator:  # it is told with the next heartbeat
                limit_s += settings.heartbeat_interval_s
                if not house.is_calm_since(now_s - limit_s):
                    continue
            if max(since_s, member.started_s[host]) + limit_s > now_s:
                continue
            for connection, caller in listener._connections.items():
                domain = None if caller is None else caller.identity.trust_domain
                if connection.open and domain == other.domain:
                    raise BrokenPromiseError(
                        f"{caller.identity if caller else ''} of a removed peer is connected to {host}"
                        f" {now_s - since_s:.1f} s after it was removed"
                    )

    # --- the end ---------------------------------------------------------------------------------

    async def agree(self) -> None:
        """Wait until all peers agree; BrokenPromiseError if that takes too long."""
        loop = self._houses[0].loop
        until_s = loop.now_s + AGREE_S
        while why := self.disagreements():
            if loop.now_s > until_s:
                raise BrokenPromiseError(f"{AGREE_S:g} s after the last fault: {'; '.join(why)}")
            await asyncio.sleep(LOOK_S)

    def disagreements(self) -> list[str]:
        """Return what peers have of each other that is not so."""
        found = []
        for house in self._houses:
            wired = house.wired()
            if wired is None:
                return [f"{house.domain} does not run"]
            federation = wired.ground.federation
            for other in house.neighbours:
                theirs = other.wired()
                if theirs is None:
                    return [f"{other.domain} does not run"]
                signed, number = theirs.ground.federation.bundle._signed, -1
                number = theirs.ground.federation.bundle._sequence
                known = federation.book.all.get(other.domain)
                if known is None or known.peer.state is not PeerState.ACTIVE:
                    found.append(f"{other.domain} is no peer of {house.domain}")
                    continue
                health = wired.links.to(other.domain).health
                if not health.is_healthy:
                    found.append(f"{house.domain} sees {other.domain} away: {health.why}")
                if signed is None or known.peer.body != signed.body:
                    found.append(
                        f"{house.domain} has number {known.peer.sequence} of {other.domain}, which is at"
                        f" {number}"
                    )
        return found
